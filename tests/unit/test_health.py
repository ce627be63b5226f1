"""The monitor's side of a healthcheck."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from cellhold.init.health import Health

if TYPE_CHECKING:
    from cellhold.init.health import Check

CHECK: Check = {"args": ["true"], "interval": 0.0, "timeout": 60.0, "start_period": 0.0, "retries": 1}


def test_what_a_check_has_written_is_told_though_its_end_is_heard_first() -> None:
    asked: list[list[int]] = []
    told: list[str] = []
    health = Health(CHECK, asked.append, told.append)
    channel, _output = health.act()
    ((_wanted, theirs, _null, writing, _error),) = asked
    os.write(writing, b"looked\n")
    with socket.socket(fileno=theirs) as inside:
        inside.send(b"exited\t0\t0")
        assert not health.hear(channel)
    for fd in asked[0]:
        if fd != theirs:
            os.close(fd)
    status, failures, _began, last, output = told[-1].split("\n", 4)
    assert (status, failures, last, output) == ("healthy", "0", "0", "looked\n")
