"""The panel as text: what a saved notebook, a terminal and a screen reader get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellhold.spec import units
from cellhold.spec.fields import GAUGES
from cellhold_kernel.widgets import network_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CELLS = 20


def text(shown: Mapping[str, Any]) -> str:
    """shown: what the views get (`Panel.snapshot`)."""
    name = f"container {shown['id']}" if shown["id"] else "no container"
    lines = [f"{name} [{shown['state']}], {shown['about']}", *_uses(shown)]
    lines += [f"  {line}" for line in network_view.text(shown["network"])]
    marks = [mark["text"] for mark in shown["marks"] if mark["kind"] in ("oom", "pids")]
    lines += [f"  ✖ {words}" for words in marks[-3:]]
    cells = shown["cells"][-_CELLS:]
    if cells:
        lines.append("cells")
        lines += [f"  {_cell(cell)}" for cell in cells]
    return "\n".join(lines)


def decoded_samples(snapshot: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the samples of a snapshot (`sampler.encode`), each by the names of sampler.Sample."""
    return [dict(zip(snapshot["fields"], values, strict=True)) for values in snapshot["samples"]]


def _uses(shown: Mapping[str, Any]) -> Iterator[str]:
    samples, limits = decoded_samples(shown), shown["limits"]
    for gauge in (gauge for gauge, field in GAUGES if shown["network"] or not field.needs_network):
        title, tell, limit = gauge.title, gauge.format, limits[gauge.limit]
        known = [sample[gauge.used] for sample in samples if sample[gauge.used] is not None]
        if not known:
            yield f"  {title:<16}not measured"
            continue
        share = f" ({100 * known[-1] / limit:.0f} %)" if limit else ""
        yield f"  {title:<16}{tell(known[-1])} of {tell(limit) if limit else 'no limit'}{share}, peak {tell(max(known))}"


def footer(cells: Sequence[Mapping[str, Any]]) -> str | None:
    """The line under the cell that has just ended."""
    return f"└ {_cell(cells[-1])}" if cells else None


def _cell(cell: Mapping[str, Any]) -> str:
    told = [f"[{cell['number']}] {cell['result']}"]
    if cell["wall"] is not None:
        told.append(f"{cell['wall']:.1f} s")
    if cell["cpu"] is not None:
        told.append(f"{cell['cpu']:.1f} s of CPU")
    if cell["paused"]:
        told.append(f"stood still {cell['paused']:.1f} s")
    if cell["throttled"]:
        told.append(f"held back {cell['throttled']:.1f} s")
    if cell["peak"] is not None:
        told.append(f"memory peak {units.size(cell['peak'])}")
    if cell["memory_change"]:
        told.append(f"change {'+' if cell['memory_change'] > 0 else '-'}{units.size(abs(cell['memory_change']))}")
    if cell["read"] or cell["written"]:
        told.append(f"{units.size(cell['read'] or 0)} read, {units.size(cell['written'] or 0)} written")
    if cell["files"] is not None:
        told.append(f"{cell['files']} files changed")
    return ", ".join(told)
