"""The job that the caller gives to the confined child, as marshal-able values.

Imported by type checkers only.
"""

from __future__ import annotations

from typing import TypedDict

Rows = list[tuple[int, int, int]]  # (first id inside, first id outside, how many)


class Layer(TypedDict):
    """A directory that the child gets to see.

    shift: the owners on disk are 0 to 65535 and have to be shown as the child's ids.
    identity: the device and inode of a directory of the host, which has to be that very
        one; None: it is our own store's.
    """

    path: str
    shift: bool
    identity: tuple[int, int] | None


class Bounded(TypedDict):
    """cellhold.layer.bounds.Bounds as plain numbers."""

    unpacked_bytes: int
    entries: int
    ratio: int
    ratio_floor_bytes: int
    depth: int
    name_bytes: int
    header_bytes: int
    window_bytes: int


class Job(TypedDict):
    """The first message on the control socket."""

    what: str  # a key of inside.supervisor.PROGRAMS
    rootless: tuple[tuple[tuple[int, int, int], ...], tuple[tuple[int, int, int], ...], tuple[str, str] | None] | None
    base: int  # the child's ids as the supervisor sees them: the first of 65536, as root; without root 0
    single: bool  # 0 is the only id there is
    tree: Layer  # what becomes the child's root directory
    writable: bool
    lowers: list[Layer]
    seccomp: bytes  # a compiled filter; empty: none
    memory_bytes: int
    file_bytes: int  # the longest file that may be written
    bounds: Bounded
    options: dict[str, int | str]
    copies: list[tuple[bytes, bytes]]  # of a copy: source and destination, below their roots
