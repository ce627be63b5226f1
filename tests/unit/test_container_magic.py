"""%container and %limits: which lines of a cell are theirs, and what the cell kernel gets."""

from __future__ import annotations

import pytest

from cellhold.errors import InvalidSpec
from cellhold_kernel.magics.lines import alone, read


def test_a_cell_without_it_is_left_alone() -> None:
    assert read("print('%container')") is None
    assert read("") is None
    assert read("%containers\n%container.x") is None


def test_alone_it_asks_for_nothing_new_and_stays_as_a_comment() -> None:
    assert read("%container") == ({"container": {}}, "# %container", ())


def test_lines_at_the_top_add_up_and_the_rest_keeps_its_line_numbers() -> None:
    asked = read("\n# a remark\n%container memory=512m pids=64\n%container memory=1g  # more\nx = 1")
    assert asked is not None
    assert asked.magics == {"container": {"memory": "1g", "pids": "64"}}
    assert asked.code == "\n# a remark\n# %container memory=512m pids=64\n# %container memory=1g  # more\nx = 1"


def test_a_cell_magic_behind_it_comes_first_in_what_is_left() -> None:
    asked = read("%container memory=1g\n%%time\n%container of another language")
    assert asked is not None
    assert asked.code == "%%time\n%container of another language"


def test_values_are_quoted_as_in_a_shell() -> None:
    asked = read("%container image='/srv/my root' --cpus=2")
    assert asked is not None
    assert asked.magics == {"container": {"image": "/srv/my root", "cpus": "2"}}


def test_an_action_is_a_word_with_its_arguments() -> None:
    asked = read("# now\n%container kill 'SIGINT'  # politely\nx = 1")
    assert asked is not None
    assert (asked.magics, asked.action) == ({}, ("kill", "SIGINT"))
    assert asked.code == "# now\n# %container kill 'SIGINT'  # politely\nx = 1"
    assert alone("%container pause\n") == ("pause",)
    assert alone("%container pause\nx = 1") == alone("%container memory=1g") == alone("%container 'pause") == ()


@pytest.mark.parametrize(
    "code", ["%container pause\n%container unpause", "%container pause\n%limits", "%container memory=1g\n%container stop"]
)
def test_an_action_stands_alone(code: str) -> None:
    with pytest.raises(InvalidSpec, match="no other %container, %limits or %network line can stand beside it"):
        read(code)


def test_a_word_that_is_no_action_is_told_which_there_are() -> None:
    with pytest.raises(InvalidSpec, match="cannot use paus: not a key=value") as refused:
        read("%container paus")
    assert "or one of start, pause, unpause, stop, kill, restart, remove, commit, panel, footer, usage" in str(refused.value.hint)


def test_both_magics_may_stand_at_the_top() -> None:
    asked = read("%container\n%limits cpus=1\n%limits\nx")
    assert asked is not None
    assert asked.magics == {"container": {}, "limits": {"cpus": "1"}}
    assert asked.code == "# %container\n# %limits cpus=1\n# %limits\nx"


def test_what_may_be_said_several_times_adds_up() -> None:
    asked = read("%container volume=/a:/a volume='/b:/b:ro /c:/c' tmpfs=/t memory=1g memory=2g")
    assert asked is not None
    assert asked.magics["container"] == {"volume": "/a:/a /b:/b:ro /c:/c", "tmpfs": "/t", "memory": "2g"}


def test_inside_a_text_of_several_lines_it_is_text() -> None:
    assert read('x = """\n%container memory=1g\n"""') is None


@pytest.mark.parametrize("code", ["x = 1\n%container", "%container\nx = 1\n%container memory=1g", 'x = """\n"""\n%container'])
def test_below_the_top_it_is_refused(code: str) -> None:
    with pytest.raises(InvalidSpec, match="has to be at the top of its cell"):
        read(code)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("memory", "cannot use memory: not a key=value"),
        ("memory 512m", "cannot use memory: not a key=value"),
        ("memroy=1g", "cannot use memroy: there is no such key"),
        ("image='x", "cannot read %container image='x: No closing quotation"),
        ("\x1b[31m=1", "there is no such key"),
    ],
)
def test_a_line_that_is_not_understood_is_one_sentence(line: str, says: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        read(f"%container {line}")
    assert says in str(caught.value)
    assert caught.value.hint
