"""The text formats of the kernel's counters. Nothing here opens a file.

cgroup-v2.rst, "Format"; cgroup-v1/blkio-controller.rst.
"""

from __future__ import annotations


def keyed(text: str | None, key: str) -> int | None:
    """Return the number of one key among lines of "key number", None without the key.

    As in memory.stat, cpu.stat and memory.events.
    """
    _, found, rest = f"\n{text or ''}\n".partition(f"\n{key} ")
    return number(rest.partition("\n")[0]) if found else None


def number(text: str | None) -> int | None:
    """Return the number in a one-number file; None for an absent file or "max"."""
    return int(text) if text is not None and text.isdigit() else None


def scaled(count: int | None, unit: float) -> float | None:
    """Convert `count` of a unit (1e-9 for nanoseconds) to seconds; None stays None."""
    return None if count is None else count * unit


def pressure(text: str | None) -> float | None:
    """Return the share of the last 10 s, 0..1, in which some task waited.

    "some avg10=1.50 avg60=..." -> 0.015; None without PSI.
    """
    for line in (text or "").splitlines():
        if line.startswith("some avg10="):
            return float(line.split()[1].removeprefix("avg10=")) / 100
    return None


def io_v1(text: str | None) -> tuple[int, int] | None:
    """Return bytes read and written over all devices; None for an absent file.

    The text has lines of "254:0 Read 4096".
    """
    if text is None:
        return None
    rows = [line.split() for line in text.splitlines()]
    read, written = (sum(int(row[2]) for row in rows if len(row) == 3 and row[1] == what) for what in ("Read", "Write"))  # noqa: PLR2004
    return read, written


def io_v2(text: str | None) -> tuple[int, int] | None:
    """Return bytes read and written over all devices; None for an absent file.

    The text has lines of "254:0 rbytes=4096 wbytes=0 ...".
    """
    if text is None:
        return None
    pairs = [pair.partition("=") for line in text.splitlines() for pair in line.split()[1:]]
    read, written = (sum(int(value) for key, _, value in pairs if key == what) for what in ("rbytes", "wbytes"))
    return read, written
