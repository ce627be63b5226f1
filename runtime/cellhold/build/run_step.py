"""RUN: run a program in a container of the unfinished image.

What it has written becomes a layer; nothing of the container is kept.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from errno import ENOSPC
from typing import TYPE_CHECKING, Self

from cellhold.container import commit
from cellhold.container.container import Container
from cellhold.errors import BuildFailed
from cellhold.spec.outcome import Why
from cellhold.spec.spec import Mount, Spec
from cellhold.store import record
from cellhold.store.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from io import RawIOBase
    from pathlib import Path

    from cellhold.build.options import Options
    from cellhold.build.state import State
    from cellhold.image.layer_making import MadeLayer
    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.store.home import Home

_CHUNK_BYTES = 64 << 10
_LAST_LINES = 10
_REST_SECONDS = 0.3
_LAST_BYTES = 16 << 10
_ROOT_ONLY = 1  # entries of a tar that says nothing but that there is a root directory
_FULL_BYTES = 64 << 10
_FULL = os.strerror(ENOSPC)  # what programs say, also where some blocks are free again by the time we look


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run.

    files: (path in the container below /dev/shm, content, mode): shown to the program,
        never part of the layer.
    """

    args: tuple[str, ...]
    env: Mapping[str, str]
    files: tuple[tuple[str, bytes, int], ...] = ()
    mounts: tuple[Mount, ...] = ()
    user: str | None = None


def run(  # noqa: PLR0913  # a step, where it happens, and the receiver of its output
    program: Program,
    state: State,
    home: Home,
    *,
    name: str,
    options: Options,
    tell: Callable[[bytes], object],
    mtime_limit_seconds: int | None = None,
) -> MadeLayer | None:
    """Return the layer that the program makes; None if it changes nothing.

    name: of the image, for messages.
    tell: called with its output.
    options: limits, owner and admit hold for the container.
    Raises BuildFailed with its status, CommandNotRun, and what making a container
    raises.
    """
    with ExitStack() as closing:
        output = closing.enter_context(_Output(tell))  # ends when the container has: the last to be closed
        mounts = _bind_mounts(program.files, closing.enter_context(scratch(home.root))) if program.files else ()
        asked = Spec(
            image=name,
            args=program.args,
            env=program.env,
            user=program.user,
            limits=options.limits,
            mounts=(*mounts, *program.mounts),
            owner=options.owner,
        )
        with options.admit(asked) as spec:
            container = closing.enter_context(Container.create(spec, home=home, found=state.image(home, name)))
        container.start(stdout=output.writer, stderr=output.writer, keep=closing)
        output.given_away()
        known = record.find(container.id, home.containers)
        found = closing.enter_context(commit.written(known, home, pause=False))
        outcome = container.wait()
        output.drained()
        if outcome.status:
            raise _failure(outcome, spec.limits, output, found.overlays[0].upper)
        layer = commit.as_layer(found, home, below=state.diff_ids, mtime_limit_seconds=mtime_limit_seconds)
    return layer if layer.entries > _ROOT_ONLY else None


def _bind_mounts(files: Sequence[tuple[str, bytes, int]], place: Path) -> tuple[Mount, ...]:
    mounts = []
    for number, (target, content, mode) in enumerate(files):
        source = place / str(number)
        source.write_bytes(content)
        source.chmod(mode)
        mounts.append(Mount(kind="bind", source=str(source), target=target, read_only=True))
    return tuple(mounts)


def _failure(outcome: Outcome, limits: Limits, output: _Output, upper: Path) -> BuildFailed:
    """Return why there is no layer; the caller adds the instruction and its line."""
    if outcome.why in {Why.MEMORY, Why.TIME}:
        limit = "memory" if outcome.why is Why.MEMORY else "time"
        hint = f"raise the {limit} limit (--{limit}), or use less"
        return BuildFailed(f"it was {outcome.sentence()}", status=outcome.status, last=output.last(), hint=hint)
    full = None
    if limits.disk_bytes is not None and (_is_full(upper) or _FULL in "".join(output.last())):
        full = f"the writable layer is full, its limit is {limits.disk_bytes >> 20} MiB: raise --disk"
    return BuildFailed(f"it ended with status {outcome.status}", status=outcome.status, last=output.last(), hint=full)


def _is_full(upper: Path) -> bool:
    space = os.statvfs(upper)
    return space.f_bavail * space.f_frsize < _FULL_BYTES


class _Output:
    """The output of a program, passed on by a thread as it comes.

    The last of it is kept.
    """

    def __init__(self, tell: Callable[[bytes], object]) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        self._tell = tell
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._failed: list[BaseException] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def given_away(self) -> None:
        """Close our copy of the writer: the program has its own."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def drained(self) -> None:
        """Wait until all of it has been passed on; raises what `tell` has raised."""
        self._thread.join()
        if self._failed:
            raise self._failed[0]

    def last(self) -> tuple[str, ...]:
        """Return the last lines."""
        text = b"".join(self._kept).decode(errors="replace")
        return tuple(line for line in text.splitlines() if line.strip())[-_LAST_LINES:]

    def __exit__(self, *_error: object) -> None:
        self.given_away()
        self._thread.join(_REST_SECONDS)  # the receiver may block, and be what is interrupted

    def _work(self) -> None:
        with os.fdopen(self._reader, "rb", buffering=0) as reader:
            self._pass_on(reader)

    def _pass_on(self, reader: RawIOBase) -> None:
        while data := reader.read(_CHUNK_BYTES):
            self._kept.append(data)
            self._kept_bytes += len(data)
            while self._kept_bytes - len(self._kept[0]) > _LAST_BYTES:
                self._kept_bytes -= len(self._kept.popleft())
            if not self._failed:
                try:
                    self._tell(data)
                except BaseException as error:  # noqa: BLE001  # raised again in drained(): the program must not hang on a full pipe
                    self._failed.append(error)
