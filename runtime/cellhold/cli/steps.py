"""Progress of a build, for a terminal, as lines, or as JSON.

In a terminal the present step is displayed with the end of its output, which disappears
when the step is done.
"""

from __future__ import annotations

import json
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cellhold.build.progress import Began, Warned, Wrote
from cellhold.cli.screen import behind
from cellhold.spec import units, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from rich.console import RenderableType

    from cellhold.build.progress import Ended, Event, Tell

KINDS = ("auto", "tty", "plain", "json", "none")
_LINES = 8
_LONGEST = 160


@contextmanager
def display(kind: str, to: TextIO) -> Iterator[Tell]:
    """Display progress on a stream; yield the function that reports it.

    kind: one of KINDS; "auto": for a terminal if the stream is one, else as lines.
    """
    if kind == "auto":
        kind = "tty" if to.isatty() else "plain"
    if kind == "tty":
        with _terminal(to) as tell:
            yield tell
        return
    say: dict[str, Callable[[Event], str]] = {"plain": _Plain().text, "json": as_json, "none": lambda _event: ""}

    def tell_line(event: Event) -> None:
        if text := say[kind](event):
            to.write(text)
            to.flush()

    yield tell_line


def as_json(event: Event) -> str:
    """Format one event as a line of JSON."""
    members = {name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in vars(event).items()}
    return json.dumps({"event": type(event).__name__.lower(), **members}) + "\n"


def title(began: Began) -> str:
    """Format the number of a step and its instruction as one line."""
    words = " ".join(began.text.split())
    stage = f"{began.stage} " if began.stage else ""
    return f"[{stage}{began.number}/{began.total}] {printable(words)}"


def ending(ended: Ended) -> str:
    """Format the result of a step."""
    layer = "" if ended.layer_bytes is None else f", layer of {units.size(ended.layer_bytes)}"
    return f"{'CACHED' if ended.cached else f'DONE {ended.seconds:.1f} s'}{layer}"


def printable(text: str) -> str:
    """Remove what moves a cursor: a program's output is as hostile as its image."""
    return "".join(letter if letter.isprintable() else " " if letter == "\t" else "?" for letter in text[:_LONGEST])


class _Plain:
    """Lines, as of `docker build --progress plain`.

    All output, each line with the step's number.
    """

    def __init__(self) -> None:
        self._rest = b""

    def text(self, event: Event) -> str:
        """Return what to write for an event."""
        if isinstance(event, Began):
            return f"#{event.number} {title(event)}\n"
        if isinstance(event, Wrote):
            *lines, self._rest = (self._rest + event.data).split(b"\n")
            return "".join(f"#{event.number} {self._line(line)}\n" for line in lines)
        if isinstance(event, Warned):
            return f"warning: {event.text}\n"
        rest, self._rest = self._rest, b""
        return (f"#{event.number} {self._line(rest)}\n" if rest else "") + f"#{event.number} {ending(event)}\n"

    @staticmethod
    def _line(data: bytes) -> str:
        return printable(data.decode(errors="replace").rstrip("\r"))


@contextmanager
def _terminal(to: TextIO) -> Iterator[Tell]:
    from rich.console import Console, Group  # noqa: PLC0415  # 100 ms that every other command does without
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=behind(to))
    now: Began | None = None
    lines: deque[str] = deque(maxlen=_LINES)

    def drawn() -> RenderableType:
        head = [Text(title(now), style="bold")] if now else []
        return Group(*head, *(Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis") for line in lines if line))

    with Live(get_renderable=drawn, console=console, refresh_per_second=8) as live:

        def tell(event: Event) -> None:
            nonlocal now
            if isinstance(event, Began):
                now = event
                lines.clear()
            elif isinstance(event, Wrote):
                first, *more = event.data.decode(errors="replace").split("\n")
                lines.append((lines.pop() if lines else "") + printable(first))
                lines.extend(map(printable, more))
            elif isinstance(event, Warned):
                live.console.print(f"warning: {words.printable(event.text)}", style="yellow", markup=False)
            elif now is not None:
                live.console.print(Text(title(now)), Text(ending(event), style="cyan"), sep="  ")
                now = None
                lines.clear()

        yield tell
