"""The table of limits: complete, and what is made of it."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.cgroups import refusals
from cellhold.cli import options
from cellhold.doctor import limits as doctor
from cellhold.errors import InvalidSpec
from cellhold.spec import fields
from cellhold.spec.field import Change
from cellhold.spec.fields import FIELDS
from cellhold.spec.limits import IoLimit, Limits
from cellhold_kernel.settings.settings import KEYS

if TYPE_CHECKING:
    from cellhold.spec.field import Field

MEMORY, DISK, TIME = 64 << 20, 1 << 30, 30.0
NAMED = {field.name: field for field in FIELDS}


def parsed(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    options.add_limits(parser)
    return fields.parse_flags(vars(parser.parse_args(words)))


def test_each_field_of_limits_has_one_row() -> None:
    assert [field.name for field in FIELDS] == list(dict.fromkeys(field.name for field in FIELDS))
    assert NAMED.keys() == {field.name for field in dataclasses.fields(Limits)}


def test_each_word_means_one_limit() -> None:
    flags = [name for field in FIELDS for flag in field.flags for name in (flag.name, flag.short) if name]
    assert len(set(flags)) == len(flags)
    assert len(fields.BY_KEY) == sum(bool(field.key) for field in FIELDS)


@pytest.mark.parametrize("field", fields.BY_KEY.values(), ids=fields.BY_KEY)
def test_what_a_notebook_can_say_has_an_example_and_a_flag_that_means_the_same(field: Field) -> None:
    values = [field.parse(text, field.word) for text in field.examples]
    for text, value in zip(field.examples, values, strict=True):
        assert text in field.flag_help(field.flags[0])
        assert parsed(f"{field.flags[0].name}={text}") == {field.name: value}
    assert values


def test_what_was_not_given_is_not_changed() -> None:
    assert parsed() == {}
    assert parsed("--pids-limit", "-1", "--net-egress", "1mbit") == {"pids": None, "egress_bits": 10**6}
    assert parsed("--device-read-bps", "/dev/a:1m", "--device-write-iops", "/dev/a:5") == {
        "io": (IoLimit(device="/dev/a", read_bps=1 << 20, write_iops=5),)
    }


def test_the_words_of_a_flag_are_no_words_of_a_notebook() -> None:
    with pytest.raises(InvalidSpec, match="memory-swap=-1: not a size"):
        NAMED["memory_swap_bytes"].parse("-1", "memory-swap")


def test_what_is_fixed_is_found_before_anything_changes() -> None:
    assert fields.find_fixed(Limits(), Limits(memory_bytes=MEMORY), is_alive=True) is None
    for wanted, name in (
        (Limits(seconds=TIME), "seconds"),
        (Limits(ingress_bits=10**6), "ingress_bits"),
        (Limits(rlimits={"core": (0, 0)}), "rlimits"),
    ):
        assert fields.find_fixed(Limits(), wanted, is_alive=True) is NAMED[name]
        assert fields.find_fixed(Limits(), wanted, is_alive=False) is None
    assert fields.find_fixed(Limits(), Limits(disk_bytes=DISK), is_alive=False) is NAMED["disk_bytes"]


def test_limits_of_a_network_are_those_that_are_set_when_it_is_wired() -> None:
    assert all(field.change is Change.STOPPED for field in FIELDS if field.needs_network)


def test_a_limit_names_itself_where_it_cannot_be_enforced() -> None:
    limits = Limits(memory_bytes=MEMORY, cpus=0.5, pids=64, cpuset="0", io=(IoLimit(device="/dev/vda", read_bps=1),))
    assert refusals.requested(limits) == {
        "memory": "memory=64 MiB", "cpu": "cpus=0.5", "cpuset": "cpuset=0", "pids": "pids=64", "io": "io on /dev/vda",
    }  # fmt: skip
    assert refusals.requested(Limits()) == {}
    assert refusals.requested(Limits(reservation_bytes=MEMORY)) == {"memory": "memory-reservation=64 MiB"}


def test_each_controller_is_one_that_doctor_knows() -> None:
    assert {field.controller for field in FIELDS if field.controller} <= {controller for controller, _ in doctor.CONTROLLERS.values()}


def test_all_that_is_set_is_told() -> None:
    limits = Limits(pids=None, rlimits={"nofile": (1, 2)}, io=(IoLimit(device="/dev/vda", read_bps=1),), egress_bits=10**6)
    assert fields.format_limits(limits) == "net-egress 1mbit, ulimit nofile=1:2, io on /dev/vda"


def in_the_readme(field: Field) -> str:
    default = f" (default: {field.default_help})" if field.default_help else ""
    return f"| `{field.key}` | {', '.join(f'`{text}`' for text in field.examples)} | {field.help}{default} |"


def test_the_readme_has_the_tables_rows() -> None:
    lines = (Path(__file__).parents[2] / "README.md").read_text().splitlines()
    begin = lines.index("| key | example | |")
    table = lines[begin + 2 : lines.index("", begin)]
    said = [key for line in table for key in re.findall(r"`([a-z-]+)`", line.split("|")[1])]
    assert sorted(said) == sorted(KEYS)
    assert [line for line in table if line.split("`")[1] in fields.BY_KEY] == list(map(in_the_readme, fields.BY_KEY.values()))
