"""The sockets towards the container, when the container lies about them."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import zmq

from cellhold.errors import CellholdError
from cellhold_kernel.engine.local.unix_sockets import connect, open_socket
from cellhold_kernel.transport.backend import CHANNELS, Backend
from cellhold_kernel.transport.zmtp import Arrived

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold_kernel.transport.zmtp import Chunk

NAMES = {channel: f"kernel-{channel}" for channel in CHANNELS}


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


def reaches(back: Backend, inner: zmq.Socket[bytes]) -> bool:
    """Whether what was sent arrives; the loop's part is done here: hands are shaken when something is read."""
    for _ in range(250):
        for stream in back.streams.values():
            assert list(stream.receive()) == []
        if inner.poll(20):
            return True
    return False


def connections(listener: socket.socket) -> int:
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_a_symbolic_link_in_the_place_of_a_socket_is_refused(tmp_path: Path) -> None:
    with listening(tmp_path / "docker.sock") as of_the_host, opened(tmp_path) as directory:
        (tmp_path / "kernel-1").symlink_to(tmp_path / "docker.sock")
        with pytest.raises(CellholdError, match="is not a socket"):
            open_socket("kernel-1", directory=directory)
        assert connections(of_the_host) == 0


def test_a_file_in_the_place_of_a_socket_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        (tmp_path / "kernel-1").touch()
        os.mkfifo(tmp_path / "kernel-2")
        for name in ("kernel-1", "kernel-2"):
            with pytest.raises(CellholdError, match="is not a socket"):
                open_socket(name, directory=directory)


def test_a_socket_that_is_swapped_for_a_link_later_leads_nowhere_else(tmp_path: Path) -> None:
    """What is connected stays so, and nobody connects anew."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with listening(tmp_path / "docker.sock") as of_the_host, opened(tmp_path) as directory:
        inner = {channel: context.socket(zmq.XPUB if channel == "iopub" else zmq.ROUTER) for channel in CHANNELS}
        for channel, sock in inner.items():
            sock.bind(f"ipc://{tmp_path}/{NAMES[channel]}")
        back = Backend(connect(NAMES, directory=directory))
        for name in NAMES.values():
            (tmp_path / name).unlink()
            (tmp_path / name).symlink_to(tmp_path / "docker.sock")
        back.send("shell", [b"still", b"there"])
        assert reaches(back, inner["shell"])
        identity, *rest = inner["shell"].recv_multipart()
        assert rest == [b"still", b"there"]
        inner["shell"].send_multipart([identity, b"answer"])
        answers: list[Arrived | Chunk] = []
        while not answers and back.wait(5):
            answers += back.streams["shell"].receive()
        assert answers == [Arrived([b"answer"])]
        for sock in inner.values():
            sock.close(linger=0)
        assert back.wait(5)
        for stream in back.streams.values():
            list(stream.receive())
        assert back.broken is not None
        time.sleep(0.2)
        assert connections(of_the_host) == 0
        back.close()
        back.close()
    context.term()


def test_shell_control_and_stdin_are_one_client_to_the_cell_kernel(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with opened(tmp_path) as directory:
        inner = {channel: context.socket(zmq.XPUB if channel == "iopub" else zmq.ROUTER) for channel in CHANNELS}
        for channel, sock in inner.items():
            sock.bind(f"ipc://{tmp_path}/{NAMES[channel]}")
        back = Backend(connect(NAMES, directory=directory))
        seen = set()
        for channel in ("shell", "control", "stdin"):
            back.send(channel, [b"x"])
            assert reaches(back, inner[channel])
            seen.add(inner[channel].recv_multipart()[0])
        assert len(seen) == 1
        back.close()
        for sock in inner.values():
            sock.close(linger=0)
    context.term()


def test_a_missing_socket_leaves_nothing_open(tmp_path: Path) -> None:
    with opened(tmp_path) as directory, listening(tmp_path / NAMES["iopub"]):
        before = os.listdir("/proc/self/fd")
        with pytest.raises(FileNotFoundError):
            Backend(connect(NAMES, directory=directory))
        assert os.listdir("/proc/self/fd") == before
