"""Names of containers: a name belongs to one container.

Whoever makes or renames a container holds the lock on all names meanwhile.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cellhold.container import inventory
from cellhold.errors import InvalidSpec
from cellhold.store import locks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.store.home import Home
    from cellhold.store.record import Record

_LOOK_SECONDS = 0.01
_SWEEP_SECONDS = 0.5  # between a sweep's taking a leftover and its saying so in the record


@contextmanager
def reserve(name: str | None, home: Home, *, owner: str = "") -> Iterator[None]:
    """Keep others from taking the name during the block.

    owner: the id of the container that may have it.

    Raises InvalidSpec if another one has it.
    """
    if name is None:
        yield
        return
    path = home.root / "containers.lock"
    with locks.held(path, locks.file(path)):
        until = time.monotonic() + _SWEEP_SECONDS
        while other := _find(name, home, owner):
            if other.kept or time.monotonic() > until:
                raise InvalidSpec(
                    f"cannot use name={name}: container {other.id} has it",
                    hint=f"cellhold rm {name}, or cellhold rename; or choose another name",
                )
            time.sleep(_LOOK_SECONDS)  # a sweep may just have begun with it
        yield


def _find(name: str, home: Home, owner: str) -> Record | None:
    """Return the container that has the name, unless it is the owner."""
    return next((other for other in inventory.list_containers(home) if name in (other.name, other.id) and other.id != owner), None)
