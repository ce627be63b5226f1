"""The minimal Debian with a layer of python3, Debian's own, and ipykernel from wheels for that Python.

As little as runs `python3 -m ipykernel_launcher`: no debugger (28 MB), nothing compiled, no list of what is installed.
"""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

import pytest

from images import debian, kept, layout, packages
from images.layout import PATH, Image

# Packages whose names hold Python's version, and then the libraries that its modules and the wheels are linked with.
_PYTHON = "python3-minimal {python}-minimal lib{python}-minimal lib{python}-stdlib".split()
_LIBRARIES = "libexpat1 libffi8 libsqlite3-0 libuuid1 libcrypt1 libstdc++6 libssl3 libssl3t64".split()
_MANUALS = ("doc", "man", "lintian", "bug", "applications", "pixmaps", "icons", "menu")
_KERNEL = "ipykernel>=7,<8"
_UNUSED = ("debugpy", "bin")
_CMD = "python3 -m ipykernel_launcher -f /run/connection.json".split()


def image() -> Image:
    """Make it, or find it."""
    parent = debian.image()
    layout.need("dpkg-deb")
    texts = "".join(Path(str(module)).read_text() for module in (__file__, layout.__file__))
    recipe = f"{texts} {parent.layout} {_python()}"
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
        tree = work / "tree"
        tree.mkdir(mode=0o755)
        _unpack_python(work / "packages", tree)
        _unpack_kernel(tree / f"usr/local/lib/{_python()}/dist-packages")
        archive = layout.archive(tree, work / "layer.tar", "usr", "etc")
        layout.add_layer(made, archive, instruction=f"python3 and {_KERNEL}")
    layout.configure(made, *(word for part in _CMD for word in ("--config.cmd", part)), "--config.env", PATH)


def _unpack_python(downloads: Path, tree: Path) -> None:
    """Debian's packages, above links as /usr is merged in the layer below; those stay out of the archive."""
    names = [name.format(python=_python()) for name in (*_PYTHON, *_LIBRARIES)]
    downloads.mkdir()
    packages.fresh(lambda: packages.cut(names, downloads / "lists").download(downloads))
    for name in ("bin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for package in sorted(downloads.glob("*.deb")):
        layout.call("dpkg-deb", "--extract", str(package), str(tree))
    for name in _MANUALS:
        shutil.rmtree(tree / "usr/share" / name, ignore_errors=True)
    shutil.rmtree(downloads)


def _unpack_kernel(into: Path) -> None:
    """Wheels as pip finds them, for the image's Python and not for ours."""
    version = _python().removeprefix("python")
    platforms = [f"--platform={tag}_{platform.machine()}" for tag in ("manylinux_2_28", "manylinux2014", "manylinux_2_17")]
    target = ("--target", str(into), "--no-compile", "--only-binary=:all:", "--python-version", version, "--implementation", "cp")
    layout.call(sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-script-location", *target, *platforms, _KERNEL)
    for name in _UNUSED:
        shutil.rmtree(into / name, ignore_errors=True)
    for leftover in into.glob("debugpy-*"):
        shutil.rmtree(leftover)
