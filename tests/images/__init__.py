"""Images for the tests: OCI layouts that GNU tar, mmdebstrap, dpkg, pip and umoci make out of Debian's packages, once for all sessions.

    busybox_image          two layers of small files, with all that one layer can say of those below it: 2 MiB
    debian_image           one layer: the least of Debian that has a shell and GNU's tools, without apt
    debian_python_image    the same layer, one with python3, and one with ipykernel, which is what it runs

A test that asks for none makes none; kept.py says where they stay. Nothing of these is made by Cellhold: they are what others make of
the specification. What `cellhold build` makes of the Dockerfiles here (built.py) the fixtures below load into the session's store:

    shell_image     busybox, and nothing else
    python_image    Debian with python3, and no kernel
    science_image   the same with ipykernel, numpy and matplotlib
    r_image         Debian with R and IRkernel
    kernel_wheels   a directory with all the wheels that a kernel layer on python_image needs
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold.image.archive.loading import load
from images import built, busybox, debian, debian_python, kernel_layer
from images.layout import Image

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Image", "busybox_image", "debian_image", "debian_python_image"]


@pytest.fixture(scope="session")
def busybox_image() -> Image:
    """An image with whiteouts, an opaque directory, hard links, extended attributes and odd names; busybox.py lists them."""
    return busybox.image()


@pytest.fixture(scope="session")
def debian_image() -> Image:
    """A minimal Debian of this machine's release, in one layer."""
    return debian.image()


@pytest.fixture(scope="session")
def debian_python_image() -> Image:
    """The minimal Debian with two layers more: Debian's python3, and ipykernel in /usr/local."""
    return debian_python.image()


@pytest.fixture(scope="session")
def shell_image(_home: None) -> str:
    """The name of an image of busybox, in the session's store."""
    return _loaded("shell")


@pytest.fixture(scope="session")
def python_image(_home: None) -> str:
    """The name of a Debian with python3 and no kernel, in the session's store."""
    return _loaded("python")


@pytest.fixture(scope="session")
def science_image(_home: None) -> str:
    """The name of a Debian with ipykernel, numpy and matplotlib, in the session's store."""
    return _loaded("science")


@pytest.fixture(scope="session")
def r_image(_home: None) -> str:
    """The name of a Debian with R and IRkernel, in the session's store."""
    return _loaded("r")


@pytest.fixture(scope="session")
def kernel_wheels() -> Path:
    """The wheels of a kernel layer on `python_image`: what CELLHOLD_WHEELS can name."""
    return kernel_layer.wheels_directory()


def _loaded(name: str) -> str:
    """Have an image of built.py in the store."""
    made = built.image(name)
    with made.archive.open("rb") as archive:
        load(archive)
    return made.name
