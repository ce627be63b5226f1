"""Files and directories of the store: whole, told by their names while they are not, and writable on a full disk where it matters."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from cellhold.store import delete, durable

if TYPE_CHECKING:
    from pathlib import Path


def content(path: Path) -> set[str]:
    return set(os.listdir(path))


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    durable.write(path, b"one")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"one", 0o600)
    with path.open("rb") as before:
        durable.write(path, b"two", lasting=False)
        assert before.read() == b"one"
    assert content(tmp_path) == {"a.json"}


def test_what_a_killed_writer_left_is_in_nobodys_way_and_no_link_is_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "a.new").symlink_to(victim)
    (tmp_path / ".b.new").write_text("half")
    durable.write(tmp_path / "a.json", b"one")
    durable.write(tmp_path / "b", b"two")
    assert victim.read_text() == "mine"
    assert content(tmp_path) == {"victim", "a.json", "b"}


def test_a_directory_appears_when_it_is_complete(tmp_path: Path) -> None:
    with durable.appearing(tmp_path / "v") as draft:
        (draft / "data").mkdir()
        assert durable.is_half(draft)
        assert not (tmp_path / "v").exists()
    assert content(tmp_path / "v") == {"data"}
    with pytest.raises(ZeroDivisionError), durable.appearing(tmp_path / "w"):
        1 / 0  # noqa: B018  # on purpose
    assert content(tmp_path) == {"v"}


def test_what_is_half_made_or_half_removed_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    for name in (f"{durable.NEW}v", f"{durable.REMOVING}0", "whole", ".hidden"):
        (tmp_path / name / "deep").mkdir(parents=True)
    durable.clear(tmp_path)
    assert content(tmp_path) == {"whole", ".hidden"}
    durable.remove(tmp_path / "whole")
    durable.remove(tmp_path / "whole")  # none is no error
    assert content(tmp_path) == {".hidden"}


def test_removing_renames_first_so_that_what_is_cut_off_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v/data").mkdir(parents=True)

    def killed(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(delete, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        durable.remove(tmp_path / "v")
    (left,) = tmp_path.iterdir()
    assert durable.is_half(left)


def full(_path: Path, _data: bytes, *, lasting: bool) -> None:
    assert lasting
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_on_a_full_disk_the_spare_is_written_over_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    durable.write_text(path, b"{0}")
    blocks = sum(entry.stat().st_blocks for entry in tmp_path.iterdir())
    monkeypatch.setattr(durable, "_write_new", full)
    for number in range(5):
        durable.write_text(path, b"{%d}" % number)
        assert path.read_bytes().strip() == b"{%d}" % number
    assert content(tmp_path) == {"r.json", "r.spare"}
    assert sum(entry.stat().st_blocks for entry in tmp_path.iterdir()) == blocks
    with pytest.raises(OSError, match="No space left"):
        durable.write_text(path, b"x" * 100_000)  # more than it has room for
    assert path.read_bytes().strip() == b"{4}"


def test_without_a_spare_a_full_disk_is_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    durable.write_text(tmp_path / "r.json", b"{0}")
    (tmp_path / "r.spare").unlink()
    monkeypatch.setattr(durable, "_write_new", lambda path, data, *, lasting: full(path, data, lasting=True))  # noqa: ARG005  # the spare is tried first
    with pytest.raises(OSError, match="No space left"):
        durable.write_text(tmp_path / "r.json", b"{1}")
    assert (tmp_path / "r.json").read_bytes().strip() == b"{0}"


def test_a_text_that_has_no_spare_gets_one_with_the_next_change(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(b"{0}")  # as the version before wrote it
    durable.write_text(tmp_path / "r.json", b"{1}")
    assert content(tmp_path) == {"r.json", "r.spare"}
