"""The minimal Debian with a layer of python3, Debian's own, and one of ipykernel from wheels for that Python.

As little as runs `python3 -m ipykernel_launcher`: no debugger, nothing compiled, no list of what Debian's part of it is.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from images import debian, kept, layout, packages, wheels
from images.layout import PATH, Image

# Packages whose names hold Python's version, and then the libraries that its modules and the wheels are linked with.
_PYTHON = "python3-minimal {python}-minimal lib{python}-minimal lib{python}-stdlib".split()
_LIBRARIES = "libexpat1 libffi8 libsqlite3-0 libuuid1 libcrypt1 libstdc++6 libssl3 libssl3t64".split()
_SITE = "usr/local/lib/{python}/dist-packages"
_MANUALS = ("doc", "man", "lintian", "bug", "applications", "pixmaps", "icons", "menu")
_CMD = "python3 -m ipykernel_launcher -f /run/connection.json".split()


def image() -> Image:
    """Make it, or find it."""
    parent = debian.image()
    layout.need("dpkg-deb")
    recipe = kept.recipe(__file__, layout.__file__, wheels.__file__, also=f"{parent.layout} {_python()}")
    return Image(layout=kept.directory("debian-python", recipe, lambda place: _make(place, parent)) / "layout")


def _python() -> str:
    """The release's default Python, which the machine has too: "python3.11"."""
    program = Path("/usr/bin/python3")
    if not program.is_symlink():
        pytest.skip("test images cannot be made: this machine's own python3 is missing; apt install python3-minimal")
    return program.readlink().name


def _make(place: Path, parent: Image) -> None:
    made = layout.derive(place, parent)
    with layout.scratch(place) as work:
        tree = _unpack_python(work)
        layout.add_layer(made, layout.archive(tree, work / "python.tar"), instruction=f"dpkg-deb --extract {_python()}")
        kernel = wheels.find(_python(), work)
        packed = layout.archive(kernel.directory, work / "kernel.tar", kernel.names, below=_SITE.format(python=_python()))
        layout.add_layer(made, packed, instruction=f"pip install {wheels.KERNEL}")
    layout.configure(made, *(word for part in _CMD for word in ("--config.cmd", part)), "--config.env", PATH)


def _unpack_python(work: Path) -> Path:
    """Debian's packages, with /usr merged as it is in the layer below: a directory /lib would hide the link that is there."""
    tree, downloads = work / "tree", work / "packages"
    (tree / _SITE.format(python=_python())).mkdir(parents=True)
    downloads.mkdir()
    names = [name.format(python=_python()) for name in (*_PYTHON, *_LIBRARIES)]
    packages.fresh(lambda: packages.cut(names, downloads / "lists").download(downloads))
    for package in sorted(downloads.glob("*.deb")):
        layout.call("dpkg-deb", "--extract", str(package), str(tree))
    for outside in (tree / name for name in ("bin", "sbin", "lib", "lib64") if (tree / name).exists()):
        layout.call("cp", "--archive", "--link", f"{outside}/.", str(tree / "usr" / outside.name))
        shutil.rmtree(outside)
    for name in _MANUALS:
        shutil.rmtree(tree / "usr/share" / name, ignore_errors=True)
    return tree
