"""Locks on what is removed while somebody wants them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.store import locks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("opener", [locks.file, locks.directory])
def test_where_the_directory_above_is_gone_nobody_waits_for_it(opener: Any, tmp_path: Path) -> None:
    path = tmp_path / "gone/lock"
    with pytest.raises(FileNotFoundError), locks.held(path, opener(path)):
        pass


def test_a_directory_that_was_removed_at_once_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "made", os.open
    tried: list[Any] = []

    def removed_first(*words: Any) -> int:
        if not tried:
            path.rmdir()
        tried.append(words)
        return real(*words)

    monkeypatch.setattr(os, "open", removed_first)
    with locks.held(path, locks.directory(path)):
        assert path.is_dir()
    assert len(tried) == 2


def test_one_that_was_replaced_while_somebody_waited_is_locked_anew(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    opened: list[int] = []

    def replaced_first() -> int:
        opened.append(locks.file(path)())
        if len(opened) == 1:
            path.unlink()
        return opened[-1]

    with locks.held(path, replaced_first) as fd:
        assert os.fstat(fd).st_ino == path.stat().st_ino
    assert len(opened) == 2
