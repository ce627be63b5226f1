"""A host with a network of its own, and an outside world beyond it (notebooks/smallworld.py), for as long as a module of tests runs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from smallworld import enter

from cellhold import launch
from cellhold.linux import process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smallworld import World


@contextmanager
def world() -> Iterator[World]:
    """Be there: this thread, and all that it starts."""
    launch.shutdown()  # the launcher is in the namespace where it was started
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        beyond = enter()
        try:
            yield beyond
        finally:
            beyond.end()
    finally:
        launch.shutdown()
        process.setns(home, process.CLONE_NEWNET)
        os.close(home)
