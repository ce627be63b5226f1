"""Amounts as people write them: 512m, 1.5, 30s.

Parsed strictly, and formatted as they would be written.

Sizes are binary (512m = 512 MiB), as in Docker. Digits are ASCII digits: `int()` would
also take `1_000` and Arabic ones.
"""

from __future__ import annotations

import re
import signal

from cellhold.errors import InvalidSpec

_SIZE = re.compile(r"(\d+)(?:\.(\d+))? *(?:([kmgt])(?:i?b)?|b)?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TIME = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_COUNT = re.compile(r"\d+", re.ASCII)
_RATE = re.compile(r"(\d+(?:\.\d+)?)(k|m|g)?bit", re.ASCII)
_BITS = {None: 1, "k": 10**3, "m": 10**6, "g": 10**9}
_LONGEST = 32
COUNT_MAXIMUM = (1 << 31) - 1  # an int of C
_LONGEST_SECONDS = 10**9  # 31 years
_LARGEST = 1 << 60  # bytes, an exbibyte: the kernel keeps limits as signed numbers of 64 bits, and some files wrap round


def _quoted(text: str) -> str:
    """Return the beginning of a refused value, with unprintable characters escaped."""
    start = text[:_LONGEST]
    return start if start.isprintable() else repr(start)


def parse_size(text: str, key: str) -> int:
    """Parse a size such as "512m", "1.5g" or "65536"; return bytes.

    key: the name to use in the error. Raises InvalidSpec.
    """
    match = _SIZE.fullmatch(text.strip(" ")) if len(text) <= _LONGEST else None
    unit = _UNITS[(match[3] or "").lower()] if match else 0
    count = int(match[1]) * unit + int(float(f"0.{match[2] or 0}") * unit) if match else 0
    if match is None or count > _LARGEST:
        raise InvalidSpec(f"cannot use {key}={_quoted(text)}: not a size", hint="write a number and a unit: 65536, 512k, 512m, 1.5g")
    return count


def parse_rate(text: str, key: str) -> int:
    """Parse a rate such as "10mbit", "1.5gbit" or "800kbit" (tc(8)).

    Returns bits per second. Raises InvalidSpec.
    """
    match = _RATE.fullmatch(text.strip(" ").lower()) if len(text) <= _LONGEST else None
    if match is None:
        raise InvalidSpec(f"cannot use {key}={_quoted(text)}: not a rate", hint="write bits per second: 800kbit, 10mbit, 1.5gbit")
    return int(float(match[1]) * _BITS[match[2]])


def rate(bits: int) -> str:
    """Format bits per second: "10mbit"."""
    for letter in ("g", "m", "k"):
        if bits >= _BITS[letter]:
            return f"{bits / _BITS[letter]:g}{letter}bit"
    return f"{bits}bit"


def parse_cpus(text: str, key: str) -> float:
    """Parse a number of processors such as "1.5".

    Raises InvalidSpec.
    """
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text.strip(" ")) or float(text) <= 0:
        raise InvalidSpec(f"cannot use {key}={_quoted(text)}: not a number of processors above 0", hint="write 0.5, 1, 1.5, 2 ...")
    return float(text)


def parse_count(text: str, key: str, *, minimum: int = 1, maximum: int | None = None) -> int:
    """Parse a whole number from `minimum` to `maximum` (None: any).

    Raises InvalidSpec.
    """
    if len(text) > _LONGEST or not _COUNT.fullmatch(text.strip(" ")) or int(text) < minimum:
        raise InvalidSpec(
            f"cannot use {key}={_quoted(text)}: not a whole number of at least {minimum}", hint=f"write {key}=64, for example"
        )
    if maximum is not None and int(text) > maximum:
        raise InvalidSpec(f"cannot use {key}={text}: the largest is {maximum}", hint=f"write {key}=64, for example")
    return int(text)


def parse_signal(text: str) -> signal.Signals:
    """Parse a signal: its name, with or without SIG, or its number.

    Raises InvalidSpec.
    """
    name = text.upper()
    for one in signal.Signals:
        if name in {one.name, one.name.removeprefix("SIG"), str(one.value)}:
            return one
    raise InvalidSpec(f"cannot use kill {_quoted(text)}: no such signal", hint="KILL, TERM, INT or a number, for example")


def parse_seconds(text: str, key: str, *, or_none: bool = False) -> float:
    """Parse a duration such as "30s", "1.5", "10m" or "1h30m"; return seconds.

    or_none: "0" is accepted, too. Raises InvalidSpec.
    """
    if or_none and text == "0":
        return 0.0
    match = _TIME.fullmatch(text.strip(" ")) if len(text) <= _LONGEST else None
    seconds = int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + float(match[3] or 0) if match else 0.0
    if seconds <= 0:
        raise InvalidSpec(f"cannot use {key}={_quoted(text)}: not a time above 0", hint="write 30s, 10m, 1h30m or a number of seconds")
    if seconds > _LONGEST_SECONDS:
        raise InvalidSpec(f"cannot use {key}={text}: longer than 31 years", hint="write 30s, 10m, 1h30m or a number of seconds")
    return seconds


def size(count: int) -> str:
    """Format bytes for people: 536870912 -> "512 MiB", 65536 -> "64 KiB"."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.1f}".removesuffix(".0") + f" {unit}"
    return f"{count} byte{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Format seconds for people: 90 -> "1m30s", 1.0 -> "1s", 0.25 -> "0.25s"."""
    if seconds < 60:  # noqa: PLR2004  # a minute
        return f"{seconds:g}s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return "".join(f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (left, "s")) if n)


def ago(seconds: float) -> str:
    """Format how long ago something was, in Docker's words.

    "Less than a second ago", "About an hour ago", "3 weeks ago".
    """
    if seconds < 1:
        return "Less than a second ago"
    spans = ((1, "second", 60), (60, "minute", 60), (3600, "hour", 48), (86400, "day", 14), (604800, "week", 9), (2592000, "month", 24))
    for length, unit, most in spans:
        count = int(seconds // length)
        if count < most:
            if count == 1 and unit in ("minute", "hour"):
                return f"About {'an' if unit == 'hour' else 'a'} {unit} ago"
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return f"{int(seconds // 31536000)} years ago"


def doubled(limit: int) -> str:
    """Format twice a limit in bytes, as people write it: 512 MiB -> "1g"."""
    return _written(2 * limit)


def enough(size: int) -> str:
    """Format the smallest power of two that is at least a size in bytes.

    It is written as doubled() writes it.
    """
    return _written(1 << (size - 1).bit_length())


def _written(size: int) -> str:
    for unit, factor in (("g", 1 << 30), ("m", 1 << 20)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size >> 10}k"
