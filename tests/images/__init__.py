"""Images for the tests: OCI layouts that GNU tar, mmdebstrap, dpkg, pip and umoci make out of Debian's packages, once for all sessions.

    busybox_image          two layers of small files, with all that one layer can say of those below it: 2 MiB
    debian_image           one layer: the least of Debian that has a shell and GNU's tools, without apt
    debian_python_image    the same layer, one with python3, and one with ipykernel, which is what it runs

A test that asks for none makes none; kept.py says where they stay. Nothing here is made by Cellhold: these are what others make of
the specification.
"""

from __future__ import annotations

import pytest

from images import busybox, debian, debian_python
from images.layout import Image

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
