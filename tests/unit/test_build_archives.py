"""ADD: what counts as an archive, by what is in it; and that looking costs next to nothing, whatever it is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import zstandard

from cellhold.build import archives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEBIBYTE = 1 << 20
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


def a_tar(*, pax_bytes: int = 0) -> bytes:
    """One file; pax_bytes: of a header before it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("file")
        member.pax_headers = {"comment": "a" * pax_bytes} if pax_bytes else {}
        tar.addfile(member)
    return made.getvalue()


@pytest.mark.parametrize("packing", PACKED)
def test_a_tar_is_known_by_what_is_in_it(packing: str, tmp_path: Path) -> None:
    whole = PACKED[packing](a_tar())
    (tmp_path / "archive").write_bytes(whole)
    (tmp_path / "cut").write_bytes(whole[:20])
    (tmp_path / "text.tar").write_bytes(PACKED[packing](b"no archive, whatever it is called\n" * 100))
    (tmp_path / "zeros.tar").write_bytes(PACKED[packing](bytes(10240)))
    assert archives.is_tar(tmp_path, b"archive")
    assert not any(archives.is_tar(tmp_path, name) for name in (b"cut", b"text.tar", b"zeros.tar", b"missing"))


@pytest.mark.parametrize("packing", PACKED)
def test_looking_takes_little_memory_whatever_comes_out(packing: str, tmp_path: Path) -> None:
    bombs = {"zeros": bytes(32 * MEBIBYTE), "pax": a_tar(pax_bytes=32 * MEBIBYTE)}
    for name, bomb in bombs.items():
        (tmp_path / name).write_bytes(PACKED[packing](bomb))
    del bombs, bomb
    tracemalloc.start()
    try:
        found = {name: archives.is_tar(tmp_path, name.encode()) for name in ("zeros", "pax")}
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE  # xz has a dictionary of 8
    finally:
        tracemalloc.stop()
    assert found == {"zeros": False, "pax": True}


def test_a_fifo_and_a_link_out_of_the_context_are_no_archives(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (tmp_path / "outside.tar").write_bytes(a_tar())
    (context / "link").symlink_to(tmp_path / "outside.tar")
    os.mkfifo(context / "fifo")
    assert not archives.is_tar(context, b"link")
    assert not archives.is_tar(context, b"fifo")
