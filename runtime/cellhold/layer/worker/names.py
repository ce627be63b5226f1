"""Names in a tar, as bytes: made relative and clean before anything looks at a disk; and how they are told to people."""

from __future__ import annotations

from cellhold.errors import ImageRefused

_LONGEST_COMPONENT = 255
_LONGEST_SHOWN = 120


def shown(name: bytes) -> str:
    """A name for a sentence: quoted, bounded, nothing in it that moves a cursor."""
    text = name[:_LONGEST_SHOWN].decode(errors="backslashreplace")
    return repr(text) + ("..." if len(name) > _LONGEST_SHOWN else "")


def clean(name: bytes, *, depth: int, longest: int) -> bytes:
    """The path below the layer's root, without "." and "..", "" being the root; an absolute name begins at the root, as docker has it.

    ".." goes up in the name, whatever the directories are. Raises ImageRefused for one that leads out, and for names no disk can hold.
    """
    if len(name) > longest:
        raise ImageRefused(f"the name {shown(name)} has {len(name)} bytes, and {longest} are allowed")
    if b"\0" in name:
        raise ImageRefused(f"the name {shown(name)} has a NUL in it")
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise ImageRefused(f"the name {shown(name)} leads out of the layer")
            parts.pop()
        elif part not in {b"", b"."}:
            parts.append(part)
            if len(part) > _LONGEST_COMPONENT:
                raise ImageRefused(f"the name {shown(part)} has {len(part)} bytes, and {_LONGEST_COMPONENT} are allowed")
    if len(parts) > depth:
        raise ImageRefused(f"the name {shown(name)} lies {len(parts)} directories deep, and {depth} are allowed")
    return b"/".join(parts)
