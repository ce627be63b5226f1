"""Attach to a detached container: its output on ours, our input into it.

Until it ends, or the user detaches.
"""

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
HINTS = {Why.MEMORY: "raise --memory, or use less", Why.TIME: "raise --time", Why.LOST: "run it again; what it wrote is lost"}
_MESSAGE = 65537


def follow(  # noqa: PLR0913  # docker's flags
    box: Detached, attached: Attached, *, interactive: bool, has_terminal: bool, keys: bytes, proxy: bool = True
) -> int:
    """Copy until the container has ended; return its status.

    0 if the user has detached. proxy: forward signals to the container.
    """
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
        if not _copy(attached, feed):
            return 0
        return box.wait().status


def _copy(attached: Attached, feed: Feed | None) -> bool:
    """Copy to the end; return False if the user has detached."""
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
            elif fd == attached.socket.fileno() and not _copy_output(attached):
                return True


def _copy_output(attached: Attached) -> bool:
    try:
        message = attached.socket.recv(_MESSAGE)
    except ConnectionResetError:
        return False
    if not message:
        return False
    with suppress(OSError):  # nobody reads ours any more
        write_all(message[0], message[1:])
    return True


def forward(container: Handle, number: int) -> None:
    """Forward a signal, as `docker run` does; one after the end is dropped."""
    with suppress(CellholdError):
        container.kill(number)


def tell_end(name: str, outcome: Outcome | None) -> None:
    """Print why a container ended, unless its program ended by itself.

    outcome: None while it runs.
    """
    if outcome is not None and outcome.why in HINTS:
        was = "" if outcome.why is Why.LOST else "was "
        say(f"cellhold: container {name} {was}{outcome.sentence()}\nhint: {HINTS[outcome.why]}\n")
