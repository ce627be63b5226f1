"""The smallest image: busybox-static, and files for all that one layer can say of those below it (image-spec, layer.md).

What the first layer has, and what the second one makes of it:

    bin/busybox, bin/sh ...                    stays
    data/stays  data/changes                   "second" is in data/changes
    data/goes  data/tree-goes/...              two whiteouts
    opaque/old-file  opaque/old-tree/...       an opaque directory: only opaque/new is there
    turns/directory/...  turns/file            a file and a directory; turns/link was a link to data/stays and is a file
    links/one = links/two                      a hard link; the second layer has one of its own: links/three = links/four
    odd/...                                    a set-user-id program, one with a capability, a FIFO, a user attribute, an owner,
                                               a mode that shuts others out, a dangling link, names that are long or not ASCII
    empty                                      a directory with the sticky bit; nothing in it
"""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

from images import kept, layout
from images.layout import PATH, Image

_PROGRAMS = "sh true false cat echo ls sleep id mount ps kill dd hostname touch mkdir stat env find".split()
_NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # capabilities(7): version 2, effective; CAP_NET_RAW permitted
LONG = "long-" + "n" * 150  # more than the 100 bytes of tar's own field
FOREIGN = "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve \N{SNOWMAN}"


def image() -> Image:
    """Make it, or find it."""
    layout.need("busybox", "umoci", "tar")
    return Image(layout=kept.directory("busybox", kept.recipe(__file__, layout.__file__), _make) / "layout")


def _make(place: Path) -> None:
    made = layout.start(place)
    for number, fill in enumerate((_first, _second), 1):
        tree = place / f"tree{number}"
        tree.mkdir(mode=0o755)
        fill(tree)
        packed = layout.archive(tree, place / "layer.tar")
        layout.add_layer(made, packed, instruction=f"COPY tree{number} /")
        packed.unlink()
        shutil.rmtree(tree)
    layout.configure(made, "--config.cmd", "sh", "--config.env", PATH, "--config.workingdir", "/data", "--config.label", "made.by=umoci")


def _first(tree: Path) -> None:
    _write(tree / "bin/busybox", Path(shutil.which("busybox") or "").read_bytes(), mode=0o755)
    for name in _PROGRAMS:
        (tree / "bin" / name).symlink_to("busybox")
    _write(tree / "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n")
    _write(tree / "etc/group", b"root:x:0:\nuser:x:1000:\n")
    for name in ("data/stays", "data/changes", "data/goes", "data/tree-goes/deeper/file", "opaque/old-file", "opaque/old-tree/file"):
        _write(tree / name, b"first\n")
    for name in ("turns/directory/file", "turns/file", "links/one"):
        _write(tree / name, b"first\n")
    (tree / "turns/link").symlink_to("../data/stays")
    (tree / "links/two").hardlink_to(tree / "links/one")
    for name, mode in (("root", 0o700), ("tmp", 0o1777), ("empty", 0o1777), ("proc", 0o555), ("sys", 0o555), ("dev", 0o755)):
        (tree / name).mkdir()
        (tree / name).chmod(mode)
    _odd(tree / "odd")


def _odd(place: Path) -> None:
    _write(place / "set-user-id", b"#!/bin/sh\n", mode=0o4755)
    _write(place / "capable", b"#!/bin/sh\n", mode=0o755)
    os.setxattr(place / "capable", "security.capability", _NET_RAW)
    _write(place / "attribute", b"first\n")
    os.setxattr(place / "attribute", "user.origin", b"made by \0 tar")
    _write(place / "owned", b"first\n")
    os.chown(place / "owned", 1000, 1001)
    _write(place / "shut/file", b"first\n", mode=0o600)
    (place / "shut").chmod(0o700)
    os.mkfifo(place / "fifo")
    (place / "dangling").symlink_to("/nowhere/at/all")
    for name in (LONG, FOREIGN):
        _write(place / name, b"first\n")


def _second(tree: Path) -> None:
    _write(tree / "data/changes", b"second\n", mode=0o640)
    for name in ("data/.wh.goes", "data/.wh.tree-goes", "opaque/.wh..wh..opq"):
        _write(tree / name, b"")
    for name in ("opaque/new", "turns/directory", "turns/file/inside", "turns/link", "links/three"):
        _write(tree / name, b"second\n")
    (tree / "links/four").hardlink_to(tree / "links/three")


def _write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir()
            parent.chmod(0o755)  # whatever the caller's umask
    path.write_bytes(content)
    path.chmod(mode)
