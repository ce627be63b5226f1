"""The images that `cellhold build` makes of the Dockerfiles beside this: shell, python, science, r. Their contexts are prepared here.

    NAME/Dockerfile            what is built; `ARG BASE` is the minimal Debian (debian.py), `ARG PYTHON` the image python
    unpack.sh  unwanted        shared by those that take Debian's packages

A build has no network, so its context has all of it:

    packages/*.deb             Debian's packages, with what they depend on and the image below has not
    tools/*.tar                the files of dpkg and tar and of their libraries, with which a stage unpacks those
    busybox                    this machine's

A finished image is kept as the archive that `cellhold save` writes (kept.py).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from images import debian, depending, kept, layout, packages

_HERE = Path(__file__).parent
_SHARED = ("unpack.sh", "unwanted")
_TOOLS = ("dpkg", "tar", "libmd0", "zlib1g", "libbz2-1.0", "liblzma5", "libzstd1")
# Who asks for these can do without: programs for people at a terminal, for X, for whoever compiles, debugs or installs.
_UNUSED = (
    "debconf dpkg tar perl ucf sensible-utils debianutils media-types mailcap mime-support tzdata openssl ca-certificates readline-common "
    "zip unzip xdg-utils libpaper-utils x11-common fontconfig libtcl8.6 libtk8.6 libxt6 libxt6t64 libxft2 libxss1 libcurl4 libcurl4t64 "
    "python3-debugpy python3-setuptools python3-pkg-resources python3-distutils python3-lib2to3 python3-fonttools python3-scipy "
    "python3-pil.imagetk python3-tk libjs-jquery libjs-jquery-ui fonts-lyx libraqm0"
).split()
_TOPS = {
    "python": ["python3", "libstdc++6"],  # which pyzmq's wheels are linked with
    "science": ["python3-ipykernel", "python3-numpy", "python3-matplotlib"],
    "r": ["r-cran-irkernel", "bash"],  # R is a script for it
}
_EPOCH = "1704067200"  # layout.CREATED: what does not change keeps its digest
_BUILT = "localhost/tests"


@dataclass(frozen=True, kw_only=True)
class Built:
    """A finished image. archive: the file with it; name: what it is called in there; built: what `cellhold build` said, step by step."""

    archive: Path
    name: str

    @property
    def said(self) -> str:
        """The build's progress."""
        return self.archive.with_name("said").read_text(encoding="utf-8")


def image(name: str) -> Built:
    """Make it, or find it; name: of a directory here."""
    layout.need("busybox" if name == "shell" else "dpkg-deb")
    below = _below(name)
    files = [str(path) for path in (_HERE / name / "Dockerfile", *(_HERE / shared for shared in _SHARED), Path(__file__))]
    recipe = kept.recipe(*files, depending.__file__, also=" ".join([packages.suite(), *(str(path) for _, path in below)]))
    place = kept.directory(f"built-{name}", recipe, lambda place: _make(name, place, dict(below)))
    return Built(archive=place / "image.tar", name=f"{_BUILT}/{name}:1")


def _below(name: str) -> list[tuple[str, Path]]:
    """The images that it is built on: the ARG for each, and where it is."""
    base = [] if name == "shell" else [("BASE", debian.image().layout)]
    return [*base, ("PYTHON", image("python").archive)] if name == "science" else base


def _make(name: str, place: Path, below: dict[str, Path]) -> None:
    store = place / "store"
    with layout.scratch(place) as work:
        context = work / "context"
        shutil.copytree(_HERE / name, context)
        if name == "shell":
            shutil.copy(shutil.which("busybox") or "", context / "busybox")
        else:
            packages.fresh(lambda: _fill(name, context, work))
        arguments = [f"--build-arg={variable}={_load(path, store)}" for variable, path in below.items()]
        said = _cellhold(store, "build", "--progress=plain", f"--tag={_BUILT}/{name}:1", *arguments, str(context))
    (place / "said").write_text(said, encoding="utf-8")
    _cellhold(store, "save", f"--output={place / 'image.tar'}", f"{_BUILT}/{name}:1")
    _cellhold(store, "rmi", "--force", f"{_BUILT}/{name}:1")
    shutil.rmtree(store)


def _fill(name: str, context: Path, work: Path) -> None:
    """Put all that the Dockerfile copies into its context."""
    for shared in _SHARED:
        shutil.copy(_HERE / shared, context)
    places = {directory: context / directory for directory in ("packages", "tools")}
    for directory in places.values():
        shutil.rmtree(directory, ignore_errors=True)  # of the try before
        directory.mkdir()
    lists = packages.cut([*_TOPS[name], *_TOPS["python"], *debian._PACKAGES, *_TOOLS], work / "lists")
    there = depending.needed(debian._PACKAGES, lists)
    if name == "science":
        there |= depending.needed(_TOPS["python"], lists, without={*there, *_UNUSED})
    wanted = depending.needed(_TOPS[name], lists, without={*there, *_UNUSED})
    replace(lists, names=sorted(wanted)).download(places["packages"])
    replace(lists, names=sorted(_TOOLS)).download(places["tools"])
    for package in places["tools"].glob("*.deb"):
        with package.with_suffix(".tar").open("wb") as tar:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=tar, check=True)
        package.unlink()


def _load(image: Path, store: Path) -> str:
    """Its name or id in the store."""
    return _cellhold(store, "load", "--quiet", f"--input={image}").split()[-1]


def _cellhold(store: Path, *arguments: str) -> str:
    """Run the command as its users do; gives what it printed, of a build also how far it was."""
    env = {**os.environ, "CELLHOLD_HOME": str(store), "SOURCE_DATE_EPOCH": _EPOCH, "PYTHONPATH": os.pathsep.join(map(str, _sources()))}
    done = subprocess.run([sys.executable, "-m", "cellhold.cli", *arguments], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"cannot make a test image: cellhold {' '.join(arguments)}: {re.sub('^.*DONE.*$', '', done.stderr)[-2000:]}")
    return done.stderr + done.stdout if arguments[0] == "build" else done.stdout


def _sources() -> list[Path]:
    """Where this checkout has what is tested."""
    root = _HERE.parents[1]
    return [root / "runtime", root / "kernel"]
