"""Looking into layers: who answers for a path, what a layer changes, and what it hides, as overlayfs shows them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from cellhold.cli.looking import tree
from cellhold.errors import ImageNotFound, InvalidSpec
from cellhold.image.layer_diff import Change, Kind, changes, compare
from cellhold.image.path_lookup import Lookup
from cellhold.store.scan import list_entries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WHITEOUT = object()
OPAQUE = object()


def layer(root: Path, content: Mapping[str, object]) -> Path:
    """A layer with these paths: bytes is a file, text a link, WHITEOUT and OPAQUE (a directory) what they are, None a directory."""
    root.mkdir(parents=True)
    for path, what in content.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, bytes):
            place.write_bytes(what)
        elif isinstance(what, str):
            place.symlink_to(what)
        elif what is WHITEOUT:
            os.mknod(place, stat.S_IFCHR, os.makedev(0, 0))
        else:
            place.mkdir(exist_ok=True)
            if what is OPAQUE:
                os.setxattr(place, "user.overlay.opaque", b"y")
    for place in (root, *root.rglob("*")):
        os.utime(place, (0, 0), follow_symlinks=False)  # a directory that is there for what is in it says nothing by itself
    return root


@pytest.fixture
def stack(tmp_path: Path) -> Lookup:
    base = layer(
        tmp_path / "1",
        {
            "bin": "usr/bin",
            "usr/bin/sh": b"shell",
            "etc/a": b"one",
            "etc/b": b"three",
            "var/x/y": b"12345",
            "var/x/z": b"123",
            "loop": "loop",
        },
    )
    middle = layer(tmp_path / "2", {"etc/a": b"other", "etc/b": WHITEOUT, "var/x": OPAQUE, "var/x/new": b"n", "etc/gone": WHITEOUT})
    top = layer(tmp_path / "3", {"usr/bin/python": b"python", "etc/a": b"third"})
    return Lookup([base, middle, top])


def test_every_name_is_found_once_with_what_it_is(tmp_path: Path) -> None:
    tree = layer(tmp_path / "x", {"d/file": b"abc", "d/link": "/nowhere", "d/gone": WHITEOUT, "o": OPAQUE})
    os.link(tree / "d/file", tree / "d/again")
    found = {entry.path: entry for entry in list_entries(tree)}
    assert set(found) == {"", "d", "o", "d/again", "d/file", "d/gone", "d/link"}
    assert sorted((found["d/again"].size_bytes, found["d/file"].size_bytes)) == [0, 3]
    assert found["d/link"].link == "/nowhere"
    assert found["d/gone"].is_whiteout
    assert found["o"].is_opaque
    assert found["d"].is_directory


@pytest.mark.parametrize(
    ("path", "place", "number", "shadows"),
    [
        ("/etc/a", "/etc/a", 3, (2, 1)),
        ("etc/a", "/etc/a", 3, (2, 1)),
        ("/bin/sh", "/usr/bin/sh", 1, ()),
        ("/bin/python", "/usr/bin/python", 3, ()),
        ("/bin", "/bin", 1, ()),
        ("/etc/../bin/./sh", "/usr/bin/sh", 1, ()),
        ("/var/x/new", "/var/x/new", 2, ()),
    ],
)
def test_the_topmost_layer_that_has_a_path_answers(stack: Lookup, path: str, place: str, number: int, shadows: tuple[int, ...]) -> None:
    answer = stack.which(path)
    assert (answer.path, answer.layer, answer.shadows) == (place, number, shadows)
    assert answer.found is not None


def test_what_a_layer_removed_is_not_there_and_it_is_told_by_which(stack: Lookup) -> None:
    answer = stack.which("/etc/b")
    assert (answer.found, answer.layer, answer.shadows) == (None, 2, (1,))
    below_opaque = stack.which("/var/x/y")
    assert (below_opaque.found, below_opaque.layer, below_opaque.shadows) == (None, 2, (1,))


def test_what_was_never_there_no_layer_answers_for(stack: Lookup) -> None:
    assert stack.which("/no/such").layer is None


def test_a_circle_of_links_and_an_empty_path_are_sentences(stack: Lookup) -> None:
    with pytest.raises(ImageNotFound, match="too many levels of symbolic links"):
        stack.which("/loop/x")
    with pytest.raises(InvalidSpec, match="not a path"):
        stack.which("")


def test_a_layer_adds_changes_and_removes_and_what_it_hides_is_wasted(stack: Lookup) -> None:
    made = {change.path: (change.kind, change.size_bytes, change.hidden_bytes) for change in changes(stack, 1)}
    assert made == {
        "/etc/a": (Kind.CHANGED, 5, 3),
        "/etc/b": (Kind.REMOVED, 0, 5),
        "/var/x": (Kind.CHANGED, 0, 8),
        "/var/x/new": (Kind.ADDED, 1, 0),
    }
    assert [(change.path, change.hidden_bytes) for change in changes(stack, 2)] == [("/etc/a", 5), ("/usr/bin/python", 0)]


def test_the_lowest_layer_only_adds(stack: Lookup) -> None:
    assert {change.kind for change in changes(stack, 0)} == {Kind.ADDED}
    assert all(isinstance(change, Change) and change.hidden_bytes == 0 for change in changes(stack, 0))


def test_changes_are_shown_below_the_directories_that_lead_to_them() -> None:
    def change(kind: Kind, path: str, size_bytes: int = 0, *, is_directory: bool = False) -> Change:
        return Change(kind=kind, path=path, size_bytes=size_bytes, hidden_bytes=0, is_directory=is_directory)

    found = [
        change(Kind.CHANGED, "/usr/lib/x/b", 1024),
        change(Kind.ADDED, "/usr/lib/x/a"),
        change(Kind.ADDED, "/usr/bin", is_directory=True),
        change(Kind.REMOVED, "/etc/old"),
        change(Kind.ADDED, "/usr/bin/sh", 1),
    ]
    shown = """\
    etc/
  D   old
    usr/
  A   bin/
  A     sh  1 byte
      lib/
        x/
  A       a
  C       b  1 KiB"""
    assert "\n".join(tree(found, None)) == shown
    assert list(tree(found, 1)) == ["    etc/", "  D   old", "  ... and 4 more (--all)"]


def test_two_stacks_differ_in_what_a_container_of_each_would_see(stack: Lookup, tmp_path: Path) -> None:
    lower = Lookup(stack.trees[:1])
    found = {change.path: str(change.kind) for change in compare(lower, stack)}
    assert found["/etc/a"] == "C"
    assert found["/etc/b"] == "D"
    assert found["/var/x/y"] == "D"  # hidden by an opaque directory
    assert found["/var/x/new"] == "A"
    assert {change.path: str(change.kind) for change in compare(stack, lower)} == {
        path: {"A": "D", "D": "A", "C": "C"}[kind] for path, kind in found.items()
    }
    assert list(compare(stack, Lookup(stack.trees))) == []
    other = Lookup([layer(tmp_path / "other", {"etc/a": b"one", "bin": "usr/bin"})])
    assert {change.path for change in compare(lower, other) if change.kind is Kind.CHANGED} == set()
