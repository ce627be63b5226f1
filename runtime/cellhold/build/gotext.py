r"""Values as Go writes them, since Docker's words are Go's.

Durations ("1m30s"), and texts as the verb %q quotes them:
https://pkg.go.dev/time#ParseDuration, https://pkg.go.dev/strconv#Quote.
"""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"([-+]?)((?:{_PART})+|0)", re.ASCII)
_PARTS = re.compile(_PART, re.ASCII)
_LONGEST = 64
_LARGEST = (1 << 63) - 1
_ESCAPES = {"\a": "a", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "\v": "v", "\\": "\\", '"': '"'}
_BYTE, _SHORT = 0x80, 0x10000
_SMALL = ((10**3, "ns", 1), (10**6, "µs", 10**3), (10**9, "ms", 10**6))


def nanoseconds(text: str) -> int:
    """Parse a duration that is written "1h2m3.5s", "500ms" or "0".

    Raises ValueError.
    """
    match = _DURATION.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(f"{text[:_LONGEST]!r} is not a duration")
    count = int(sum((Fraction(f"0{number}".rstrip(".")) * _UNITS[unit] for number, unit in _PARTS.findall(match[2])), Fraction()))
    if count > _LARGEST:
        raise ValueError(f"{text!r} is longer than 292 years")
    return -count if match[1] == "-" else count


def duration(count: int) -> str:
    """Format a duration of 0 or more nanoseconds: "0s", "1.5ms", "1h0m3s"."""
    if not count:
        return "0s"
    for limit, unit, size in _SMALL:
        if count < limit:
            return _decimal(Fraction(count, size)) + unit
    minutes, rest = divmod(count, _UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    seconds = _decimal(Fraction(rest, _UNITS["s"])) + "s"
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}" if minutes else seconds


def quoted(text: str) -> str:
    """Quote the text in double quotes, with unprintable characters escaped."""
    return '"' + "".join(map(_character, text)) + '"'


def quoted_list(texts: list[str] | tuple[str, ...]) -> str:
    """Format a list of texts, each quoted: ["a" "b"]."""
    return f"[{' '.join(map(quoted, texts))}]"


def _character(character: str) -> str:
    if character in _ESCAPES:
        return "\\" + _ESCAPES[character]
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < _BYTE else f"\\u{number:04x}" if number < _SHORT else f"\\U{number:08x}"


def _decimal(value: Fraction) -> str:
    """Format a number exactly, without zeros at the end.

    All are tenths, hundredths ... of nine digits at most.
    """
    whole, rest = divmod(value, 1)
    digits = f"{int(rest * 10**9):09d}".rstrip("0")
    return f"{int(whole)}.{digits}" if digits else str(int(whole))
