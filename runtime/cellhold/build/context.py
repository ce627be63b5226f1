"""The files that a build may copy: a directory, less what its .dockerignore names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.build.ignore import Ignore
from cellhold.errors import InvalidSpec
from cellhold.layer.copy import Directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import BinaryIO

WHERE = "the build context"
_IGNORE = ".dockerignore"
_MOST_BYTES = 4 << 20


class Context:
    """The directory that a build may copy from; None for no files at all.

    What its .dockerignore excludes, and what is hidden, is left out.

    dockerfile: where the Dockerfile is, whose own NAME.dockerignore comes before the
        context's .dockerignore.
    hidden: paths below the directory that the build never sees, whatever any
        .dockerignore says; nor does it see what lies there by another way, as where a
        directory is mounted twice, or upper and lower case are the same.
    Raises InvalidSpec.
    """

    def __init__(self, directory: Path | None, dockerfile: Path | None = None, *, hidden: Iterable[str] = ()) -> None:
        if directory is not None and not directory.is_dir():
            raise InvalidSpec(
                f"cannot build {directory}: no such directory", hint="the last argument is the directory with the files to copy"
            )
        self.trees: tuple[Path, ...] = () if directory is None else (directory,)
        self._hidden = frozenset(map(os.fsencode, hidden))
        self._hidden_files = frozenset(filter(None, map(self._identity, self._hidden)))
        beside = [Path(f"{dockerfile}.dockerignore")] if dockerfile else []
        below = [tree / _IGNORE for tree in self.trees if not self._is_hidden(os.fsencode(_IGNORE))]
        self._ignore = _ignore([*beside, *below])

    @property
    def where(self) -> str:
        """In words."""
        return WHERE if self.trees else f"{WHERE}, which is empty,"

    def source(self) -> Directory:
        """Return its files, to be copied. There has to be a directory."""
        return Directory(self.trees[0], is_left_out=self.is_left_out, may_return=self._may_return)

    def is_left_out(self, path: bytes) -> bool:
        """Return whether a path below the context is left out of the build."""
        return bool(path) and (self._is_hidden(path) or self._ignore.excludes(os.fsdecode(path)))

    def has_nothing_of(self, path: bytes, is_directory: bool) -> bool:  # noqa: FBT001  # what it is about
        """Return whether nothing at a path, or below it, can be copied."""
        return self.is_left_out(path) and not (is_directory and self._may_return(path))

    def _may_return(self, path: bytes) -> bool:
        return not self._is_hidden(path) and self._ignore.may_reinclude_under(os.fsdecode(path))

    def _is_hidden(self, path: bytes) -> bool:
        """Return whether the path is one of the hidden ones, or below one."""
        if not self._hidden:
            return False
        parts = path.split(b"/")
        ways = [b"/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return not self._hidden.isdisjoint(ways) or not self._hidden_files.isdisjoint(map(self._identity, ways))

    def _identity(self, path: bytes) -> tuple[int, int] | None:
        """Return what tells a file from every other one; None for a missing file."""
        try:
            status = os.lstat(os.path.join(os.fsencode(self.trees[0]), path))
        except OSError:
            return None
        return status.st_dev, status.st_ino


def text(path: Path, *, follow: bool = True) -> str:
    """Read a Dockerfile or .dockerignore. follow: it may be a link.

    Raises InvalidSpec.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)), "rb") as file:
            return read(file, str(path))
    except OSError as error:
        raise InvalidSpec(f"cannot read {path}: {error.strerror}", hint="-f FILE names another one") from error


def read(file: BinaryIO, name: str) -> str:
    """Read an open Dockerfile or .dockerignore.

    Raises InvalidSpec for one that is too large, OSError.
    """
    data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise InvalidSpec(f"cannot read {name}: it is larger than {_MOST_BYTES >> 20} MiB")
    return data.decode("utf-8", "replace")


def _ignore(candidates: Sequence[Path]) -> Ignore:
    for path in candidates:
        if path.is_file():
            return Ignore.read(text(path, follow=False), name=path.name)  # an error would quote whatever a stranger's link leads to
    return Ignore()
