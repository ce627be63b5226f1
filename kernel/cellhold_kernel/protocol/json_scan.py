"""A scanner for a JSON object that arrives in pieces, in constant memory.

For messages that are too large to be parsed: some members are short strings that are
kept (`comm_id`), one may be a long string that is passed on as it arrives (`text` of a
stream), the rest is checked and skipped. The input may be hostile. A name that occurs
twice in the object has its last value, as in Python and in a browser.

https://datatracker.ietf.org/doc/html/rfc8259
"""

from __future__ import annotations

import codecs
import re
from itertools import accumulate
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]  # what JSONDecoder itself calls
from string import ascii_letters
from typing import TYPE_CHECKING

from cellhold_kernel.protocol.documents import DEEPEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SHORT = 64 << 10  # characters of a name, or of a short value
_MEMBERS_MOST = 1000  # of the object itself; each takes more time than 100 bytes of a string
_ESCAPE_MOST = 12  # characters of the longest escape: a surrogate pair
_UNFINISHED = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?")
_SPACE = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r'[^\s,\]}\[{":]*')
# Possessive: otherwise a position to backtrack to would be kept in memory for each
# escape.
_MARK = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{]+|[\]}]+|"', re.DOTALL)
_WINDOW_LEAST, _WINDOW_MOST = 1 << 10, 64 << 10  # characters that are skipped at once
_WORD_MOST = 8  # letters of the longest unquoted word that is searched for
_DELTAS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_MARKS = bytes(set(range(256)) - {*_DELTAS, ord('"')})


