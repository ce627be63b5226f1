"""Lists of processors ("0-1,4"): the kernel's, and the user's, which must fit in.

cgroup v2 accepts processors that do not exist and then silently uses all of the
parent's, so the list is checked here.
"""

from __future__ import annotations

from cellhold.errors import InvalidSpec


def numbers(text: str) -> frozenset[int]:
    """Return the processors in the kernel's own list; "" is none."""
    return frozenset(cpu for first, last in ranges(text) for cpu in range(first, last + 1))


def ranges(text: str) -> list[tuple[int, int]]:
    """Return first and last of each part: "0-1,4" is [(0, 1), (4, 4)]."""
    pairs = (part.partition("-") for part in text.split(",") if part)
    return [(int(first), int(last or first)) for first, _, last in pairs]


def check(cpuset: str, allowed: str) -> None:
    """Raise InvalidSpec unless every processor of `cpuset` is in `allowed`.

    allowed: the kernel's list.
    """
    have = numbers(allowed)
    for first, last in ranges(cpuset):
        if first > last or last > max(have, default=-1) or not have.issuperset(range(first, last + 1)):
            raise InvalidSpec(f"cannot use cpuset={cpuset}: processors {allowed or 'unknown'} can be used", hint=f"cpuset={allowed}")
