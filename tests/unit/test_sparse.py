"""Copies keep their holes."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from cellhold.store import sparse

if TYPE_CHECKING:
    from pathlib import Path


def make(path: Path) -> bytes:
    with path.open("wb") as file:
        file.write(b"start")
        file.seek(3 << 20)
        file.write(b"middle")
        file.truncate(8 << 20)
    return path.read_bytes()


def test_a_copy_is_equal_and_as_sparse(tmp_path: Path) -> None:
    content = make(tmp_path / "old")
    sparse.copy(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == content
    assert (tmp_path / "new").stat().st_blocks * 512 < 1 << 20
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_one_hole_and_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 20)
    for name in ("empty", "hole"):
        sparse.copy(tmp_path / name, tmp_path / f"{name} again")
        assert (tmp_path / f"{name} again").read_bytes() == (tmp_path / name).read_bytes()


def test_between_file_systems_it_is_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    content = make(tmp_path / "old")
    sparse.copy(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == content


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full)
    make(tmp_path / "old")
    with pytest.raises(OSError, match="No space left"):
        sparse.copy(tmp_path / "old", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
