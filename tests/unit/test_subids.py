"""Whose ids a container without root has: the user's, and the range that the machine gave to the user."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cellhold.cgroups.absent import Absent
from cellhold.errors import NotSupported
from cellhold.init.rootless import same
from cellhold.spec.limits import Limits
from cellhold.store import subids

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An /etc with both programs, and tables that give alice (whoever runs this) two ranges."""
    for name in ("SUBUID", "SUBGID"):
        path = tmp_path / name.lower()
        path.write_text("bob:100000:65536\nalice:200000:40000\nalice:300000:65536\nalice:x:1\nhalf\n")
        monkeypatch.setattr(subids, name, path)
    monkeypatch.setattr(subids, "user_name", lambda _uid: "alice")
    monkeypatch.setattr(subids, "helpers", lambda: ("/usr/bin/newuidmap", "/usr/bin/newgidmap"))
    return tmp_path


def test_root_of_the_container_is_the_user_and_the_ranges_follow_up_to_65536(tables: Path) -> None:
    assert tables.is_dir()
    given = subids.delegation()
    assert given.uids == ((0, os.geteuid(), 1), (1, 200000, 40000), (40001, 300000, 25535))
    assert given.ids.count == 65536
    assert given.ids.describe() == f"0 is {os.geteuid()}, 1-40000 are 200000-239999, 40001-65535 are 300000-325534 on the host"


def test_a_range_may_name_its_user_by_number(tables: Path) -> None:
    (tables / "subuid").write_text(f"{os.geteuid()}:7000:10\n")
    assert subids.granted(tables / "subuid", os.geteuid()) == [(7000, 10)]


@pytest.mark.parametrize("missing", ["subuid", "subgid", "programs"])
def test_without_both_ranges_and_both_programs_there_is_one_id(tables: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    if missing == "programs":
        monkeypatch.setattr(subids, "helpers", lambda: None)
    else:
        (tables / missing).unlink()
    given = subids.delegation()
    assert (given.helpers, given.ids.count, given.ids.describe()) == (None, 1, f"0 is {os.geteuid()} on the host")


def test_the_programs_are_not_looked_for_in_the_callers_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in subids.HELPERS:
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(tmp_path) not in repr(subids.helpers())


def test_a_map_below_keeps_the_rows_apart() -> None:
    assert same(((0, 1000, 1), (1, 100000, 65535))) == "0 0 1\n1 1 65535"


def test_without_a_group_what_was_asked_for_is_refused_and_the_default_is_not() -> None:
    error = NotSupported("cannot make cgroup cellhold/ab12: Permission denied")
    assert "processes are not counted or limited" in Absent.in_place_of(Limits(), error).describe()[0]
    with pytest.raises(NotSupported, match=r"cannot enforce pids=64: no control group can be made \(Permission denied\)") as refused:
        Absent.in_place_of(Limits(pids=64), error)
    assert "run as root" in str(refused.value.hint)


def test_a_limit_that_was_refused_for_a_reason_of_its_own_keeps_it() -> None:
    error = NotSupported("cannot enforce cpus=2: the cgroup controller 'cpu' is not available")
    with pytest.raises(NotSupported, match="controller 'cpu'"):
        Absent.in_place_of(Limits(cpus=2), error)


def test_without_a_group_nothing_is_paused_and_nothing_counted() -> None:
    absent = Absent("no")
    with pytest.raises(NotSupported, match="cannot pause"):
        absent.freeze()
    with pytest.raises(NotSupported, match="cannot enforce memory=64 MiB"):
        absent.update(Limits(memory_bytes=64 << 20))
    assert absent.usage().memory_bytes is None
