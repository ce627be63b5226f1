"""The last metres before exec, on tables and paths that an image made: no container needed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.init.steps import program

if TYPE_CHECKING:
    from pathlib import Path

USERS = (
    "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001:u:/home/user:/bin/sh\nbroken:x\n"
    "arab:x:\u0661:0::/:\nminus:x:-1:0::/:\nlast:x:5:5::/last:"
)
GROUP = "root:x:0:\nstaff:x:50:user,root\nwheel:x:10:user\nbad:x:ten:user"


@pytest.fixture(autouse=True)
def _tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """resolve() reads these tables in place of the machine's."""
    (tmp_path / "passwd").write_text(USERS)
    (tmp_path / "group").write_text(GROUP)
    real = program.table

    def table(path: str, columns: int) -> list[list[str]]:
        return real(path.replace("/etc", str(tmp_path)), columns)

    monkeypatch.setattr(program, "table", table)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("root", (0, 0, [50], "/root")),
        ("user", (1000, 1001, [50, 10], "/home/user")),
        ("1000", (1000, 1001, [50, 10], "/home/user")),
        ("1000:0", (1000, 0, [50, 10], "/home/user")),
        ("user:staff", (1000, 50, [50, 10], "/home/user")),
        ("77", (77, 0, [], "/")),
        ("77:88", (77, 88, [], "/")),
        ("last", (5, 5, [], "/last")),
    ],
)
def test_a_user_is_found_by_name_or_number_with_its_groups_and_home(user: str, expected: tuple[Any, ...]) -> None:
    assert program.resolve(user) == expected


def test_a_number_is_a_number_whatever_the_image_calls_its_accounts(tmp_path: Path) -> None:
    names = ("1000", "01000", "77", "9" * 11)
    (tmp_path / "passwd").write_text("".join(f"{name}:x:0:0::/:\n" for name in names) + USERS)
    (tmp_path / "group").write_text("".join(f"{name}:x:0:{name}\n" for name in names) + GROUP)
    assert program.resolve("1000") == (1000, 1001, [50, 10], "/home/user")
    assert program.resolve("01000")[0] == 1000
    assert program.resolve("77:77") == (77, 77, [], "/")
    assert program.resolve("user:1000")[1] == 1000
    assert program.group_id("77") == 77
    with pytest.raises(program.NoSuchUser):
        program.resolve("9" * 11)


@pytest.mark.parametrize("user", ["nobody", "broken", "arab", "minus", "-1", "\u0661", "", "user:nogroup", "user:\u0661", "9" * 11])
def test_who_is_not_in_the_tables_is_nobody(user: str) -> None:
    with pytest.raises(program.NoSuchUser):
        program.resolve(user)


def test_a_table_is_read_up_to_a_mebibyte_and_whole_rows(tmp_path: Path) -> None:
    row = "u{0:06}:x:{0}:0::/:\n"
    (tmp_path / "passwd").write_text("".join(row.format(number) for number in range(100_000)))
    begin = time.monotonic()
    rows = program.table("/etc/passwd", 7)
    assert time.monotonic() - begin < 5
    assert 40_000 < len(rows) < 100_000
    assert all(int(found[0][1:]) == int(found[2]) for found in rows)


def test_what_is_no_regular_file_is_an_empty_table(tmp_path: Path) -> None:
    for name in ("fifo", "directory", "missing"):
        if name == "fifo":
            os.mkfifo(tmp_path / name)
        elif name == "directory":
            (tmp_path / name).mkdir()
        assert program.table(f"/etc/{name}", 7) == []


def test_the_programs_path_is_searched_and_the_reason_is_the_best_there_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/tool").touch(mode=0o644)
    plan: Any = {"args": ["tool"], "env": {"PATH": f"{tmp_path}/none:{tmp_path}/a:{tmp_path}/passwd"}}
    with pytest.raises(PermissionError):
        program.execute(plan)
    with pytest.raises(FileNotFoundError):
        program.execute(plan | {"args": ["gone"]})
    with pytest.raises(FileNotFoundError):
        program.execute(plan | {"args": ["/gone/tool"]})


def test_a_missing_working_directory_is_made_and_one_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # put back in the end
    program.make_directory(str(tmp_path / "x/y"))
    program.enter(str(tmp_path / "x/y"))
    assert os.getcwd() == str(tmp_path / "x/y")
    program.make_directory(str(tmp_path / "passwd"))
    with pytest.raises(NotADirectoryError):
        program.enter(str(tmp_path / "passwd"))
