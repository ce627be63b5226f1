"""The log of a detached container (init/log.py), for readers.

Read while others write to it and rotate it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from cellhold.init.log import FILES
from cellhold.spec.lifecycle import State
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO, Protocol

    from cellhold.store.home import Home

    class Speaker(Protocol):
        """A container as far as its log is concerned."""

        id: str

        @property
        def state(self) -> State:
            """Whether more may come."""


_LOOK_SECONDS = 0.05
_STREAMS = {b"stdout": 1, b"stderr": 2}


class Line(NamedTuple):
    """A line of the log.

    moment: as it is written (RFC 3339). stream: 1 or 2. text: with its newline, unless
    it goes on in the next line.
    """

    moment: str
    stream: int
    text: bytes

    @property
    def seconds(self) -> float:
        """Seconds since the epoch; 0 if a full disk has left half a line."""
        try:
            return datetime.fromisoformat(self.moment).timestamp()
        except ValueError:
            return 0.0


def lines(  # noqa: PLR0913  # docker's flags
    box: Speaker,
    *,
    tail: int | None = None,
    since: float | None = None,
    until: float | None = None,
    follow: bool = False,
    home: Home | None = None,
) -> Iterator[Line]:
    """Yield the lines of a container's log, the oldest first.

    tail: only the last so many. since, until: seconds since the epoch. follow: go on
    until the container ends.
    """
    directory = (home or open_home()).container(box.id)
    found = [line for path in _older(directory) for line in _read(path)]
    with open(directory / "log", "rb") if (directory / "log").exists() else open(os.devnull, "rb") as file:
        found += _parsed(file)
        chosen = [line for line in found if since is None or line.seconds >= since]
        yield from _within(chosen if tail is None else chosen[len(chosen) - min(tail, len(chosen)) :], until)
        if follow:
            yield from _within(_followed(box, directory, file), until)


def _within(found: Iterator[Line] | list[Line], until: float | None) -> Iterator[Line]:
    for line in found:
        if until is not None and line.seconds > until:
            return
        yield line


def _followed(box: Speaker, directory: Path, file: BinaryIO) -> Iterator[Line]:
    while True:
        ends = box.state not in (State.RUNNING, State.PAUSED, State.RESTARTING)
        yield from _parsed(file)
        with suppress(FileNotFoundError):
            if os.fstat(file.fileno()).st_ino != (directory / "log").stat().st_ino:  # it was turned over
                yield from _parsed(file)
                with open(directory / "log", "rb") as fresh:
                    yield from _followed(box, directory, fresh)
                return
        if ends:
            return
        time.sleep(_LOOK_SECONDS)


def _older(directory: Path) -> list[Path]:
    return [path for number in range(FILES - 1, 0, -1) if (path := directory / f"log.{number}").exists()]


def _read(path: Path) -> list[Line]:
    with suppress(FileNotFoundError), open(path, "rb") as file:
        return list(_parsed(file))
    return []


def _parsed(file: BinaryIO) -> Iterator[Line]:
    """Yield the whole lines from here on; half a line is left for the next time."""
    while raw := file.readline():
        if not raw.endswith(b"\n"):
            file.seek(-len(raw), os.SEEK_CUR)
            return
        moment, _, rest = raw.partition(b" ")
        stream, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        if stream in _STREAMS and moment.isascii():  # a disk that was full may have left half a line
            yield Line(moment.decode(), _STREAMS[stream], text if tag == b"F" else text[:-1])
