"""Ranges of subordinate ids: one for each container, given back, never one of somebody else's."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cellhold.errors import NotSupported
from cellhold.store import ids

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of claims on a host that has given out no ranges."""
    monkeypatch.setattr(ids, "delegated", list)
    return tmp_path


def test_two_claims_never_overlap_and_say_whose_they_are(claims: Path) -> None:
    first, second = ids.claim(claims, "aa"), ids.claim(claims, "bb")
    assert abs(first - second) >= ids.COUNT
    assert (claims / "0").read_text() == "aa"
    assert (claims / "1").read_text() == "bb"


def test_a_range_given_back_is_used_again_and_giving_back_twice_is_no_error(claims: Path) -> None:
    first = ids.claim(claims, "aa")
    ids.release(claims, first)
    ids.release(claims, first)
    assert ids.claim(claims, "bb") == first


def test_claims_made_at_the_same_time_are_all_different(claims: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        bases = list(pool.map(lambda number: ids.claim(claims, f"c{number}"), range(200)))
    assert len(set(bases)) == 200


def test_a_range_of_etc_subuid_is_left_out(claims: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = (ids.FIRST + ids.COUNT - 1, 2)  # the last id of the first range and the first of the second
    monkeypatch.setattr(ids, "delegated", lambda: [taken])
    assert ids.claim(claims, "aa") == ids.FIRST + 2 * ids.COUNT


def test_when_all_are_taken_it_says_how_many_there_are(claims: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "RANGES", 2)
    ids.claim(claims, "aa")
    ids.claim(claims, "bb")
    with pytest.raises(NotSupported, match=r"container cc its own ids: all 2 ranges are taken"):
        ids.claim(claims, "cc")


def test_what_a_crash_left_is_reclaimed_and_what_lives_is_not(claims: Path) -> None:
    ids.claim(claims, "living")
    ids.claim(claims, "dead")
    (claims / "7").touch()  # a crash between making the file and writing it
    ids.reclaim(claims, lambda owner: owner == "living")
    assert os.listdir(claims) == ["0"]


def test_no_range_reaches_the_ids_of_people_or_the_end_of_the_numbers() -> None:
    assert ids.FIRST > 600_100_000  # SUB_UID_MAX of login.defs(5)
    assert ids.FIRST + ids.RANGES * ids.COUNT < 1_879_048_191  # systemd's UIDs-GIDS
