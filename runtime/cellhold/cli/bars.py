"""Progress of layers, as bars, lines or JSON.

Bars in a terminal, a line at each change elsewhere (as docker does), JSON for programs.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cellhold.cli.screen import behind
from cellhold.image.progress import Doing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from cellhold.image.progress import Progress, Tell

KINDS = ("auto", "bars", "lines", "json", "none")
_NOT_OFTENER_SECONDS = 0.1
_MOVING = (Doing.DOWNLOADING, Doing.UNPACKING, Doing.PUSHING)


@contextmanager
def display(kind: str, to: TextIO) -> Iterator[Tell]:
    """Display progress on a stream; yield the function that reports it.

    kind: one of KINDS; "auto": bars in a terminal, else lines.
    """
    if kind == "auto":
        kind = "bars" if to.isatty() else "lines"
    if kind != "bars":
        lock, last = threading.Lock(), dict[str, tuple[Doing, float]]()

        def tell(progress: Progress) -> None:
            with lock:
                if _is_news(progress, last, often=kind == "json") and kind != "none":
                    print(_object(progress) if kind == "json" else f"{progress.digest.short}: {progress.doing}", file=to, flush=True)

        yield tell
        return
    with _bars(to) as tell_bars:
        yield tell_bars


def _is_news(progress: Progress, last: dict[str, tuple[Doing, float]], *, often: bool) -> bool:
    """Return whether to print it: a layer is doing something else, or (often) goes on."""
    doing, when = last.get(progress.digest.encoded, (None, 0.0))
    now = time.monotonic()
    if doing is progress.doing and not (often and doing in _MOVING and now - when > _NOT_OFTENER_SECONDS):
        return False
    last[progress.digest.encoded] = (progress.doing, now)
    return True


def _object(progress: Progress) -> str:
    return json.dumps(
        {
            "digest": str(progress.digest),
            "doing": str(progress.doing),
            "done_bytes": progress.done_bytes,
            "total_bytes": progress.total_bytes,
        }
    )


@contextmanager
def _bars(to: TextIO) -> Iterator[Tell]:
    from rich.console import Console  # noqa: PLC0415  # 100 ms that every other command does without
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        TextColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars  # noqa: PLC0415

    columns = TextColumn("{task.description}"), TextColumn("{task.fields[doing]:<14}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    tasks = {}
    lock = threading.Lock()
    with Bars(*columns, console=Console(file=behind(to))) as bars:

        def tell(progress: Progress) -> None:
            with lock:
                name = progress.digest.short
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=progress.total_bytes, doing="")
                bars.update(tasks[name], completed=progress.done_bytes, doing=str(progress.doing))

        yield tell
