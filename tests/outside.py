"""A host with a network of its own, and an outside world, for a module of tests.

The world is notebooks/smallworld.py.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from smallworld import enter

from cellhold.container import launcher
from cellhold.linux import process
from cellhold.network import networks
from cellhold.spec.networks import BRIDGE
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smallworld import World


@contextmanager
def world() -> Iterator[World]:
    """Be there: this thread, and all that it starts."""
    launcher.shutdown()  # the launcher is in the namespace where it was started
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        beyond = enter()
        try:
            yield beyond
        finally:
            beyond.end()
    finally:
        launcher.shutdown()
        process.setns(home, process.CLONE_NEWNET)
        os.close(home)


@contextmanager
def store(*, dns: str) -> Iterator[Path]:
    """Yield a store whose default network asks that server for other names."""
    place = tempfile.mkdtemp(prefix="ch", dir="/var/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLHOLD_HOME", place)
        launcher.shutdown()
        networks.create(BRIDGE, open_home(), dns=[dns])
        try:
            yield Path(place)
        finally:
            launcher.shutdown()
            shutil.rmtree(place)
