"""Descriptors of a container's network namespace and of the user namespace above.

While a container starts, its PID 1 sends them over the gate: a socket pair, at which it
then waits until it is connected (init/steps/isolation.py). Later they are opened by its
pid.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import NotAllowed, SetupFailed
from cellhold.network import leases
from cellhold.store import record, subids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.network.model import Lease
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_SECONDS = 60.0  # longer than PID 1 takes to come up on a machine that still works
_WORDS, _KINDS = 16, 2


class Running(NamedTuple):
    """A container that runs: one of its leases, and descriptors of its namespaces.

    user: without root only.
    """

    lease: Lease
    namespace: int
    user: int | None


def receive(gate: socket.socket) -> tuple[int, int]:
    """Receive the network namespace and its user namespace from PID 1.

    The caller closes them. Raises SetupFailed.
    """
    gate.settimeout(_SECONDS)
    try:
        words, fds, _flags, _address = socket.recv_fds(gate, _WORDS, _KINDS)
    except TimeoutError as error:
        raise SetupFailed(f"cannot connect a container: it did not come up within {_SECONDS:g} s", step="network.offer") from error
    except OSError:
        words, fds = b"", []
    if not words or len(fds) != _KINDS:
        for fd in fds:
            os.close(fd)
        raise SetupFailed("cannot connect a container: it ended while it was being made", step="network.offer")
    return fds[0], fds[1]


@contextmanager
def running(container: str, home: Home, lease: Lease | None = None) -> Iterator[Running]:
    """Open the namespaces of a running container. lease: None = its first.

    Raises NotAllowed where it does not run or is on no network.
    """
    found = record.peek(home.container(container))
    lease = lease or next((one for _network, one in leases.every(home) if one.container == container), None)
    if found is None or lease is None or not found.is_alive or record.birth(found.pid or 0) != found.born:
        raise NotAllowed(f"cannot look at the network of container {container}: it does not run, or was made with network=none")
    with ExitStack() as closing:
        yield Running(lease, *_open(found, closing))


def _open(found: Record, closing: ExitStack) -> tuple[int, int | None]:
    """Open them by a process that may be looked at: PID 1 may by root alone."""
    pid, fds = str(found.pid), []
    try:
        if subids.is_rootless():
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                pid = file.read().split()[0]
        for kind in ("net", "user") if subids.is_rootless() else ("net",):
            fds.append(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
            closing.callback(os.close, fds[-1])
    except (OSError, IndexError) as error:
        raise NotAllowed(f"cannot look at the network of container {found.name}: it is just ending") from error
    return fds[0], fds[1] if fds[1:] else None
