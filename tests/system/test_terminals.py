"""Terminals: -it of run, exec and attach, from a real one; detaching; sizes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from boxes import cellhold, command, environment
from cellhold.cli import terminal
from cellhold.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")

PATIENCE = 20.0


class Person:
    """Somebody at a terminal with a command."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid, self.fd = pid, fd
        self.seen = ""

    def sees(self, text: str) -> None:
        """Wait until it is on the screen."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self._look()

    def _look(self) -> bool:
        if not select.select([self.fd], [], [], 0.2)[0]:
            return True
        with suppress(OSError):
            piece = os.read(self.fd, 4096)
            self.seen += piece.decode(errors="replace")
            return bool(piece)
        return False

    def types(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def status(self) -> int:
        """Of the command, once it has ended."""
        while self._look():
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextmanager
def at_terminal(*words: str, rows: int = 33, columns: int = 99) -> Iterator[Person]:
    """The command of this checkout, with a terminal of that size."""
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        line = cellhold(*words)
        os.execve(line[0], line, environment())
    try:
        yield Person(pid, fd)
    finally:
        os.close(fd)


def test_run_has_a_terminal_of_the_container_s_own_at_our_size() -> None:
    with at_terminal("run", "--rm", "-it", "host", "sh") as person:
        person.types("tty; stty size; echo $TERM; exit 3\n")
        person.sees("/dev/pts/0\r\n33 99\r\nxterm")
        assert person.status() == 3


def test_ctrl_c_is_for_the_program() -> None:
    script = "trap 'echo caught; exit 4' INT; echo up; while :; do sleep 0.1; done"
    with at_terminal("run", "--rm", "-it", "host", "sh", "-c", script) as person:
        person.sees("up")
        person.types("\x03")
        person.sees("caught")
        assert person.status() == 4


def test_one_is_left_running_entered_and_attached_again() -> None:
    with at_terminal("run", "-it", "--name", "tty", "host", "sh") as person:
        person.types("mine=42; echo re''ady\n")
        person.sees("ready")
        person.types("\x10\x11")
        assert person.status() == 0
    try:
        assert '"Running": true' in command("inspect", "tty").stdout
        with at_terminal("exec", "-it", "tty", "sh", rows=20, columns=50) as person:
            person.types("tty; stty size; exit 9\n")
            person.sees("/dev/pts/1\r\n20 50")
            assert person.status() == 9
        with at_terminal("attach", "tty") as person:
            person.types("echo still $mine\n")
            person.sees("still 42")
            person.types("exit 5\n")
            assert person.status() == 5
        assert "still 42" in command("logs", "tty").stdout
    finally:
        assert command("rm", "-f", "tty").returncode == 0


@pytest.mark.parametrize(
    ("text", "keys"), [("ctrl-p,ctrl-q", b"\x10\x11"), ("ctrl-a", b"\x01"), ("a,b", b"ab"), ("ctrl-[", b"\x1b"), ("", b"")]
)
def test_detach_keys_as_docker_writes_them(text: str, keys: bytes) -> None:
    assert terminal.detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-é", "é"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        terminal.detach_keys(text)
