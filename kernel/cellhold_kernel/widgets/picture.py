"""The panel as a picture, for notebooks where no panel runs.

It is drawn by matplotlib, in a process of its own (painter.py), which reads a snapshot
(`Panel.snapshot`) as JSON from each line of its standard input, and writes the PNG in
base64 as a line.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

from cellhold.spec.fields import GAUGES
from cellhold_kernel.widgets.report import decoded_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

USE, LIMIT, AREA, HELD, OOM = "#0072b2", "#b84a00", "#56b4e9", "#e69f00", "#cc79a7"
_WINDOW_SECONDS = 300
_CHARTS_INCHES, _NETWORK_INCHES = 2.2, 1.0
_WIDE = 680  # of a network's drawing, in the units of js/network.js
_NETWORKS_MOST = 4
_LINE_MOST = 190  # letters


def main() -> None:
    """Run the process."""
    draw = drawer()
    for line in sys.stdin:
        print(base64.b64encode(draw(json.loads(line))).decode("ascii"), flush=True)  # noqa: T201  # what a program reads


def drawer() -> Callable[[Mapping[str, Any]], bytes]:
    """Return a function that draws a snapshot as a PNG."""
    import matplotlib as mpl  # noqa: PLC0415  # 40 MB, in the one process that needs it

    mpl.rcdefaults()  # ignore any matplotlibrc
    mpl.use("Agg")
    mpl.rcParams["text.parse_math"] = False  # a $ in a text of the container is not a formula
    from matplotlib import pyplot as plt  # noqa: PLC0415

    def draw(shown: Mapping[str, Any]) -> bytes:
        charts = [
            (gauge.title[0].upper() + gauge.title[1:], gauge.used, shown["limits"][gauge.limit], *gauge.chart)
            for gauge, field in GAUGES
            if shown["network"] or not field.needs_network
        ]
        networks = shown["network"][:_NETWORKS_MOST]
        heights = [_CHARTS_INCHES, *[_NETWORK_INCHES] * len(networks)]
        figure = plt.figure(figsize=(11, sum(heights)), dpi=80, layout="constrained")
        upper, *below = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        axes = upper.subplots(1, len(charts))
        for part, network in zip(below, networks, strict=True):
            _network(part.subplots(), network)
        samples = decoded_samples(shown)
        end = samples[-1]["time"] if samples else time.time()
        samples = [sample for sample in samples if sample["time"] >= end - _WINDOW_SECONDS]
        begin = min(samples[0]["time"] if samples else end, end - 10)
        for axis, (name, field, limit, unit, factor) in zip(
            axes,
            charts,
            strict=True,
        ):
            _chart(axis, samples, end, begin, name=name, field=field, limit=limit and limit / factor, factor=factor, unit=unit)
            _cells(axis, shown, end, begin)
            for mark in shown["marks"]:
                if mark["time"] >= begin and mark["kind"] == "oom":
                    axis.axvline(mark["time"] - end, color=OOM, linewidth=1.6)
                    if name == "Memory":
                        axis.annotate(
                            "✖ OOM kill", (mark["time"] - end, 0), xytext=(-3, 3), textcoords="offset points", fontsize=7, ha="right"
                        )
        figure.suptitle(f"container {shown['id']} [{shown['state']}], {shown['about']}"[:140], fontsize=9, x=0.01, ha="left")
        made = BytesIO()
        figure.savefig(made, format="png")
        plt.close(figure)
        return made.getvalue()

    return draw


def _chart(  # noqa: PLR0913  # a chart's properties
    axis: Any,
    samples: Sequence[Mapping[str, Any]],
    end: float,
    begin: float,
    *,
    name: str,
    field: str,
    limit: float | None,
    factor: int,
    unit: str,
) -> None:
    known = [(sample["time"] - end, sample[field] / factor) for sample in samples if sample[field] is not None]
    now = f"{known[-1][1]:.2f}".rstrip("0").rstrip(".") if known else "not measured"
    against = f" / {round(limit, 2):g}" if limit and known else ""
    axis.set_title(f"{name}  {now}{against} {unit if known else ''}", fontsize=8, loc="left")
    axis.tick_params(labelsize=7)
    axis.set_xlim(begin - end, 0)
    axis.locator_params(axis="x", nbins=4, integer=True)
    axis.set_xlabel("seconds", fontsize=7)
    if known:
        axis.plot(*zip(*known, strict=True), color=USE, linewidth=1.3)
    if field == "memory":
        part = [(sample["time"] - end, sample["working"] / factor) for sample in samples if sample["working"] is not None]
        if part:
            axis.fill_between(*zip(*part, strict=True), color=AREA, alpha=0.3, linewidth=0)
    if limit:
        axis.axhline(limit, color=LIMIT, linestyle="--", linewidth=1)
    top = max([limit or 0, *(value for _, value in known)], default=1)
    axis.set_ylim(0, top * 1.12 or 1)
    if field == "cpu":
        for sample, last in zip(samples[1:], samples, strict=False):
            if sample["throttled"]:
                axis.axvspan(last["time"] - end, sample["time"] - end, color=HELD, alpha=0.25, linewidth=0)
    for sample, last in zip(samples[1:], samples, strict=False):
        if sample["paused"]:
            axis.axvspan(last["time"] - end, sample["time"] - end, color="#888888", alpha=0.3, linewidth=0)


def _network(axis: Any, one: Mapping[str, Any]) -> None:
    """Draw a connection, as wires() of js/network.js does."""
    axis.set_axis_off()
    axis.set_xlim(0, _WIDE)
    axis.set_ylim(92, 0)
    boxes = [
        (4, 126, "no outside" if one["internal"] else "outside", "internal" if one["internal"] else f"egress {one['policy']}"),
        (164, 80, "this host", "" if one["internal"] else "NAT"),
        (278, 178, one["bridge"], f"{one['gateway']} · {one['subnet']}"),
        (506, 170, f"{one['inside']} · container", one["address"]),
    ]
    at = 0
    for number, (x, width, name, note) in enumerate(boxes):
        if number and not (number == 1 and one["internal"]):
            axis.plot((at, x), (37, 37), color=USE, linewidth=1.3)
        at = x + width
        colour = "#e3f1fa" if number == len(boxes) - 1 else "white"
        axis.barh(37, width, 38, left=x, color=colour, edgecolor="#777777", linewidth=0.8)
        axis.text(x + width / 2, 35, _shorter(name, width // 4), fontsize=8, ha="center")
        axis.text(x + width / 2, 50, _shorter(note, width // 4), fontsize=7, ha="center", color="#444444")
    packets = "packets not measured" if one["received"] is None else f"{one['device']}: {one['received']} packets in, {one['sent']} out"
    axis.text(481, 12, packets, fontsize=7, ha="center", color="#444444")
    published = ", ".join(port["told"] for port in one["ports"])
    refused = ", ".join(f"{place['protocol']} {place['where']} ({place['packets']} packets)" for place in one["refused"])
    lines = [f"published: {published}"] * bool(published) + [f"⊘ refused: {refused}"] * bool(refused)
    for number, line in enumerate(lines):
        axis.text(4, 72 + 15 * number, _shorter(line, _LINE_MOST), fontsize=7)


def _shorter(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _cells(axis: Any, shown: Mapping[str, Any], end: float, begin: float) -> None:
    for number, cell in enumerate(shown["cells"]):
        last = cell["end"] or end
        if last > begin:
            axis.axvspan(max(cell["begin"], begin) - end, last - end, color="#000000", alpha=0.05 if number % 2 else 0.09, linewidth=0)
