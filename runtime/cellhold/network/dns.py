"""The process of a network's name server, started with the first container.

It is started with its sockets, on which questions wait until it is ready to answer
(nameserver.py), and clears up after the containers (housekeeping.py). Soon after the
last one it ends. It closes its sockets before it lets go of its lock, so that its
successor finds the address free.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold import helper
from cellhold.errors import CellholdError, SetupFailed
from cellhold.network import bridge_device, firewall, leases, networks, usermode_process
from cellhold.network.model import Network
from cellhold.store import locks
from cellhold.store.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterable

PORT = 53
_LOCK = "naming.lock"  # held as long as a network's server is there
_BACKLOG = 256
_TAKEN = """another name server listens on all of this host's addresses: \
have it leave out those of containers' bridges"""
# The kernel closes a killed process's descriptors one by one, the lock perhaps first.
_DYING_SECONDS, _INTERVAL_SECONDS = 2.0, 0.005


def serve(network: Network, home: Home) -> None:
    """Start one unless there is one. Raises SetupFailed where the address is taken.

    The caller has the networks' lock, and the network's device has its address.
    """
    path = network.directory(home) / _LOCK
    with ExitStack() as closing:
        try:
            lock = closing.enter_context(locks.held(path, locks.file(path), wait=False))
        except BlockingIOError:
            return
        try:
            datagrams = closing.enter_context(_bound(network.gateway, socket.SOCK_DGRAM))
            streams = closing.enter_context(_bound(network.gateway, socket.SOCK_STREAM))
            streams.listen(_BACKLOG)
        except OSError as error:
            where = f"{network.gateway}:{PORT}"
            raise SetupFailed(
                f"cannot serve names on network {network.name}: {where}: {error.strerror}",
                step="network.naming",
                hint=_TAKEN,
            ) from error
        fds = [lock, datagrams.fileno(), streams.fileno()]
        text = json.dumps(replace(network, labels={}).to_json())
        words = helper.python(__name__, text, *map(str, fds), bounds=helper.Bounds(memory_bytes=2 << 30))
        usermode_process.start(words, env={"CELLHOLD_HOME": str(home.root)}, pass_fds=fds)


def _bound(address: str, kind: socket.SocketKind) -> socket.socket:
    """Return a socket at that address, once a killed process has let go of it.

    Raises OSError.
    """
    until = time.monotonic() + _DYING_SECONDS
    one = socket.socket(socket.AF_INET, kind)
    if kind == socket.SOCK_STREAM:  # connections of before may linger; two of UDP would share the address
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    while True:
        try:
            one.bind((address, PORT))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                one.close()
                raise
            time.sleep(_INTERVAL_SECONDS)
        else:
            return one


def is_there(network: Network, home: Home) -> bool:
    """Whether the network has its server."""
    path = network.directory(home) / _LOCK
    try:
        with locks.held(path, locks.file(path), wait=False):
            return False
    except BlockingIOError:
        return True


def settle(left: Iterable[Network], home: Home) -> None:
    """Remove what a container leaves in the rules where a name server was killed.

    Else that does it. left: the networks that the container was on. What cannot be done
    now is done when the next container comes or goes. The caller has the networks'
    lock.
    """
    with suppress(CellholdError):
        if not all(is_there(network, home) for network in left):
            firewall.write(home)
            clear(home)


def clear(home: Home) -> None:
    """Remove what networks have that nobody is on and whose server was killed.

    The caller has the networks' lock.
    """
    from cellhold.network.housekeeping import take_away  # noqa: PLC0415  # after a crash alone

    for network in networks.every(home):
        path = network.directory(home) / _LOCK
        if (bridge_device.is_there(network) or firewall.are_there(home)) and not leases.of(network, home):
            with suppress(BlockingIOError), locks.held(path, locks.file(path), wait=False):
                take_away(network, home)


def main() -> None:
    """Be the process.

    Arguments: the network, descriptors of the lock and both sockets.

    All that it has to take away it knows without its store, which may be gone by now.
    """
    from cellhold.network.housekeeping import Housekeeping  # noqa: PLC0415  # this process's alone

    text, lock, *fds = sys.argv[1:]
    fields, home = json.loads(text), Home(Path(os.environ["CELLHOLD_HOME"]))
    network = Network(**{**fields, "dns": tuple(fields["dns"])})
    sockets = [socket.socket(fileno=int(fd)) for fd in fds]
    threading.Thread(target=_answer, args=(network, home, *sockets), daemon=True).start()

    def close() -> None:
        for one in sockets:
            one.close()
        os.close(int(lock))

    with suppress(CellholdError):
        Housekeeping(network, home).run(close)
    os._exit(0)  # what still waits for another server's answer waits for nobody


def _answer(network: Network, home: Home, datagrams: socket.socket, streams: socket.socket) -> None:
    """Serve as long as the process lasts.

    Should that end, so does the process: the next container starts another one.
    """
    try:
        from cellhold.network import nameserver  # noqa: PLC0415  # asyncio and dns take 0.2 s

        nameserver.serve(network, home, datagrams, streams)
    finally:
        os._exit(1)
