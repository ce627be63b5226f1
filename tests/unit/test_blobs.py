"""Blobs: content under its digest, whole or not there."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from cellhold.errors import ImageNotFound, ImageRefused
from cellhold.spec.digest import Digest
from cellhold.store.blobs import Blobs

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.store.blobs import Draft

CONTENT = b"what a layer holds" * 100
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def begun(draft: Draft | None) -> Draft:
    assert draft is not None
    return draft


def write_all(blobs: Blobs, sent: bytes) -> None:
    with blobs.draft(DIGEST, len(CONTENT)) as draft:
        begun(draft).write(sent)
        begun(draft).keep()


def drafts(blobs: Blobs) -> list[str]:
    return [path.name for path in blobs.drafts.iterdir()]


def test_what_was_written_whole_is_there_under_its_digest_and_nobody_may_change_it(blobs: Blobs) -> None:
    with blobs.draft(DIGEST, len(CONTENT)) as draft:
        for at in range(0, len(CONTENT), 7):
            begun(draft).write(CONTENT[at : at + 7])
        assert not blobs.has(DIGEST)
        begun(draft).keep()
    assert blobs.read(DIGEST) == CONTENT
    assert blobs.size(DIGEST) == len(CONTENT)
    assert blobs.path(DIGEST).stat().st_mode & 0o777 == 0o400
    assert drafts(blobs) == []


def test_a_blob_that_is_there_is_not_written_again(blobs: Blobs) -> None:
    assert blobs.put(CONTENT) == blobs.put(CONTENT) == DIGEST
    with blobs.draft(DIGEST, len(CONTENT)) as draft:
        assert draft is None
    assert drafts(blobs) == []


def test_what_a_cut_connection_left_is_gone_on_with(blobs: Blobs) -> None:
    with blobs.draft(DIGEST, len(CONTENT)) as draft:
        begun(draft).write(CONTENT[:500])
    with blobs.draft(DIGEST, len(CONTENT)) as draft:
        assert begun(draft).done_bytes == 500
        assert b"".join(begun(draft).content()) == CONTENT[:500]
        begun(draft).write(CONTENT[500:])
        begun(draft).keep()
    assert blobs.read(DIGEST) == CONTENT


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (CONTENT[:-1] + b"!", "the received content has the digest sha256:"),
        (CONTENT[:-1], f"it ended after {len(CONTENT) - 1} of {len(CONTENT)} bytes"),
        (CONTENT + b"!", f"it is longer than the {len(CONTENT)} bytes"),
    ],
)
def test_what_is_not_the_content_is_refused_and_nothing_of_it_is_kept(blobs: Blobs, sent: bytes, sentence: str) -> None:
    with pytest.raises(ImageRefused, match=sentence):
        write_all(blobs, sent)
    assert not blobs.has(DIGEST)
    assert drafts(blobs) == []


def test_a_draft_that_is_longer_than_the_blob_is_no_beginning_of_it(blobs: Blobs) -> None:
    (blobs.drafts / DIGEST.encoded).write_bytes(CONTENT + CONTENT)
    with blobs.draft(DIGEST, len(CONTENT)) as draft:
        assert begun(draft).done_bytes == 0


def test_of_many_who_want_the_same_blob_one_writes_it(blobs: Blobs) -> None:
    written = []

    def want() -> None:
        with blobs.draft(DIGEST, len(CONTENT)) as draft:
            if draft is not None:
                written.append(draft.done_bytes)
                draft.write(CONTENT)
                draft.keep()

    wanting = [threading.Thread(target=want) for _ in range(10)]
    for thread in wanting:
        thread.start()
    for thread in wanting:
        thread.join()
    assert written == [0]
    assert drafts(blobs) == []


def test_a_blob_that_is_not_there_is_a_sentence(blobs: Blobs) -> None:
    with pytest.raises(ImageNotFound, match=f"cannot read {DIGEST}: the store has no such blob"):
        blobs.read(DIGEST)


def test_removing_tells_the_bytes_and_may_be_done_twice(blobs: Blobs) -> None:
    blobs.put(CONTENT)
    assert blobs.all() == [DIGEST]
    assert blobs.remove(DIGEST) == len(CONTENT)
    assert blobs.remove(DIGEST) == 0
    assert blobs.all() == []
