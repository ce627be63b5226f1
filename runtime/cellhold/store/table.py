"""Files of the store with a versioned layout: one Form per kind of file.

A file of an older version is read, with one step per version in between; one of a newer
version is refused. Unknown members are ignored, missing ones have the defaults of their
dataclass. What cannot be read is Damaged: neither absent nor litter, so that what it
stands for is removed only by name and by force.
"""

from __future__ import annotations

import json
import math
import os
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, Union, get_args, get_origin

from cellhold.errors import Damaged, NotSupported
from cellhold.linux.hostpath import Identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cellhold.errors import CellholdError

T = TypeVar("T")
MOST_BYTES = 64 << 20
VERSION, MORE = "version", "more"
BEFORE_VERSIONS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: dict}  # a file without one is as those of version 1
_MOST_BITS = 64
_YEAR_10000 = 253402300800
_WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True, kw_only=True)
class Form(Generic[T]):
    """One kind of file.

    kind: the dataclass of its members. version: of the layout that is written. steps:
    convert the members of each older version to those of the next; a file without a
    version is version 0. check: raises ValueError for meaningless values.
    """

    kind: type[T]
    version: int
    steps: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
    check: Callable[[T], None]

    def read(self, path: Path, subject: str, *, hint: str) -> T:
        """Return the values in a file.

        subject: what it stands for, as in "volume data"; hint: what to do if it cannot
        be read. Raises FileNotFoundError if there is none, Damaged, and NotSupported
        for a file that a later version has written.
        """
        try:
            found = build(self.kind, self._present(loads(content(path)), subject))
            self.check(found)
        except ValueError as error:
            raise Damaged(f"cannot read {subject}: {path} is damaged: {error}", hint=hint) from error
        return found

    def dumps(self, members: Mapping[str, Any]) -> bytes:
        """Return the text of a file with these members.

        Texts that are not valid Unicode (os.fsdecode) are read back unchanged.
        """
        return json.dumps({VERSION: self.version, **members}).encode()

    def _present(self, members: dict[str, Any], subject: str) -> dict[str, Any]:
        """Convert members to the current version. Raises ValueError, NotSupported."""
        found = members.get(VERSION, 0)
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise ValueError("its version is not a number")
        if found > self.version:
            raise NotSupported(
                f"cannot read {subject}: a later version of Cellhold has made it (layout {found}; this version reads up to {self.version})",
                hint="use that version; this one leaves it as it is",
            )
        for number in range(found, self.version):
            members = self.steps[number](members)
        return members


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """The entry in a list for something whose file cannot be read.

    name: of its directory; error: Damaged or NotSupported.
    """

    name: str
    place: Path
    error: CellholdError

    @property
    def is_damaged(self) -> bool:
        """Whether --force removes it; it does not remove what a later version wrote."""
        return isinstance(self.error, Damaged)


def content(path: Path) -> bytes:
    """Return the content of a file of the store.

    Raises FileNotFoundError, and ValueError if it is not a file, too large, or cannot
    be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(error.strerror) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is not a regular file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:  # a disk that is breaking
        raise ValueError(error.strerror) from error
    finally:
        os.close(fd)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    return data


def loads(data: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises ValueError, with the reason in words."""
    if not data.strip(b"\0 \n"):
        raise ValueError("it is empty")
    try:
        value = json.loads(data.decode(), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    except ValueError as error:
        raise ValueError("it is not JSON") from error
    _need(isinstance(value, dict), "it is not a JSON object")
    return value  # type: ignore[no-any-return]  # it is one


def build(kind: type[T], members: object) -> T:
    """Make a dataclass from its members as JSON encodes them.

    Raises ValueError for a member of another type, or a missing one. Unknown members go
    into its field `more`, if it has one, to be written again.
    """
    given = _typed(kind, members, make=True)
    if isinstance(members, dict) and MORE in _hints(kind):  # type: ignore[arg-type]  # a class can be hashed
        given[MORE] = {name: value for name, value in members.items() if name not in given and name != VERSION}
    return kind(**given)


def check(kind: type, members: object) -> None:
    """Raise ValueError if build() would because of the members' types.

    Checks of the dataclass itself are not made.
    """
    _typed(kind, members, make=False)


def _typed(kind: type, members: Any, *, make: bool) -> dict[str, Any]:
    _need(isinstance(members, dict), f"{kind.__name__.lower()} is not an object")
    hints, given = _hints(kind), {}
    for field in fields(kind):
        if field.name in members and field.name in hints and field.name != MORE:
            given[field.name] = _convert(members[field.name], hints[field.name], field.name, make=make)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{field.name} is missing")
    return given


def _convert(value: Any, hint: Any, name: str, *, make: bool) -> Any:
    """Convert a JSON value to its annotated type. Raises ValueError.

    Lists become tuples, objects dataclasses.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        (only,) = (argument for argument in arguments if argument is not NoneType)
        return None if value is None else _convert(value, only, name, make=make)
    if is_dataclass(hint):
        given = _typed(hint, value, make=make)  # type: ignore[arg-type]  # a class, not an object of one
        return hint(**given) if make else given  # type: ignore[operator]  # as above
    if origin in (dict, Mapping):
        _need(isinstance(value, dict), f"{name} is not an object")
        return {key: _convert(one, arguments[1], f"{name}.{key}", make=make) for key, one in value.items()}
    if origin in (list, tuple, frozenset):
        _need(isinstance(value, list | tuple), f"{name} is not a list")
        kinds = arguments if origin is tuple and arguments[-1] is not Ellipsis else (arguments[0],) * len(value)
        _need(len(kinds) == len(value), f"{name} has not {len(kinds)} values")
        return origin(_convert(one, kind, name, make=make) for one, kind in zip(value, kinds, strict=True))
    return _scalar(value, hint, name)


def _scalar(value: object, kind: type, name: str) -> object:
    allowed = (int, float) if kind is float else kind
    _need(isinstance(value, allowed) and (not isinstance(value, bool) or kind is bool), f"{name} is not {_WORDS[kind]}")
    _need(not isinstance(value, float) or math.isfinite(value), f"{name} is not a number")
    _need(not isinstance(value, int) or value.bit_length() <= _MOST_BITS, f"{name} is too large")
    return value


def _need(true: bool, reason: str) -> None:  # noqa: FBT001  # what is needed
    """Raise ValueError with the reason unless the condition holds."""
    if not true:
        raise ValueError(reason)


def check_moment(seconds: float | None, name: str) -> None:
    """Raise ValueError if a time read from a file is outside of the calendar.

    seconds: since the epoch.
    """
    if seconds is not None and not 0 <= seconds < _YEAR_10000:
        raise ValueError(f"{name} is not a time")


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a dataclass's fields.

    Fields whose types are imported for type checkers alone are left out: no file has
    these.
    """
    names = {**vars(sys.modules[kind.__module__]), "Mapping": Mapping, "Identity": Identity}
    found = {}
    for field in fields(kind):
        with suppress(NameError):
            found[field.name] = eval(str(field.type), names)  # noqa: S307  # our own source; get_type_hints() wants all or nothing
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)
