"""Untrusted JSON, read within bounds; the result can be written as JSON again.

Python's json module accepts more than JSON (NaN, numbers that become infinite), reads
nesting up to a depth that it cannot write again, and takes 25 bytes of memory for a
byte of input. What the members mean is not the business of this module.
"""

from __future__ import annotations

import json
import re
from array import array
from itertools import accumulate
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

DEEPEST = 200  # levels of nesting; json fails at 1000, less what is on Python's stack already
_OPEN, _CLOSE = b"[{", b"]}"
_BRACKETS = _OPEN + _CLOSE
_OTHERS = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_STEPS = bytes.maketrans(_BRACKETS, b"\x01\x01\xff\xff")  # as signed bytes: one level in, one level out
# A string, or its beginning if it does not end; possessive, so that a hostile one is
# read once.
_TEXTS = re.compile(rb'"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
_NO_NUMBERS = re.compile(rb"NaN|Infinity")


def load(raw: bytes) -> Any:
    """Parse any JSON value; NaN is read as by Python.

    Raises ValueError, whose text says what is wrong.
    """
    if is_deep(raw):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):  # with Python's wording; a number may have too many digits
        raise ValueError("it is not JSON, or nested too deeply") from None


def parse(raw: bytes, *, errors: str = "strict") -> dict[str, Any]:
    """Parse a JSON object, whose size the caller has bounded.

    errors: for bytes that are not UTF-8, as in bytes.decode(). Raises ValueError, whose
    text says what is wrong.
    """
    if is_deep(raw):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    try:
        document = json.loads(raw.decode(errors=errors), parse_constant=_refuse, parse_float=_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004  # the text was wrong, not the caller's argument
    return document


def is_deep(raw: bytes) -> bool:
    """Return whether a document is nested more than DEEPEST levels deep.

    It is not parsed: time and memory are linear in its length.
    """
    if sum(map(raw.count, (b"[", b"{"))) <= DEEPEST:
        return False
    steps = array("b", _TEXTS.sub(b"", raw).translate(_STEPS, _OTHERS))
    return max(accumulate(steps), default=0) > DEEPEST


def flaw(raw: bytes) -> str | None:
    """Return what is wrong with a document that is too large to be parsed, or None.

    Without parsing, not every fault is found.
    """
    if raw[:64].lstrip()[:1] != b"{":
        return "it is not a JSON object"
    if is_deep(raw):
        return f"it is nested more than {DEEPEST} levels deep"
    if (match := _NO_NUMBERS.search(raw)) is not None and _NO_NUMBERS.search(_TEXTS.sub(b"", raw)):
        return f"{match[0].decode()} is not a number"
    return None


def pack(value: Mapping[str, Any]) -> bytes:
    """Encode a value as JSON; lone surrogates become escapes.

    Raises ValueError for NaN and infinite numbers.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _number(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _refuse(text[:20])
