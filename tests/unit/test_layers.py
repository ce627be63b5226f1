"""Unpacked layers: each once, whole or not there; and what garbage collection leaves."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from cellhold.errors import ImageNotFound
from cellhold.spec.digest import Digest
from cellhold.store.garbage import Freed, Referred, collect
from cellhold.store.home import open_home
from cellhold.store.layers import LayerFacts
from cellhold.store.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.store.home import Home
    from cellhold.store.layers import LayerDraft, Layers

CHAIN, OTHER = Digest.of(b"chain"), Digest.of(b"other")
FACTS = LayerFacts(diff_id=str(Digest.of(b"tar")), parent=None, size_bytes=5, entries=1, told=("a device was left out",))
NOTHING = Referred(blobs=frozenset(), layers=frozenset())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "store")


def unpack(draft: LayerDraft | None) -> None:
    assert draft is not None
    (draft.directory / "file").write_text("hello")
    draft.keep(FACTS)


def make(layers: Layers, chain: Digest) -> None:
    with layers.draft(chain) as draft:
        unpack(draft)


def test_a_kept_layer_is_there_with_what_is_known_of_it(home: Home) -> None:
    make(home.layers, CHAIN)
    assert home.layers.has(CHAIN)
    assert home.layers.facts(CHAIN) == FACTS
    assert (home.layers.tree(CHAIN) / "file").read_text() == "hello"


def test_its_root_is_for_everybody_whatever_the_umask(home: Home) -> None:
    before = os.umask(0o077)
    try:
        make(home.layers, CHAIN)
    finally:
        os.umask(before)
    assert home.layers.tree(CHAIN).stat().st_mode & 0o777 == 0o755


def test_what_is_not_kept_is_removed(home: Home) -> None:
    with home.layers.draft(CHAIN) as draft:
        assert draft is not None
        (draft.directory / "half").mkdir()
    assert home.layers.all() == []


def test_what_could_not_be_kept_is_removed_and_the_error_is_the_first_one(home: Home) -> None:
    def hindered() -> None:
        with home.layers.draft(CHAIN) as draft:
            (home.root / "layers" / CHAIN.encoded / "layer.new").mkdir()
            unpack(draft)

    with pytest.raises(IsADirectoryError):
        hindered()
    assert home.layers.all() == []


def test_what_a_killed_process_left_is_no_layer_and_in_nobodys_way(home: Home) -> None:
    (home.root / "layers" / CHAIN.encoded / "tree" / "half").mkdir(parents=True)
    assert not home.layers.has(CHAIN)
    make(home.layers, CHAIN)
    assert os.listdir(home.layers.tree(CHAIN)) == ["file"]


def test_of_many_who_want_the_same_layer_one_unpacks_it(home: Home) -> None:
    unpacked = []

    def want() -> None:
        with home.layers.draft(CHAIN) as draft:
            if draft is not None:
                unpacked.append(1)
                unpack(draft)

    wanting = [threading.Thread(target=want) for _ in range(10)]
    for thread in wanting:
        thread.start()
    for thread in wanting:
        thread.join()
    assert unpacked == [1]


def test_a_layer_that_is_not_there_is_a_sentence(home: Home) -> None:
    with pytest.raises(ImageNotFound, match=f"cannot use layer {CHAIN}"):
        home.layers.facts(CHAIN)


def test_garbage_is_what_no_image_and_no_container_refers_to(home: Home) -> None:
    kept, gone = home.blobs.put(b"kept"), home.blobs.put(b"gone")
    for chain in (CHAIN, OTHER, Digest.of(b"third")):
        make(home.layers, chain)
    home.container("c1").mkdir()
    Record(id="c1", name="c1", image="x", args=[], created=0.0, layers=[str(OTHER)]).write(home.container("c1"))
    assert collect(home, lambda: Referred(blobs=frozenset({kept}), layers=frozenset({CHAIN}))) == Freed(blobs=1, layers=1, size_bytes=4 + 5)
    assert home.blobs.all() == [kept]
    assert sorted(home.layers.all()) == sorted([CHAIN, OTHER])
    assert not home.blobs.has(gone)


def test_nothing_is_collected_while_somebody_makes_use_of_the_store(home: Home) -> None:
    digest = home.blobs.put(b"coming in")
    with home.used(), home.used():
        assert collect(home, lambda: NOTHING) is None
        assert home.blobs.has(digest)
    assert collect(home, lambda: NOTHING) == Freed(blobs=1, layers=0, size_bytes=9)
