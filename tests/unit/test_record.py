"""record.json: written whole, read with suspicion."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from cellhold.store.record import Record, read

if TYPE_CHECKING:
    from pathlib import Path


def record() -> Record:
    return Record(id="ab12", name="box", image="host", args=["echo", "\udcff", "é"], created=1.5)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = record()
    written.write(tmp_path)
    assert read(tmp_path) == written


def test_it_is_replaced_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    written = record()
    written.write(tmp_path)
    with (tmp_path / "record.json").open() as before:
        written.state = "running"
        written.write(tmp_path)
        assert json.load(before)["state"] == "created"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert stat.S_IMODE((tmp_path / "record.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null", '{"id": "x"}', '{"unknown": 1}', "\udcff"])
def test_half_a_record_is_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "record.json").write_bytes(text.encode(errors="surrogateescape"))
    assert read(tmp_path) is None


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "record.new").symlink_to(victim)
    record().write(tmp_path)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "record.json").is_symlink()
    assert read(tmp_path) == record()
