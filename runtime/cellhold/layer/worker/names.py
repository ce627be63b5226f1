"""Names in a tar, as bytes, made relative and clean before any file access.

They are also formatted for people here.
"""

from __future__ import annotations

from cellhold.errors import ImageRefused

_LONGEST_COMPONENT = 255
_LONGEST_SHOWN = 120


def quote(name: bytes) -> str:
    """Format a name for a sentence: quoted, bounded, without control characters."""
    text = name[:_LONGEST_SHOWN].decode(errors="backslashreplace")
    return repr(text) + ("..." if len(name) > _LONGEST_SHOWN else "")


def clean(name: bytes, *, depth: int, longest: int) -> bytes:
    """Return the path below the layer's root, without "." and "..".

    "" is the root; an absolute name begins at the root, as in docker. ".." goes up in
    the name, whatever the directories are. Raises ImageRefused for one that leads out,
    and for names that no disk can hold.
    """
    if len(name) > longest:
        raise ImageRefused(f"the name {quote(name)} has {len(name)} bytes, and {longest} are allowed")
    if b"\0" in name:
        raise ImageRefused(f"the name {quote(name)} has a NUL in it")
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise ImageRefused(f"the name {quote(name)} leads out of the layer")
            parts.pop()
        elif part not in {b"", b"."}:
            parts.append(part)
            if len(part) > _LONGEST_COMPONENT:
                raise ImageRefused(f"the name {quote(part)} has {len(part)} bytes, and {_LONGEST_COMPONENT} are allowed")
    if len(parts) > depth:
        raise ImageRefused(f"the name {quote(name)} lies {len(parts)} directories deep, and {depth} are allowed")
    return b"/".join(parts)
