"""The wheels that a kernel layer is made of, fetched once for all test sessions: for notebooks on a machine without the internet."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING

from cellhold_kernel.images import wheels
from cellhold_kernel.images.found import Python
from images import debian_python, kept

if TYPE_CHECKING:
    from pathlib import Path

_GLIBC = (2, 34)  # as images.pythons tells of all later ones


def wheels_directory() -> Path:
    """For the Python of this machine's Debian, the newest that its index has of those that are pinned."""
    version = tuple(map(int, debian_python._python().removeprefix("python").split(".")))
    python = Python(
        path="/usr/bin/python3",
        real="/usr/bin/python3",
        prefix="/usr",
        version=(version[0], version[1]),
        libc="glibc",
        glibc=_GLIBC,
        machine=platform.machine(),
    )
    recipe = kept.recipe(also=json.dumps([str(python), dict(wheels.pins(wheels.target(python)))], sort_keys=True))
    place = kept.directory("kernel-wheels", recipe, lambda place: _fetch(python, place))
    return next(path for path in place.iterdir() if path.is_dir())


def _fetch(python: Python, place: Path) -> None:
    wheels.fetch(python, place)
