"""The panel as text, for saved notebooks, terminals and screen readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellhold.spec import units
from cellhold.spec.fields import GAUGES
from cellhold_kernel.widgets import network_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CELLS = 20


def text(snapshot: Mapping[str, Any]) -> str:
    """Return the text of what the views get (`Panel.snapshot`)."""
    name = f"container {snapshot['id']}" if snapshot["id"] else "no container"
    lines = [f"{name} [{snapshot['state']}], {snapshot['about']}", *_uses(snapshot)]
    lines += [f"  {line}" for line in network_view.text(snapshot["network"])]
    marks = [mark["text"] for mark in snapshot["marks"] if mark["kind"] in ("oom", "pids")]
    lines += [f"  ✖ {words}" for words in marks[-3:]]
    cells = snapshot["cells"][-_CELLS:]
    if cells:
        lines.append("cells")
        lines += [f"  {_cell(cell)}" for cell in cells]
    return "\n".join(lines)


def decoded_samples(snapshot: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the samples of a snapshot as dictionaries of sampler.Sample's fields."""
    return [dict(zip(snapshot["fields"], values, strict=True)) for values in snapshot["samples"]]


def _uses(snapshot: Mapping[str, Any]) -> Iterator[str]:
    samples, limits = decoded_samples(snapshot), snapshot["limits"]
    for gauge in (gauge for gauge, field in GAUGES if snapshot["network"] or not field.needs_network):
        title, tell, limit = gauge.title, gauge.format, limits[gauge.limit]
        values = [sample[gauge.used] for sample in samples if sample[gauge.used] is not None]
        if not values:
            yield f"  {title:<16}not measured"
            continue
        share = f" ({100 * values[-1] / limit:.0f} %)" if limit else ""
        yield f"  {title:<16}{tell(values[-1])} of {tell(limit) if limit else 'no limit'}{share}, peak {tell(max(values))}"


def footer(cells: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the line under the cell that has just ended."""
    return f"└ {_cell(cells[-1])}" if cells else None


def _cell(cell: Mapping[str, Any]) -> str:
    texts = [f"[{cell['number']}] {cell['result']}"]
    if cell["wall"] is not None:
        texts.append(f"{cell['wall']:.1f} s")
    if cell["cpu"] is not None:
        texts.append(f"{cell['cpu']:.1f} s of CPU")
    if cell["paused"]:
        texts.append(f"paused for {cell['paused']:.1f} s")
    if cell["throttled"]:
        texts.append(f"throttled for {cell['throttled']:.1f} s")
    if cell["peak"] is not None:
        texts.append(f"memory peak {units.size(cell['peak'])}")
    if cell["memory_change"]:
        texts.append(f"change {'+' if cell['memory_change'] > 0 else '-'}{units.size(abs(cell['memory_change']))}")
    if cell["read"] or cell["written"]:
        texts.append(f"{units.size(cell['read'] or 0)} read, {units.size(cell['written'] or 0)} written")
    if cell["files"] is not None:
        texts.append(f"{cell['files']} files changed")
    return ", ".join(texts)
