"""The table of images and names: whole after any crash, one writer at a time."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cellhold.errors import SetupFailed
from cellhold.spec.digest import Digest
from cellhold.store.names import Derived, Entry, Names, Table

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = Digest.of(b"manifest")
ENTRY = Entry(media_type="application/vnd.oci.image.manifest.v1+json", size_bytes=8, created=1.5, came_as=["localhost:5000/x@sha256:0"])


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    with Names(tmp_path).changed() as table:
        table.images[IMAGE] = ENTRY
        table.names["docker.io/library/x:1"] = IMAGE
    assert Names(tmp_path).read() == Table(images={IMAGE: ENTRY}, names={"docker.io/library/x:1": IMAGE})
    assert Names(tmp_path).read().names_of(IMAGE) == ["docker.io/library/x:1"]


def test_an_error_on_the_way_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Names(tmp_path).changed() as table:
        table.names["docker.io/library/x:1"] = 1 / 0  # type: ignore[assignment]  # never assigned
    assert Names(tmp_path).read() == Table()


def test_nothing_is_lost_when_many_write_at_once(tmp_path: Path) -> None:
    def name(number: int) -> None:
        with Names(tmp_path).changed() as table:
            table.names[f"docker.io/library/x:{number}"] = IMAGE

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(name, range(40)))
    assert len(Names(tmp_path).read().names) == 40


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2, "images": {}, "names": {}}', '{"version": 1, "images": {"x": {}}, "names": {}}']
)
def test_a_damaged_table_is_a_sentence_and_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "images.json").write_text(text)
    with pytest.raises(SetupFailed, match=r"cannot read .*images\.json: it is not a table of images"), Names(tmp_path).changed():
        pass
    assert (tmp_path / "images.json").read_text() == text


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"version": true, "images": {}, "names": {}}',
        b'{"version": 0, "images": {}, "names": {}}',
        b'{"version": 2, "images": {}, "names": {}, "derived": {"k": {"image": "x"}}}',
        b'{"version": 2, "images": [], "names": {}, "derived": {}}',
        b'{"version": 2, "images": {"sha256:%s": {"media_type": 1, "size_bytes": 1, "created": 1}}, "names": {}, "derived": {}}'
        % (b"a" * 64),
    ],
)
def test_garbage_in_the_place_of_the_table_is_no_empty_table(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "images.json").write_bytes(content)
    with pytest.raises(SetupFailed, match="it is not a table of images"):
        Names(tmp_path).read()
    assert (tmp_path / "images.json").read_bytes() == content


def test_what_another_version_wrote_beside_is_kept(tmp_path: Path) -> None:
    entry = {"media_type": "m", "size_bytes": 8, "created": 1.5, "colour": "red"}
    (tmp_path / "images.json").write_text(json.dumps({"version": 2, "images": {str(IMAGE): entry}, "names": {}, "derived": {}}))
    with Names(tmp_path).changed() as table:
        table.names["x:1"] = IMAGE
    assert json.loads((tmp_path / "images.json").read_text())["images"][str(IMAGE)]["colour"] == "red"


def test_the_table_of_a_later_version_is_left_to_that(tmp_path: Path) -> None:
    (tmp_path / "images.json").write_text('{"version": 3, "pictures": {}}')
    with pytest.raises(SetupFailed, match="a table of images of version 3, and this Cellhold knows those up to 2"):
        Names(tmp_path).read()


def test_a_table_that_may_not_be_read_is_no_empty_table(tmp_path: Path) -> None:
    (tmp_path / "images.json").mkdir()
    with pytest.raises(SetupFailed, match=r"cannot read .*images\.json: Is a directory"):
        Names(tmp_path).read()


def test_a_table_of_the_first_version_has_no_derived_images_and_is_written_as_one_of_the_second(tmp_path: Path) -> None:
    old = {"version": 1, "images": {str(IMAGE): {"media_type": "m", "size_bytes": 8, "created": 1.5}}, "names": {"x:1": str(IMAGE)}}
    (tmp_path / "images.json").write_text(json.dumps(old))
    with Names(tmp_path).changed() as table:
        assert (table.names, table.derived, table.images[IMAGE].on_host) == ({"x:1": IMAGE}, {}, False)
        table.derived["k"] = Derived(image=IMAGE, base=IMAGE)
    assert json.loads((tmp_path / "images.json").read_text())["version"] == 2
    assert Names(tmp_path).read().base_of(IMAGE) == IMAGE
