"""Untrusted JSON, read field by field.

An error names the field, as in `manifest.layers[3].size`. What the fields mean is
decided by manifest.py and config.py. What is refused here is what two readers could
understand differently: keys that appear twice, invalid numbers, text that is not valid
Unicode.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from cellhold.errors import ImageRefused
from cellhold.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST = (1 << 63) - 1  # what OCI calls int64
_QUOTED_MOST = 120
_SURROGATE = re.compile("[\ud800-\udfff]")  # bytes of a command line or a file name that are not UTF-8 (os.fsdecode)


def quote(value: object) -> str:
    """Format an untrusted value for a sentence.

    Text is quoted, control characters are escaped, and long values are cut.
    """
    if not isinstance(value, (str, int, float)):
        return {dict: "an object", list: "a list", type(None): "null"}.get(type(value), type(value).__name__)
    if isinstance(value, int) and value.bit_length() > _QUOTED_MOST:
        return "a huge number"  # Python refuses to print one of more than 4300 digits
    return repr(value[: _QUOTED_MOST + 1] if isinstance(value, str) else value)[:_QUOTED_MOST]


def read(raw: bytes, name: str, *, most_bytes: int) -> Field:
    """Parse the JSON object in `raw`, called `name` in errors. Raises ImageRefused."""
    if len(raw) > most_bytes:
        raise ImageRefused(f"cannot use the {name}: its {len(raw)} bytes are more than {most_bytes}")
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_object, parse_constant=_no_number)
    except RecursionError as error:
        raise ImageRefused(f"cannot use the {name}: its JSON is nested too deeply") from error
    except ValueError as error:  # not UTF-8, not JSON, or one of the two below
        raise ImageRefused(f"cannot use the {name}: it is not valid JSON ({quote(str(error))})") from error
    if not isinstance(value, dict):
        raise ImageRefused(f"cannot use the {name}: it is {quote(value)}, not a JSON object")
    return Field(name, value)


def canonical(value: object) -> bytes:
    """Encode JSON in its canonical form: no blanks, keys sorted, UTF-8.

    OCI image-spec, considerations.md. What is not valid Unicode becomes U+FFFD, as
    Docker does.
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add() returns None
        raise ValueError(f"the key {twice[:_QUOTED_MOST]} appears twice")
    return made


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


@dataclass(frozen=True)
class Field:
    """A value and its path.

    A missing value and null are the same, as in every reader written in Go.
    """

    path: str
    value: Any

    def __getitem__(self, key: str) -> Field:
        """Return a member of the object; a missing object has no members."""
        return Field(f"{self.path}.{key}", self.mapping().get(key))

    def __bool__(self) -> bool:
        """Return whether the value is there."""
        return self.value is not None

    def refused(self, reason: str) -> ImageRefused:
        """Return the error for this field."""
        return ImageRefused(f"cannot use {self.path}: {reason}")

    def required(self) -> Field:
        """Return self. Raises ImageRefused if the value is missing."""
        if self.value is None:
            raise self.refused("it is missing")
        return self

    def text(self) -> str:
        """Return a required text that the kernel can take.

        It has no NUL and no half of a surrogate pair.
        """
        value = self.required().value
        if not isinstance(value, str):
            raise self.refused(f"{quote(value)} is not text")
        if "\0" in value or not _is_unicode(value):
            raise self.refused(f"{quote(value)} has characters that no text may have")
        return value

    def optional_text(self) -> str | None:
        """Return a text, or None if it is missing."""
        return self.text() if self else None

    def count(self) -> int:
        """Return a required whole number of 0 or more."""
        value = self.required().value
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
            raise self.refused(f"{quote(value)} is not a whole number from 0 to 2^63-1")
        return value

    def flag(self) -> bool:
        """Return a flag; False if it is missing."""
        if self and not isinstance(self.value, bool):
            raise self.refused(f"{quote(self.value)} is neither true nor false")
        return bool(self.value)

    def digest(self) -> Digest:
        """Return a required digest."""
        text = self.text()
        try:
            return Digest.parse(text)
        except ValueError as error:
            raise self.refused(str(error)) from error

    def time(self) -> datetime | None:
        """Return a time with its zone (RFC 3339), or None if it is missing."""
        text = self.optional_text()
        if not text:
            return None
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            time = None
        if time is None or time.tzinfo is None:
            raise self.refused(f"{quote(text)} is not a time such as 2026-01-31T12:00:00Z")
        return time

    def mapping(self) -> dict[str, Any]:
        """Return the object's members; none if it is missing."""
        if self and not isinstance(self.value, dict):
            raise self.refused(f"{quote(self.value)} is not an object")
        return self.value or {}

    def items(self) -> Iterator[Field]:
        """Yield the list's values; none if it is missing."""
        if self and not isinstance(self.value, list):
            raise self.refused(f"{quote(self.value)} is not a list")
        for number, value in enumerate(self.value or ()):
            yield Field(f"{self.path}[{number}]", value)

    def check_count(self, most: int) -> None:
        """Raise ImageRefused for a list or an object with more entries than that."""
        if isinstance(self.value, list | dict) and len(self.value) > most:
            raise self.refused(f"its {len(self.value)} entries are more than {most}")

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts; empty if it is missing."""
        return tuple(item.text() for item in self.items())

    def names(self) -> tuple[str, ...]:
        """Return the keys of an object that OCI uses as a set: {"80/tcp": {}}."""
        return tuple(Field(f"{self.path}[{quote(key)}]", key).text() for key in self.mapping())

    def text_of(self) -> dict[str, str]:
        """Return an object of texts, such as labels and annotations."""
        return {
            Field(f"{self.path}[{quote(key)}]", key).text(): Field(f"{self.path}[{quote(key)}]", value).text()
            for key, value in self.mapping().items()
        }


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
