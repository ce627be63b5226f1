"""A detached container's output on ours, and our input into it, until it ends or we have had enough of it."""

from __future__ import annotations

import os
import select
import signal
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from cellhold.cli import terminal
from cellhold.cli.copying import Feed, say, write_all
from cellhold.errors import CellholdError
from cellhold.spec.outcome import Why

if TYPE_CHECKING:
    from cellhold.container.detached import Detached
    from cellhold.container.handle import Handle
    from cellhold.container.monitor import Attached
    from cellhold.spec.outcome import Outcome

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
HINTS = {Why.MEMORY: "raise --memory, or use less", Why.TIME: "raise --time", Why.LOST: "run it again; what it wrote is gone"}
_MESSAGE = 65537


def follow(  # noqa: PLR0913  # docker's flags
    box: Detached, attached: Attached, *, interactive: bool, has_terminal: bool, keys: bytes, proxy: bool = True
) -> int:
    """Copy until it has ended, and give its status; 0 when the person has detached. proxy: signals to us are signals to it."""
    with ExitStack() as closing:
        closing.callback(attached.socket.close)
        feed = None
        if attached.stdin >= 0:
            if interactive:
                feed = Feed(os.dup(attached.stdin), keys=keys if has_terminal else b"")
                closing.callback(feed.close)
            if has_terminal:
                closing.callback(os.close, attached.stdin)
                closing.enter_context(terminal.raw(attached.stdin))
            else:
                os.close(attached.stdin)
        if proxy and not has_terminal:
            for number in FORWARDED:
                before = signal.signal(number, lambda number, _frame: forward(box, number))
                closing.callback(signal.signal, number, before)
        if not _copied(attached, feed):
            return 0
        return box.wait().status


def _copied(attached: Attached, feed: Feed | None) -> bool:
    """Copy to the end; False when the person has detached."""
    while True:
        poll = select.poll()
        poll.register(attached.socket, select.POLLIN)
        awaited = feed.awaited() if feed else None
        if awaited is not None:
            poll.register(*awaited)
        for fd, _events in poll.poll():
            if feed and awaited and fd == awaited[0]:
                feed.go_on()
                if feed.is_detached:
                    return False
            elif fd == attached.socket.fileno() and not _took(attached):
                return True


def _took(attached: Attached) -> bool:
    try:
        message = attached.socket.recv(_MESSAGE)
    except ConnectionResetError:
        return False
    if not message:
        return False
    with suppress(OSError):  # whoever read ours has had enough
        write_all(message[0], message[1:])
    return True


def forward(container: Handle, number: int) -> None:
    """Pass a signal on, as `docker run` does; one that comes after the end is nobody's."""
    with suppress(CellholdError):
        container.kill(number)


def tell_end(name: str, outcome: Outcome | None) -> None:
    """Say why a container ended, where that was not its program's own doing. outcome: None as long as it runs."""
    if outcome is not None and outcome.why in HINTS:
        was = "" if outcome.why is Why.LOST else "was "
        say(f"cellhold: container {name} {was}{outcome.sentence()}\nhint: {HINTS[outcome.why]}\n")
