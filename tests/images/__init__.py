"""Images for the tests: OCI layouts that GNU tar and umoci make, once for all sessions.

    busybox_image          two layers of small files, with all that one layer can say of those below it: 2 MiB

A test that asks for none makes none; kept.py says where they stay. Nothing here is made by Cellhold: these are what others make of
the specification.
"""

from __future__ import annotations

import pytest

from images import busybox
from images.layout import Image

__all__ = ["Image", "busybox_image"]


@pytest.fixture(scope="session")
def busybox_image() -> Image:
    """An image with whiteouts, an opaque directory, hard links, extended attributes and odd names; busybox.py lists them."""
    return busybox.image()
