"""Durations and quoted texts as Go reads and writes them; the cases are those of Go's own documentation."""

from __future__ import annotations

import pytest

from cellhold.build import gotext


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("-0", 0),
        ("5s", 5 * 10**9),
        ("1h2m3.5s", 3_723_500_000_000),
        ("300ms", 300_000_000),
        ("-1.5h", -5_400_000_000_000),
        ("+.5s", 500_000_000),
        ("1.s", 10**9),
        ("1us2µs3μs", 6000),
        ("2562047h47m16.854775807s", (1 << 63) - 1),
        ("0.000000001s", 1),
        ("1.0000000019s", 1_000_000_001),
    ],
)
def test_durations_are_read(text: str, count: int) -> None:
    assert gotext.nanoseconds(text) == count


@pytest.mark.parametrize(
    "text", ["", "5", "s", ".s", "5 s", "5d", "1h-2m", "5S", "+", "\u0663s", "2562047h47m16.854775808s", "9" * 5000 + "s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|is longer than"):
        gotext.nanoseconds(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0s"), (1, "1ns"), (1100, "1.1µs"), (2_200_000, "2.2ms"), (10**9, "1s"), (90 * 10**9, "1m30s"), (3_600_500_000_000, "1h0m0.5s")],
)
def test_durations_are_written(count: int, text: str) -> None:
    assert gotext.duration(count) == text


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a b", '"a b"'),
        ('"\\', '"\\"\\\\"'),
        ("\n\t\0\x7f", '"\\n\\t\\x00\\x7f"'),
        ("\u00e9\u2028\U000e0001", '"\u00e9\\u2028\\U000e0001"'),
    ],
)
def test_texts_are_quoted(text: str, quoted: str) -> None:
    assert gotext.quoted(text) == quoted
