"""Measure contestants fairly on a machine that does other things too, and print what came out.

Every round runs each contestant once, in a new random order, so that a burst of noise hits all of them alike. Figures are the
minimum, the median and the quartiles; a ratio is that of the medians, and its spread the quartiles of the rounds' own ratios.
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NOISE = 4  # a 75th percentile at more than this many times the minimum is other people's work


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """A contestant: does `work` and returns the seconds it took."""

    def once() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return once


def interleaved(contestants: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: int = 3) -> dict[str, list[float]]:
    """Seconds of each contestant, one figure a round, after some rounds that do not count."""
    results: dict[str, list[float]] = {name: [] for name in contestants}
    gc.disable()
    for number in range(-warm_up, rounds):
        for name in random.sample(list(contestants), len(contestants)):
            seconds = contestants[name]()
            if number >= 0:
                results[name].append(seconds)
        gc.collect()
    gc.enable()
    return results


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """min, p25, median, p75 in milliseconds."""
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return {name: round(value * 1000, 2) for name, value in {"min": min(seconds), "p25": low, "median": middle, "p75": high}.items()}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Ours by theirs: of the medians, of the minima, and the quartiles of the rounds' ratios."""
    low, _middle, high = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4, method="inclusive")
    found = {"median": statistics.median(ours) / statistics.median(theirs), "min": min(ours) / min(theirs), "p25": low, "p75": high}
    return {name: round(value, 3) for name, value in found.items()}


def show(title: str, results: Mapping[str, Sequence[float]], pairs: Sequence[tuple[str, str, float]] = (), **more: object) -> None:
    """Print a table, a line for each pair (ours, theirs, the ratio to stay below), and all of it as one line of JSON."""
    load = float(Path("/proc/loadavg").read_text(encoding="ascii").split()[0])
    figures = {name: summary(seconds) for name, seconds in results.items()}
    ratios = {f"{ours} / {theirs}": (ratio(results[ours], results[theirs]), bound) for ours, theirs, bound in pairs}
    width = max(map(len, figures))
    counts = sorted({len(seconds) for seconds in results.values()})
    print(f"\n{title}: {'-'.join(map(str, counts))} times each, interleaved; load {load:g} on {os.cpu_count()} processors; milliseconds\n")
    print(f"  {'':<{width}}  {'min':>8} {'p25':>8} {'median':>8} {'p75':>8}")
    for name, row in figures.items():
        print(f"  {name:<{width}}  " + " ".join(f"{value:8.2f}" for value in row.values()))
    print()
    for name, (found, bound) in ratios.items():
        verdict = "holds" if found["median"] <= bound else "MISSED"
        print(f"  {name}: {found['median']:.2f}x of the median, {found['min']:.2f}x of the minimum, ", end="")
        print(f"quartiles of the rounds {found['p25']:.2f}-{found['p75']:.2f}; at most {bound:g}x: {verdict}")
    for name, value in more.items():
        print(f"  {name.replace('_', ' ')}: {value}")
    if any(row["p75"] > _NOISE * row["min"] for row in figures.values()):
        print("  This machine was busy: the quartiles lie far from the minimum. Measure again when it is quiet.")
    record = {"bench": title, "load": load, "ms": figures, "ratios": {name: found for name, (found, _bound) in ratios.items()}, **more}
    print("\n" + json.dumps(record), flush=True)
