"""Debian packages for test images: the machine's own release, from the sources and the lists that its apt has.

Reading apt's lists again, once for each of its runs, is most of what a small image costs, so they are not downloaded again.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from images.layout import call

if TYPE_CHECKING:
    from collections.abc import Callable

_FORMAT = "$(ORIGIN)\t$(RELEASE)\t$(COMPONENT)\t$(REPO_URI)\t$(FILENAME)"
_ORIGINS = ("Debian", "Ubuntu")


class Index(NamedTuple):
    """A list of packages that apt has on disk."""

    suite: str
    component: str
    uri: str
    file: Path

    def source(self) -> str:
        """It as a line of sources.list. Trusted: apt checked the signature when it got the list, and packages are checked by that."""
        return f"deb [trusted=yes] {self.uri} {self.suite} {self.component}"


def suite() -> str:
    """The release of this machine, which is the one of the images: "bookworm"."""
    return _release().get("VERSION_CODENAME", "")


def release() -> str:
    """What of this machine makes an image another one."""
    return f"{suite()} {platform.machine()}"


def indexes() -> list[Index]:
    """The lists of Debian's own packages that this machine's apt uses; skips on other systems than Debian and Ubuntu."""
    if not any(system in _release().get("ID", "") for system in ("debian", "ubuntu")):
        pytest.skip("test images cannot be made: this machine is neither Debian nor Ubuntu")
    return _there() or _updated()


def fresh(make: Callable[[], None]) -> None:
    """Do what downloads packages; once more with new lists if that fails, since a package goes when it gets an update."""
    try:
        make()
    except RuntimeError:
        _updated()
        make()


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _there() -> list[Index]:
    lines = call("apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages").splitlines()
    found = [
        (origin, Index(name, component, uri, Path(file))) for origin, name, component, uri, file in (line.split("\t") for line in lines)
    ]
    return [index for origin, index in found if origin in _ORIGINS and index.suite.startswith(suite()) and index.file.exists()]


def _updated() -> list[Index]:
    call("apt-get", "-qq", "update")
    return _there()
