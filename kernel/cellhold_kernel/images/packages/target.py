"""The Python that a set of packages is for, and which wheels fit it."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.errors import NotSupported
from cellhold_kernel.images.found import version_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold_kernel.images.found import Python

OLDEST = (3, 8)  # that uv resolves for
MACHINES = ("x86_64", "aarch64")


@dataclass(frozen=True, kw_only=True)
class PythonTarget:
    """path.

    As scripts name it in their first line. glibc: its version, None with another libc.

    micro: of the version, 0 where that is not known.
    """

    path: str
    version: tuple[int, int]
    micro: int = 0
    libc: str
    glibc: tuple[int, int] | None
    machine: str

    def key(self) -> list[object]:
        """Return all that a layer for it depends on."""
        return [self.path, *self.version, self.libc, *(self.glibc or ()), self.machine]

    def __str__(self) -> str:
        """As in: Python 3.12 (musl, x86_64)."""
        return f"{version_text(self.version)} ({self.libc}, {self.machine})"

    def markers(self) -> Mapping[str, str]:
        """Return its environment as markers know it (PEP 508)."""
        short = "{}.{}".format(*self.version)
        full = f"{short}.{self.micro}"
        return {
            "implementation_name": "cpython",
            "implementation_version": full,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": full,
            "python_version": short,
            "sys_platform": "linux",
        }

    def ranks(self) -> dict[str, int]:
        """Return tag -> rank, 0 for the best, of each tag of a wheel that fits (PEP 425)."""
        from packaging import tags  # noqa: PLC0415  # 50 ms, for a set that is not here

        platforms = [*self._platforms(), f"linux_{self.machine}"]
        interpreter = "cp{}{}".format(*self.version)
        found = [
            *tags.cpython_tags(self.version, abis=[interpreter], platforms=platforms),
            *tags.compatible_tags(self.version, interpreter, platforms),
        ]
        return {str(tag): rank for rank, tag in enumerate(dict.fromkeys(found))}

    def _platforms(self) -> tuple[str, ...]:
        from cellhold_kernel.images.wheels import Target  # noqa: PLC0415  # as above

        return Target(version=self.version, libc=self.libc, machine=self.machine, glibc=self.glibc).platforms()


def of_this_host() -> PythonTarget:
    """Return the Python that runs us, which is the `host` image's too.

    Raises NotSupported.
    """
    glibc = _glibc()
    made = PythonTarget(
        path=sys.executable,
        version=sys.version_info[:2],
        micro=sys.version_info.micro,
        libc="musl" if glibc is None else "glibc",
        glibc=glibc,
        machine=os.uname().machine,
    )
    return _checked(made, sys.executable)


def of_image(python: Python | None, image: str) -> PythonTarget:
    """Return a Python that was found in an image.

    Raises NotSupported where it has none, or a fact is not known.
    """
    if python is None:
        raise NotSupported(
            f"cannot use packages with image={image}: it has no Python", hint="%%dockerfile builds an image with what it needs"
        )
    if python.version is None or python.libc is None or python.machine is None:
        unknown = "its version" if python.version is None else "its C library" if python.libc is None else "which machine it is for"
        raise NotSupported(f"cannot use packages with {python.path} of the image: there is no telling {unknown}")
    glibc = python.glibc if python.libc == "glibc" else None
    return _checked(
        PythonTarget(path=python.path, version=python.version, libc=python.libc, glibc=glibc, machine=python.machine), python.path
    )


def _checked(target: PythonTarget, path: str) -> PythonTarget:
    if target.version < OLDEST:
        raise NotSupported(
            f"cannot use packages with {path}: it is {version_text(target.version)}, and {version_text(OLDEST)} is the oldest"
        )
    if target.machine not in MACHINES:
        raise NotSupported(f"cannot use packages with {path}: there are no wheels for {target.machine}")
    return target


def _glibc() -> tuple[int, int] | None:
    """Return this host's; None: it has another C library."""
    try:
        words = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (ValueError, OSError):
        words = list(platform.libc_ver())
    numbers = words[1].split(".") if len(words) > 1 and words[0] == "glibc" else []
    return (int(numbers[0]), int(numbers[1])) if len(numbers) > 1 else None


def site_packages(target: PythonTarget) -> str:
    """Return where modules lie in a layer."""
    return "lib/python{}.{}/site-packages".format(*target.version)
