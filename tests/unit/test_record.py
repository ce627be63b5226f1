"""A container's record: written whole, read with suspicion, and never taken for absent because it cannot be read."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.errors import ContainerNotFound, Damaged, NotSupported
from cellhold.spec.spec import Spec
from cellhold.store import record, spec_codec
from cellhold.store.record import Record, changing, find, is_kept, peek, read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of a container."""
    (tmp_path / "ab12").mkdir()
    return tmp_path / "ab12"


def made(*, kept: bool = False, **more: Any) -> Record:
    return Record(id="ab12", name="box", image="host", args=["echo", "\udcff", "é"], created=1.5, kept=kept, **more)


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_written_is_read_again(place: Path, *, kept: bool) -> None:
    written = made(kept=kept, spec=json.loads(json.dumps(spec_codec.to_json(Spec(args=("true",))))) if kept else {})
    written.write(place)
    assert read(place) == written
    assert peek(place) == written


def test_the_name_of_its_file_says_whether_it_is_kept(place: Path) -> None:
    made().write(place)
    assert os.listdir(place) == ["own.json"]
    assert not is_kept(place)
    made(kept=True).write(place)
    assert is_kept(place)
    assert read(place).kept


def test_it_is_replaced_whole_and_for_its_owner_only(place: Path) -> None:
    written = made(kept=True)
    written.write(place)
    with (place / "record.json").open() as before:
        written.state = "running"
        written.write(place)
        assert json.load(before)["state"] == "created"
    assert sorted(os.listdir(place)) == ["record.json", "record.spare"]
    assert stat.S_IMODE((place / "record.json").stat().st_mode) == 0o600


GARBAGE = [
    b"",
    b"\0" * 4096,
    b"{",
    b"[]",
    b"null",
    b'{"id": "ab12"}',
    b'{"unknown": 1}',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"id": "ab12", "name": "x", "image": "x", "args": "x", "created": 1}',
    b'{"id": "ab12", "name": "x", "image": "x", "args": [], "created": NaN}',
    b'{"id": "ab12", "name": "x", "image": "x", "args": [], "created": 1e400}',
    b'{"id": "ab12", "name": "x", "image": "x", "args": [], "created": 1e300}',
    b'{"id": "ab12", "name": "x", "image": "x", "args": [], "created": true}',
    b'{"id": "ab12", "name": "x", "image": "x", "args": [], "created": 1, "state": "odd"}',
    b'{"id": "ab12", "name": "x", "image": "x", "args": [], "created": 1, "pid": 99999999999}',
    b'{"id": "ab12", "name": "x", "image": "x", "args": [], "created": 1, "layers": ["../../x"]}',
    b'{"id": "ab12", "name": "x", "image": "x", "args": [], "created": 1, "spec": {"args": 5}}',
    b'{"id": "ab12", "name": "x", "image": "x", "args": [], "created": 1, "spec": {"limits": {"io": [{}]}}}',
    b'{"id": "cd34", "name": "x", "image": "x", "args": [], "created": 1}',
    b'{"id": "../x", "name": "x", "image": "x", "args": [], "created": 1}',
    b'{"id": "ab12", "name": "x", "image": "x", "args": [], "created": 1, "version": "two"}',
]


@pytest.mark.parametrize("content", GARBAGE, ids=[repr(content[:40] + content[70:90]) for content in GARBAGE])
def test_what_cannot_be_read_is_damaged_and_found_as_that(place: Path, content: bytes) -> None:
    (place / "record.json").write_bytes(content)
    with pytest.raises(Damaged, match=r"cannot read container ab12: .*record\.json is (damaged|of)") as refused:
        read(place)
    assert "rm --force ab12" in str(refused.value.hint)
    with pytest.raises(Damaged):
        find("ab1", place.parent)
    assert [one.name for one in record.unreadable(place.parent)] == ["ab12"]
    assert record.list_readable(place.parent) == []
    assert is_kept(place)
    with pytest.raises(Damaged), changing(place) as known:
        known.state = "running"
    assert (place / "record.json").read_bytes() == content


def test_one_that_is_gone_from_beside_what_was_written_is_damaged(place: Path) -> None:
    (place / "storage/0/upper").mkdir(parents=True)
    with pytest.raises(ContainerNotFound):
        read(place)  # killed before it was a container: there is nothing in it
    assert not is_kept(place)
    (place / "storage/0/upper/file").touch()
    with pytest.raises(Damaged, match="it is not there"):
        read(place)
    assert is_kept(place)


def test_members_of_another_version_are_kept_and_missing_ones_have_defaults(place: Path) -> None:
    old = {"id": "ab12", "name": "box", "image": "host", "args": [], "created": 1, "kept": True, "colour": "red", "more": [1]}
    (place / "record.json").write_text(json.dumps(old))
    with changing(place) as known:
        assert (known.restarts, known.more) == (0, {"colour": "red", "more": [1]})
        known.state = "stopped"
    written = json.loads((place / "record.json").read_text())
    assert (written["colour"], written["more"], written["state"], written["version"]) == ("red", [1], "stopped", 2)


def test_one_of_a_later_version_is_refused_and_left(place: Path) -> None:
    text = json.dumps({"version": 99, "whatever": [1]})
    (place / "record.json").write_text(text)
    with pytest.raises(NotSupported, match="cannot read container ab12: a later version of Cellhold has made it"):
        read(place)
    assert not record.unreadable(place.parent)[0].is_damaged
    assert (place / "record.json").read_text() == text


@pytest.mark.parametrize("kept", [False, True])
def test_a_link_in_its_place_is_not_followed(place: Path, tmp_path: Path, *, kept: bool) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("record", "own"):
        (place / f"{name}.new").symlink_to(victim)
        (place / f"{name}.json").symlink_to(victim)
    made(kept=True).write(place)
    made(kept=kept).write(place)
    assert victim.read_text() == "mine"
    assert not (place / "record.json").is_symlink()
    assert read(place).kept


def test_nothing_waits_for_what_is_no_file(place: Path) -> None:
    os.mkfifo(place / "record.json")
    with pytest.raises(Damaged, match="it is not a regular file"):
        read(place)
