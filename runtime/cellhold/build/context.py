"""The files that a build may copy: a directory, without what its .dockerignore names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.build.ignore import Ignore
from cellhold.errors import InvalidSpec
from cellhold.layer.copy import Directory

if TYPE_CHECKING:
    from collections.abc import Sequence

WHERE = "the build context"
_MOST_BYTES = 4 << 20


class Context:
    """directory: the context; dockerfile: where the Dockerfile is, whose own NAME.dockerignore comes before the context's .dockerignore.

    Raises InvalidSpec.
    """

    def __init__(self, directory: Path, dockerfile: Path | None = None) -> None:
        if not directory.is_dir():
            raise InvalidSpec(
                f"cannot build {directory}: no such directory", hint="the last argument is the directory with the files to copy"
            )
        self.directory = directory
        self._ignore = _ignore([*([Path(f"{dockerfile}.dockerignore")] if dockerfile else []), directory / ".dockerignore"])

    def source(self) -> Directory:
        """Its files, to be copied."""
        return Directory(self.directory, is_left_out=self.is_left_out, may_return=self._may_return)

    def is_left_out(self, path: bytes) -> bool:
        """Whether a path below it is kept out of the build."""
        return bool(path) and self._ignore.excludes(os.fsdecode(path))

    def has_nothing_of(self, path: bytes, is_directory: bool) -> bool:  # noqa: FBT001  # what it is about
        """Whether a path below it cannot be copied: it is left out, and so is all that it may be a directory of."""
        return self.is_left_out(path) and not (is_directory and self._may_return(path))

    def _may_return(self, path: bytes) -> bool:
        return self._ignore.may_reinclude_under(os.fsdecode(path))


def text(path: Path, *, follow: bool = True) -> str:
    """A Dockerfile or .dockerignore. follow: it may be a link. Raises InvalidSpec."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)), "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidSpec(f"cannot read {path}: {error.strerror}", hint="-f FILE names another one") from error
    if len(data) > _MOST_BYTES:
        raise InvalidSpec(f"cannot read {path}: it is larger than {_MOST_BYTES >> 20} MiB")
    return data.decode("utf-8", "replace")


def _ignore(candidates: Sequence[Path]) -> Ignore:
    for path in candidates:
        if path.is_file():
            return Ignore.read(text(path, follow=False), name=path.name)  # an error would quote whatever a stranger's link leads to
    return Ignore()
