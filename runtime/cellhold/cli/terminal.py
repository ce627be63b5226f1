"""Our terminal as the program's: byte for byte, at its size.

Until the program ends or the user types the detach keys.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import tty
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cellhold.cli.copying import STDIN, STDOUT, Feed, write_all
from cellhold.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = "ctrl-p,ctrl-q"  # docker's
_SIZE_BYTES = 8
_CHUNK = 65536


def detach_keys(text: str) -> bytes:
    """Return what a terminal sends for "ctrl-p,ctrl-q".

    Raises InvalidSpec.
    """
    keys = b""
    for key in text.split(",") if text else []:
        letter = key.removeprefix("ctrl-")
        if len(letter) != 1 or not letter.isascii() or (key != letter and not (letter.isalpha() or letter in "@[\\]^_")):
            raise InvalidSpec(f"cannot use detach-keys={text}: {key} is not a key", hint="ctrl-p,ctrl-q, for example")
        keys += letter.encode() if key == letter else bytes([ord(letter.upper()) & 0x1F])
    return keys


@contextmanager
def raw(master: int) -> Iterator[None]:
    """Put our terminal into raw mode, and the program's at its size.

    Also when the size changes. Does nothing if our standard input is not a terminal.
    """
    if not os.isatty(STDIN):
        yield
        return
    before = termios.tcgetattr(STDIN)

    def resize(*_: object) -> None:
        with suppress(OSError):
            fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(STDIN, termios.TIOCGWINSZ, bytes(_SIZE_BYTES)))

    resized = signal.signal(signal.SIGWINCH, resize)
    try:
        resize()
        tty.setraw(STDIN, termios.TCSANOW)  # what was typed already is for the program
        yield
    finally:
        termios.tcsetattr(STDIN, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, resized)


def copy(master: int, *, interactive: bool) -> None:
    """Copy in both directions until the program closes its end of the terminal.

    master: our end; it stays open.
    """
    feed = Feed(os.dup(master)) if interactive else None
    with raw(master):
        while True:
            poll = select.poll()
            poll.register(master, select.POLLIN)
            awaited = feed.awaited() if feed else None
            if awaited is not None:
                poll.register(*awaited)
            for fd, events in poll.poll():
                if feed and awaited and fd == awaited[0] and (fd != master or events & select.POLLOUT):
                    feed.go_on()
                if fd == master and not _copied(master):
                    return


def _copied(master: int) -> bool:
    try:
        piece = os.read(master, _CHUNK)
    except BlockingIOError:
        return True
    except OSError:  # EIO: nobody has the other end open any more
        return False
    if piece:
        with suppress(OSError):
            write_all(STDOUT, piece)
    return bool(piece)
