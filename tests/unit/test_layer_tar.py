"""Our reader of tars against Python's tarfile and GNU tar, on what either of them writes."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from cellhold.layer.bounds import Bounds
from cellhold.layer.worker import writer
from cellhold.layer.worker.names import clean
from cellhold.layer.worker.pax import nanoseconds
from cellhold.layer.worker.stream import Stream
from cellhold.layer.worker.tar import Reader

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
GNU = {
    "gnu": ["--format=gnu"],
    "oldgnu": ["--format=oldgnu"],
    "ustar": ["--format=ustar"],
    "v7": ["--format=v7"],
    "pax": ["--format=posix"],
    "sparse old": ["--format=gnu", "--sparse"],
    "sparse 0.0": ["--format=posix", "--sparse", "--sparse-version=0.0"],
    "sparse 0.1": ["--format=posix", "--sparse", "--sparse-version=0.1"],
    "sparse 1.0": ["--format=posix", "--sparse", "--sparse-version=1.0"],
}
Row = tuple[str, bytes, int, int, int, str, bytes]


def ours(data: bytes, scratch: Path) -> list[Row]:
    """(path, kind, mode, uid, seconds, target, content) of each entry, as our reader has them."""
    path = scratch / "data.tar"
    path.write_bytes(data)
    bounds = Bounds().to_job()
    rows: list[Row] = []
    fd = os.open(path, os.O_RDONLY)
    try:
        stream = Stream(fd, bounds)
        for entry in Reader(stream, bounds).entries():
            content = b"".join(bytes(piece) for piece in stream.pieces(entry.size))
            if entry.pieces is not None:
                whole, at = bytearray(entry.real_size), 0
                for offset, size in entry.pieces:
                    whole[offset : offset + size] = content[at : at + size]
                    at += size
                content = bytes(whole)
            target = entry.target if entry.kind in {b"1", b"2"} else b""
            row = (os.fsdecode(entry.path), entry.kind, entry.mode, entry.uid, entry.mtime_ns // 10**9, os.fsdecode(target), content)
            rows.append(row)
    finally:
        os.close(fd)
    return rows


def theirs(data: bytes) -> list[Row]:
    """The same, as tarfile has them."""
    rows: list[Row] = []
    with tarfile.open(fileobj=io.BytesIO(data), errorlevel=2) as tar:
        for member in tar:
            content = b""
            if member.isreg():
                file = tar.extractfile(member)
                assert file is not None
                content = file.read()
            kind = b"0" if member.isreg() else member.type
            name = "" if member.name == "." else member.name.removeprefix("./")
            target = member.linkname.removeprefix("./") if member.islnk() else member.linkname
            rows.append((name, kind, member.mode, member.uid, int(member.mtime // 1), target, content))
    return rows


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A tree with all that a tar can say without root."""
    root = tmp_path / "example"
    (root / "dir").mkdir(parents=True)
    (root / "dir/file").write_bytes(b"content" * 1000)
    (root / "empty").touch()
    (root / ("n" * 90)).write_bytes(b"x")
    (root / "link").symlink_to("dir/../nowhere")
    os.link(root / "dir/file", root / "hard")
    os.mkfifo(root / "fifo")
    (root / "dir").chmod(0o2751)
    with (root / "sparse").open("wb") as file:
        for offset in range(0, 40 << 20, 1 << 20):
            file.seek(offset)
            file.write(b"data%d" % offset)
        file.truncate(41 << 20)
    return root


def make_long(root: Path) -> None:
    """What the oldest formats cannot say."""
    deep = root / "/".join(["component" * 5] * 6)
    deep.mkdir(parents=True)
    (deep / ("ü" * 60)).write_bytes(b"long")
    (root / "to").symlink_to("t" * 300)


@pytest.mark.parametrize("name", GNU)
def test_what_gnu_tar_writes_is_read_as_tarfile_reads_it(name: str, example: Path, tmp_path: Path) -> None:
    if name == "v7":
        (example / "fifo").unlink()  # it has no word for it
    elif name != "ustar":
        make_long(example)
    data = subprocess.run(["tar", "cf", "-", *GNU[name], "-C", str(example), "."], capture_output=True, check=True).stdout
    assert ours(data, tmp_path) == theirs(data)
    assert ("sparse" in name) == (len(data) < 10 << 20)


@pytest.mark.parametrize("name", FORMATS)
def test_what_tarfile_writes_is_read_as_it_reads_it(name: str, example: Path, tmp_path: Path) -> None:
    if name != "ustar":
        make_long(example)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=FORMATS[name]) as tar:
        tar.add(example, arcname=".")
    assert ours(buffer.getvalue(), tmp_path) == theirs(buffer.getvalue())


@pytest.mark.parametrize(
    ("uid", "mtime"), [(0o7777777, 0), (0o7777777 + 1, 0), (1 << 31, -1), (0, -(1 << 30)), (5, 0o77777777777 + 1), (5, -1)]
)
def test_gnus_numbers_of_base_256_are_numbers(uid: int, mtime: int, tmp_path: Path) -> None:
    info = tarfile.TarInfo("f")
    info.uid, info.mtime = uid, mtime
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    assert [(row[3], row[4]) for row in ours(data, tmp_path)] == [(uid, mtime)]


def test_global_headers_hold_until_they_are_taken_back(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"mtime": "77"}) as tar:
        tar.addfile(tarfile.TarInfo("a"))
        other = tarfile.TarInfo("b")
        other.pax_headers = {"mtime": "5"}
        tar.addfile(other)
        tar.addfile(tarfile.TarInfo("c"))
    assert [row[4] for row in ours(buffer.getvalue(), tmp_path)] == [77, 5, 77]


def test_signed_checksums_of_old_tars_are_taken(tmp_path: Path) -> None:
    block = bytearray(writer.entry("ü".encode("latin-1"), b"0"))[-512:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
    block[148:156] = b"%06o\0 " % signed
    assert [row[0] for row in ours(bytes(block) + bytes(1024), tmp_path)] == ["\udcfc"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a", "a"),
        ("/a", "a"),
        ("./a/", "a"),
        ("a//b/./c", "a/b/c"),
        ("a/../b", "b"),
        ("", ""),
        (".", ""),
        ("/", ""),
        ("a/..", ""),
        ("...", "..."),
    ],
)
def test_names_are_made_clean(name: str, path: str) -> None:
    assert clean(name.encode(), depth=9, longest=99).decode() == path


@pytest.mark.parametrize(
    ("text", "nanosecond"),
    [
        (b"1", 10**9),
        (b"1.5", 1_500_000_000),
        (b"-1.25", -1_250_000_000),
        (b"0.0000000019", 1),
        (b"-0.5", -500_000_000),
        (b"9" * 19, 1 << 40),
    ],
)
def test_times_have_nanoseconds(text: bytes, nanosecond: int) -> None:
    expected = nanosecond * 10**9 if nanosecond == 1 << 40 else nanosecond
    assert nanoseconds(text) == expected


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 8**11 - 1, 8**11, 1 << 50])
def test_what_we_write_tarfile_reads(size: int) -> None:
    data = writer.entry(
        b"d/" + b"n" * 200, b"0", mode=0o4755, uid=65535, gid=1, size=size, mtime=-7, xattrs={b"user.a": b"v", b"user.b": b"\0\n="}
    )
    with tarfile.open(fileobj=io.BytesIO(data + bytes(1024))) as tar:
        member = next(iter(tar))
    assert (member.name, member.mode, member.uid, member.size, member.mtime) == ("d/" + "n" * 200, 0o4755, 65535, size, -7)
    assert member.pax_headers["SCHILY.xattr.user.a"] == "v"
