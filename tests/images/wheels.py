"""ipykernel and what it needs, as wheels have it, for the Python of an image.

Where the tests themselves run on that Python it is all in their virtual environment already, and lies there; pip, which would fetch
and unpack 9000 files, is asked only for another Python.
"""

from __future__ import annotations

import platform
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from packaging.requirements import Requirement

from images.layout import call

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNEL = "ipykernel>=7,<8"
# More than half of all files: the debugger, and what completion knows of other people's packages.
_UNUSED = ("debugpy", "jedi/third_party/django-stubs", "jedi/third_party/typeshed/stubs", "bin", "share")
_PLATFORMS = ("manylinux_2_28", "manylinux2014", "manylinux_2_17")


class Wheels(NamedTuple):
    """Unpacked wheels: `names` of directories and files below `directory`, which may have others."""

    directory: Path
    names: list[str]


def find(python: str, work: Path) -> Wheels:
    """Find them for `python`, "python3.11", or have them installed below `work`."""
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if python == ours and platform.libc_ver()[0] == "glibc":
        directory = Path(sysconfig.get_path("purelib"))
        paths = {Path(file) for distribution in _needed() for file in distribution.files or () if ".." not in file.parts}
        paths |= {parent for path in paths for parent in path.parents}
    else:
        directory = _install(work / "wheels", python)
        paths = {path.relative_to(directory) for path in directory.rglob("*")} | {Path()}
    return Wheels(directory, sorted(str(path) for path in paths if not _is_unused(path)))


def _is_unused(path: Path) -> bool:
    return path.name == "__pycache__" or path.suffix == ".pyc" or any(path.is_relative_to(unused) for unused in _UNUSED)


def _needed() -> Iterator[metadata.Distribution]:
    done, new = set(_UNUSED), [Requirement(KERNEL).name]
    while new:
        if (name := new.pop().lower()) not in done:
            done.add(name)
            yield (found := metadata.distribution(name))
            wants = map(Requirement, found.requires or ())
            new += [want.name for want in wants if want.marker is None or want.marker.evaluate({"extra": ""})]


def _install(into: Path, python: str) -> Path:
    version = python.removeprefix("python")
    platforms = [f"--platform={tag}_{platform.machine()}" for tag in _PLATFORMS]
    options = ("--target", str(into), "--no-compile", "--only-binary=:all:", "--python-version", version, "--implementation", "cp")
    call(sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-script-location", *options, *platforms, KERNEL)
    return into
