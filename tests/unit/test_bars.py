"""Progress as people see it: bars, lines, or JSON."""

from __future__ import annotations

import io
import json

import pytest

from cellhold.cli import bars
from cellhold.image.progress import Doing, Progress
from cellhold.spec.digest import Digest
from cellhold.spec.units import ago

DIGEST = Digest.of(b"layer")


def told(kind: str) -> str:
    to = io.StringIO()
    with bars.display(kind, to) as tell:
        for doing, done in ((Doing.WAITING, 0), (Doing.DOWNLOADING, 10), (Doing.DOWNLOADING, 20), (Doing.DONE, 100)):
            tell(Progress(digest=DIGEST, doing=doing, done_bytes=done, total_bytes=100))
    return to.getvalue()


def test_lines_are_dockers_one_for_each_change() -> None:
    assert told("auto").splitlines() == [f"{DIGEST.short}: {doing}" for doing in ("Waiting", "Downloading", "Pull complete")]


def test_bars_name_the_layer_and_end_full() -> None:
    shown = told("bars")
    assert DIGEST.short in shown
    assert "Pull complete" in shown
    assert "100/100 bytes" in shown


def test_json_is_one_object_a_line_and_none_is_nothing() -> None:
    objects = [json.loads(line) for line in told("json").splitlines()]
    assert objects[-1] == {"digest": str(DIGEST), "doing": "Pull complete", "done_bytes": 100, "total_bytes": 100}
    assert told("none") == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "Less than a second ago"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "About a minute ago"),
        (3600, "About an hour ago"),
        (47 * 3600, "47 hours ago"),
        (48 * 3600, "2 days ago"),
        (14 * 86400, "2 weeks ago"),
        (63 * 86400, "2 months ago"),
        (800 * 86400, "2 years ago"),
    ],
)
def test_times_are_dockers_words(seconds: float, words: str) -> None:
    assert ago(seconds) == words