class ObjectScan:
    """The scan of one object.

    texts: the short members found so far whose value is a string. fault: why it is not
    a JSON object, once that is known; the rest is then ignored.
    """

    def __init__(self, kept: frozenset[str] = frozenset(), *, streamed: str | None = None) -> None:
        """Begin. kept: names of short members; streamed: the name of the long one."""
        self.texts: dict[str, str] = {}
        self.fault: str | None = None
        self._kept = kept
        self._streamed = streamed
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # as jupyter_client does
        self._text, self._at = "", 0
        self._name = ""
        self._members = 0
        self._depth = 0  # of the arrays and objects that are skipped
        self._pieces: list[str] = []
        self._step: Callable[[], None] = self._begin

    def feed(self, data: bytes | bytearray | memoryview, *, is_last: bool = False) -> list[str]:
        """Scan the next bytes, and return what is new of the streamed string."""
        if self.fault is not None:
            return []
        self._text = self._text[self._at :] + self._decoder.decode(data, is_last)
        self._at, self._pieces = 0, []
        before = None
        while self.fault is None and before != (self._at, self._step):
            before = self._at, self._step
            self._step()
        if is_last and self._step != self._end:
            self.fault = self.fault or "it ends too early"
        return self._pieces

    # Each step does what it can with the text so far. A step that advances neither in
    # the text nor to another step waits for more of it.

    def _begin(self) -> None:
        self._expect("{", self._first)

    def _first(self) -> None:
        following = self._peek()
        if following == "}":
            self._at += 1
            self._step = self._end
        elif following:
            self._step = self._key

    def _key(self) -> None:
        if self._peek() and (name := self._short_text()) is not None:
            self._name, self._step = name, self._colon
            self._members += 1
            if self._members > _MEMBERS_MOST:
                self._refuse(f"it has more than {_MEMBERS_MOST} members")

    def _colon(self) -> None:
        self._expect(":", self._value)

    def _value(self) -> None:
        following = self._peek()
        if following:
            self.texts.pop(self._name, None)
        if following == '"' and self._name in self._kept:
            self._step = self._keep
        elif following == '"':
            self._at += 1
            self._step = self._stream if self._name == self._streamed else self._skip_text
        elif following in {"[", "{"}:
            self._step = self._nest
        elif following and following in ",:]}":
            self._refuse()
        elif following:
            self._step = self._scalar

    def _keep(self) -> None:
        if (text := self._short_text()) is not None:
            self.texts[self._name] = text
            self._step = self._after

    def _stream(self) -> None:
        whole = self._escapes_end()
        try:
            piece, length = scanstring(self._text[self._at : whole] + '"', 0, True)
        except JSONDecodeError as error:
            self._refuse(error.msg)
            return
        if self._at + length <= whole:
            self._step = self._after
        self._at = min(self._at + length, whole)
        if piece:
            self._pieces.append(piece)

    def _skip_text(self) -> None:
        before = len(self._pieces)  # of the streamed text, which may have ended in the same bytes
        self._stream()
        del self._pieces[before:]
        if self._depth and self._step == self._after:
            self._step = self._nest

    def _nest(self) -> None:
        """Skip arrays and objects, by windows that cannot end them, or by marks."""
        size = _WINDOW_LEAST
        while self.fault is None and self._step == self._nest and self._at < len(self._text):
            end = self._cut(min(self._at + size, len(self._text)))
            if end == self._at:
                return
            outside = _outside_texts(self._text[self._at : end])
            marks = outside[0].translate(None, _NO_MARKS)
            if _has_no_number(outside[0]):
                self._refuse("it has NaN or Infinity")
            elif not _stays_open(marks, self._depth):
                self._walk(end)
            else:
                self._deepen(marks)
                self._at = end
                self._step = self._skip_text if outside[1] else self._nest
            size = min(size * 2, _WINDOW_MOST)

    def _cut(self, end: int) -> int:
        """Move the end of a window out of an escape or a word; return it."""
        end -= _is_escaped(self._text, end, self._at)
        tail = self._text[max(self._at, end - _WORD_MOST) : end]
        letters = len(tail) - len(tail.rstrip(ascii_letters))
        return end - letters if letters < _WORD_MOST else end

    def _deepen(self, marks: bytes) -> None:
        if self._depth + len(marks) > DEEPEST and max(_depths(marks, self._depth)) > DEEPEST:
            self._refuse(f"it is nested more than {DEEPEST} levels deep")
        self._depth += len(marks) - 2 * _closing(marks)

    def _walk(self, end: int) -> None:
        for mark in _MARK.finditer(self._text, self._at, end):
            first, count = mark[0][0], mark.end() - mark.start()
            if first == '"' and count == 1:  # its end is not in this window
                self._at, self._step = mark.end(), self._skip_text
                return
            if first == '"':
                continue
            if first in "[{":
                self._deepen(mark[0].encode())
            elif count < self._depth:
                self._depth -= count
            else:
                self._at = mark.start() + self._depth
                self._depth, self._step = 0, self._after
                return
        self._at = end

    def _scalar(self) -> None:
        scalar = _SCALAR.match(self._text, self._at)
        end = scalar.end() if scalar is not None else self._at
        if end - self._at > _SHORT:
            self._refuse("it has a number that is too long")
        if end == len(self._text):
            return
        if _has_no_number(self._text[self._at : end].encode()):
            self._refuse("it has NaN or Infinity")
        self._at, self._step = end, self._after

    def _after(self) -> None:
        following = self._peek()
        if following == ",":
            self._at += 1
            self._step = self._key
        elif following == "}":
            self._at += 1
            self._step = self._end
        elif following:
            self._refuse()

    def _end(self) -> None:
        if self._peek():
            self._refuse()

    def _expect(self, mark: str, step: Callable[[], None]) -> None:
        following = self._peek()
        if following == mark:
            self._at += 1
            self._step = step
        elif following:
            self._refuse()

    def _refuse(self, why: str = "it is not a JSON object") -> None:
        self.fault = why

    def _peek(self) -> str:
        """Skip spaces; return the next character, "" if it has not arrived yet."""
        spaces = _SPACE.match(self._text, self._at)
        self._at = spaces.end() if spaces is not None else self._at
        return self._text[self._at : self._at + 1]

    def _short_text(self) -> str | None:
        """Return the string that begins here; None if its end has not arrived yet."""
        if self._text[self._at] != '"':
            self._refuse()
            return None
        part = self._text[self._at + 1 : self._at + 1 + _SHORT]
        try:
            text, length = scanstring(part, 0, True)
        except JSONDecodeError as error:
            if len(part) == _SHORT:  # not only that the end is missing
                self._refuse(error.msg)
            return None
        self._at += 1 + length
        return str(text)

    def _escapes_end(self) -> int:
        """Return where an incomplete escape begins, else the end of the text."""
        text, begin = self._text, self._at
        for at in range(max(begin, len(text) - _ESCAPE_MOST), len(text)):
            if text[at] == "\\" and _UNFINISHED.fullmatch(text, at) and not _is_escaped(text, at, begin):
                return at
        return len(text)


def _is_escaped(text: str, at: int, begin: int) -> bool:
    """Return whether the character at `at` is escaped by a backslash before it.

    begin: of the string or value that it is in.
    """
    before = text[begin:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _outside_texts(window: str) -> tuple[bytes, bool]:
    """Return what is outside of strings, and whether the window ends in a string."""
    raw = window.encode("utf-8", "replace").replace(b"\\\\", b"").replace(b'\\"', b"")
    parts = raw.split(b'"')
    return b"".join(parts[::2]), len(parts) % 2 == 0


def _has_no_number(outside: bytes) -> bool:
    """Return whether it has Python's words for floats that JSON does not have."""
    return b"NaN" in outside or b"Infinity" in outside


def _closing(marks: bytes) -> int:
    return marks.count(b"]") + marks.count(b"}")


def _depths(marks: bytes, depth: int) -> Iterator[int]:
    return accumulate(map(_DELTAS.__getitem__, marks), initial=depth)


def _stays_open(marks: bytes, depth: int) -> bool:
    """Return whether not all of `depth` open brackets are closed by these marks."""
    return _closing(marks) < depth or min(_depths(marks, depth)) > 0
