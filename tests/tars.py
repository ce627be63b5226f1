"""Tars for the tests of layers, and what they become on disk.

Sound ones are made by Python's tarfile, hostile ones header by header.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 512
END = bytes(2 * BLOCK)


class Tar:
    """A tar that is being made. Each method adds an entry and returns the tar."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, name: str, data: bytes = b"", *, pax: dict[str, str] | None = None, **fields: Any) -> Tar:
        """Add an entry as tarfile writes it; `fields` are TarInfo's."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.pax_headers = pax or {}
        for key, value in fields.items():
            setattr(info, key, value)
        self._parts += [info.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape"), padded(data)]
        return self

    def directory(self, name: str, **fields: Any) -> Tar:
        return self.add(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})

    def symlink(self, name: str, target: str, **fields: Any) -> Tar:
        return self.add(name, type=tarfile.SYMTYPE, linkname=target, **fields)

    def link(self, name: str, target: str, **fields: Any) -> Tar:
        return self.add(name, type=tarfile.LNKTYPE, linkname=target, **fields)

    def raw(self, name: bytes = b"f", data: bytes = b"", **fields: bytes) -> Tar:
        """Add an entry with these header fields, right or wrong.

        The checksum is right, unless it is one of the fields.
        """
        self._parts += [header(name, **{"size": b"%011o\0" % len(data), **fields}), padded(data)]
        return self

    def records(self, *records: bytes, kind: bytes = b"x") -> Tar:
        """Add an extended header of these records, valid or not."""
        return self.raw(b"pax", b"".join(records), kind=kind)

    def content(self) -> bytes:
        return b"".join(self._parts) + END

    def gzip(self) -> bytes:
        return gzip.compress(self.content(), 1)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def record(keyword: bytes, value: bytes) -> bytes:
    """Return a record of an extended header, with its length."""
    length = len(keyword) + len(value) + 3
    while len(line := b"%d %s=%s\n" % (length, keyword, value)) != length:
        length = len(line)
    return line


def header(name: bytes, **fields: bytes) -> bytes:
    """Return a ustar header."""
    given = {
        "mode": b"0000644\0",
        "uid": b"0000000\0",
        "gid": b"0000000\0",
        "mtime": b"00000000000\0",
        "kind": b"0",
        "target": b"",
        **fields,
    }
    text = name.ljust(100, b"\0") + given["mode"] + given["uid"] + given["gid"] + given["size"] + given["mtime"]
    rest = given["kind"] + given["target"].ljust(100, b"\0") + given.get("magic", b"ustar\x0000")
    checksum = given.get("checksum") or b"%06o\0 " % (sum(text) + sum(rest) + 8 * ord(" "))
    return (text + checksum + rest).ljust(BLOCK, b"\0")


class Seen(NamedTuple):
    """A file as it is on disk; content: of a file, a link's target, "device 0:0" ..."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime: float
    content: bytes | str
    xattrs: dict[str, bytes]


def seen(root: Path) -> dict[str, Seen]:
    """Return all that is below `root`, by relative names; "." is the root itself."""
    found = {".": look(str(root))}
    for folder, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = look(path)
    return found


def look(path: str) -> Seen:
    facts = os.lstat(path)
    content: bytes | str = ""
    kind = stat.filemode(facts.st_mode)[0]
    if kind == "-":
        with open(path, "rb") as file:
            content = file.read()
    elif kind == "l":
        content = os.readlink(path)
    elif kind in "bc":
        content = f"device {os.major(facts.st_rdev)}:{os.minor(facts.st_rdev)}"
    xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
    return Seen(kind, stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid, facts.st_mtime, content, xattrs)


def names(root: Path) -> set[str]:
    """Return the names below `root`."""
    return set(seen(root)) - {"."}
