"""Amounts as people write them: what is taken, what is refused and how, and how they are printed."""

from __future__ import annotations

import pytest

from cellhold.errors import InvalidSpec
from cellhold.spec.units import COUNT_MAXIMUM, duration, parse_count, parse_cpus, parse_seconds, parse_size, size

MIB = 1 << 20
ARABIC = "١٢"  # int() would say twelve
HUGE = "9" * 5000

SIZES = {"65536": 65536, "0": 0, "1b": 1, "512k": 512 << 10, "512m": 512 * MIB, "512M": 512 * MIB, "512MB": 512 * MIB, "512MiB": 512 * MIB}
CONTROLS = ("512m\n", "\n512m", "512m\t", "512m\r", "512\nm", "512m\x0b", "512m\u2028")
MORE_SIZES = {"1.5g": 1536 * MIB, "2t": 2 << 40, " 64 m ": 64 * MIB, "0.5k": 512, "9007199254740993": 9007199254740993}
NO_SIZES = (
    "512mb4",
    "-1",
    "-512m",
    "+1",
    "1_000",
    ARABIC,
    "m",
    "",
    " ",
    "1e3",
    "0x10",
    "512ib",
    "5bb",
    "5bib",
    "1..5m",
    "1.5.5",
    ".5m",
    "5 5",
    "nan",
    "inf",
)


@pytest.mark.parametrize(("text", "expected"), (SIZES | MORE_SIZES).items())
def test_a_size_is_binary_and_may_have_a_unit(text: str, expected: int) -> None:
    assert parse_size(text, key="memory") == expected


@pytest.mark.parametrize("text", [*NO_SIZES, HUGE, "9999999999t", "1152921504606846977"])
def test_what_is_no_size_is_refused_with_key_value_and_remedy(text: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_size(text, key="memory")
    assert str(refused.value) == f"cannot use memory={text[:32]}: not a size"
    assert "512m" in str(refused.value.hint)


@pytest.mark.parametrize("text", CONTROLS)
def test_a_size_holds_no_control_characters_and_the_error_spells_them_out(text: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_size(text, key="memory")
    assert str(refused.value) == f"cannot use memory={text!r}: not a size"


def test_counts_and_times_have_a_largest_value() -> None:
    assert parse_count("2147483647", key="health-retries", maximum=COUNT_MAXIMUM) == 2147483647
    with pytest.raises(InvalidSpec, match="the largest is 2147483647"):
        parse_count("2147483648", key="health-retries", maximum=COUNT_MAXIMUM)
    with pytest.raises(InvalidSpec, match="longer than 31 years"):
        parse_seconds("300000h", key="time")


@pytest.mark.parametrize(("text", "expected"), [("1", 1.0), ("1.5", 1.5), ("0.01", 0.01), (" 2 ", 2.0)])
def test_processors_are_a_number(text: str, expected: float) -> None:
    assert parse_cpus(text, key="cpus") == expected


@pytest.mark.parametrize("text", ["-1", "0", "0.0", "1_0", "1e2", "nan", "inf", "", "two", "1,5", ARABIC, HUGE, ".5"])
def test_what_is_no_number_of_processors_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^cannot use cpus=.*: not a number of processors above 0"):
        parse_cpus(text, key="cpus")


@pytest.mark.parametrize(("text", "minimum", "expected"), [("64", 1, 64), ("0", 0, 0), (" 7 ", 1, 7), ("007", 1, 7)])
def test_a_count_is_a_whole_number(text: str, minimum: int, expected: int) -> None:
    assert parse_count(text, key="pids", minimum=minimum) == expected


@pytest.mark.parametrize("text", ["-1", "0", "1.0", "1_000", "+3", "", "many", ARABIC, HUGE])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^cannot use pids=.*: not a whole number of at least 1"):
        parse_count(text, key="pids")


TIMES = {"30s": 30.0, "30": 30.0, "1.5": 1.5, "10m": 600.0, "1h30m": 5400.0, "1h": 3600.0, "1h2m3.5s": 3723.5, "600h": 2160000.0}


@pytest.mark.parametrize(("text", "expected"), TIMES.items())
def test_a_time_is_hours_minutes_and_seconds(text: str, expected: float) -> None:
    assert parse_seconds(text, key="time") == expected


@pytest.mark.parametrize("text", ["0", "0s", "-1", "1d", "1_0s", "", "s", "5m1h", "1 h", ARABIC, f"{ARABIC}s", HUGE, "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^cannot use time=.*: not a time above 0"):
        parse_seconds(text, key="time")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (65536, "64 KiB"), (512 * MIB, "512 MiB"), (1536 * MIB, "1.5 GiB"), (2 << 40, "2 TiB")],
)
def test_a_size_is_printed_in_the_largest_unit(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.25s"), (1.0, "1s"), (59.5, "59.5s"), (60, "1m"), (90, "1m30s"), (3600, "1h"), (5400.2, "1h30m")]
)
def test_a_duration_is_printed_as_it_would_be_written(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("seconds", [1, 59, 60, 61, 3599, 3600, 3661, 86399])
def test_a_printed_duration_can_be_read_again(seconds: int) -> None:
    assert parse_seconds(duration(seconds), key="time") == seconds
