"""The gate: the socket pair by which a container's PID 1 hands its namespaces out, and at which it waits to be connected."""

from __future__ import annotations

import os
import socket

from cellhold.errors import SetupFailed

_SECONDS = 60.0  # longer than PID 1 takes to come up on a machine that still works
_WORDS, _KINDS = 16, 2


def handed_out(gate: socket.socket) -> tuple[int, int]:
    """Descriptors of its network namespace, and of the user namespace that this belongs to; the caller closes them. Raises SetupFailed."""
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
