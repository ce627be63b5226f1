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
from cellhold_kernel.back import CHANNELS, Back, open_socket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
    """Also when zmq connects anew: it goes to the socket that was looked at, or nowhere."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with listening(tmp_path / "docker.sock") as of_the_host, opened(tmp_path) as directory:
        inner = {channel: context.socket(zmq.XPUB if channel == "iopub" else zmq.ROUTER) for channel in CHANNELS}
        for channel, sock in inner.items():
            sock.bind(f"ipc://{tmp_path}/{NAMES[channel]}")
        back = Back(NAMES, directory=directory)
        for name in NAMES.values():
            (tmp_path / name).unlink()
            (tmp_path / name).symlink_to(tmp_path / "docker.sock")
        back.send("shell", [b"still", b"there"])
        assert inner["shell"].poll(5000)
        identity, *rest = inner["shell"].recv_multipart()
        assert rest == [b"still", b"there"]
        inner["shell"].send_multipart([identity, b"answer"])
        assert back.wait(5)
        for sock in inner.values():
            sock.close(linger=0)  # zmq connects again and again from now on
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
        back = Back(NAMES, directory=directory)
        seen = set()
        for channel in ("shell", "control", "stdin"):
            back.send(channel, [b"x"])
            assert inner[channel].poll(5000)
            seen.add(inner[channel].recv_multipart()[0])
        assert len(seen) == 1
        back.close()
        for sock in inner.values():
            sock.close(linger=0)
    context.term()


def test_a_missing_socket_leaves_nothing_open(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with opened(tmp_path) as directory, listening(tmp_path / NAMES["iopub"]):
        with pytest.raises(FileNotFoundError):
            Back(NAMES, directory=directory)
        context.term()  # would wait for a socket that is open
