"""Questions about a stack of unpacked layers (layer/worker/questions.py).

They are answered here, or, if that is not allowed, by a process that owns the files:
without root some directories belong to subordinate ids of the user and may be looked
into by their owner only.
"""

from __future__ import annotations

import marshal
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from cellhold.layer.worker import questions
from cellhold.store import subids, user_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PROGRAM = (
    "import marshal, os; from cellhold.layer.worker import questions; fds = [os.open(path, {flags}) for path in {paths!r}]; "
    "marshal.dump(questions.{name}(fds, *{arguments!r}), sys.stdout.buffer)"
)


def matching(layers: Sequence[Path], parts: Sequence[tuple[bytes, bool]]) -> list[tuple[bytes, bytes, bool]]:
    """Return what questions.matching() does."""
    found: list[tuple[bytes, bytes, bool]] = _ask(questions.matching, layers, list(parts))
    return found


def spot(layers: Sequence[Path], path: bytes) -> tuple[list[bytes], list[bytes], bool]:
    """Return what questions.resolved_spot() does."""
    found: tuple[list[bytes], list[bytes], bool] = _ask(questions.spot, layers, path)
    return found


def content(layers: Sequence[Path], path: bytes, most_bytes: int) -> bytes | None:
    """Return what questions.content() does."""
    found: bytes | None = _ask(questions.content, layers, path, most_bytes)
    return found


def _ask(question: Callable[..., Any], layers: Sequence[Path], *arguments: object) -> Any:
    try:
        with opened(layers) as fds:
            return question(fds, *arguments)
    except PermissionError:
        if not subids.is_rootless():
            raise
    program = _PROGRAM.format(flags=_DIRECTORY, paths=[str(path) for path in layers], name=question.__name__, arguments=arguments)
    return marshal.loads(user_namespace.run(program))  # noqa: S302  # from our own program


@contextmanager
def opened(layers: Sequence[Path]) -> Iterator[list[int]]:
    """Open the directories and return their descriptors."""
    with ExitStack() as closing:
        fds = []
        for path in layers:
            fds.append(os.open(path, _DIRECTORY))
            closing.callback(os.close, fds[-1])
        yield fds
