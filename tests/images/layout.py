"""An image in an OCI layout, and how umoci makes one out of tar archives."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CREATED = "2024-01-01T00:00:00Z"  # what does not change with the day it is made keeps its digest
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TAG = "1"
_ROOM_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image on disk: a directory as image-spec's image-layout.md has it, and the tag in there. Nobody may write to it."""

    layout: Path
    tag: str = _TAG

    @property
    def source(self) -> str:
        """What skopeo calls it."""
        return f"oci:{self.layout}:{self.tag}"


def need(*programs: str) -> None:
    """Skip the test without root, or where a program is missing; a program's Debian package has its name."""
    if os.geteuid() != 0:
        pytest.skip("test images cannot be made: only root can write files with the owners that they are to have")
    if missing := [program for program in programs if shutil.which(program) is None]:
        pytest.skip(f"test images cannot be made: programs are missing; apt install {' '.join(missing)}")


def start(place: Path) -> Image:
    """An image without layers, in the empty directory `place`."""
    image = Image(layout=place / "layout")
    call("umoci", "init", "--layout", str(image.layout))
    call("umoci", "new", "--image", _name(image))
    return image


def derive(place: Path, parent: Image) -> Image:
    """An image with the layers of `parent`, in the empty directory `place`."""
    image = Image(layout=place / "layout", tag=parent.tag)
    shutil.copytree(parent.layout, image.layout)
    return image


def add_layer(image: Image, archive: Path, *, instruction: str) -> None:
    """Put an uncompressed tar archive on top, compressed with gzip; `instruction` is what the history says."""
    told = ("--history.created", CREATED, "--history.created_by", instruction)
    call("umoci", "raw", "add-layer", "--image", _name(image), *told, str(archive))


def configure(image: Image, *options: str) -> None:
    """Set the config: options of umoci-config(1). The history gets a line without a layer."""
    told = ("--created", CREATED, "--history.created", CREATED, "--history.created_by", f"CONFIG {' '.join(options)}")
    call("umoci", "config", "--image", _name(image), *told, *options)


def archive(tree: Path, into: Path, names: Sequence[str] = (), *, below: str = "") -> Path:
    """Pack what lies below `tree`, with owners and attributes, with GNU tar; all files get one time.

    With `names` of files and directories: just these, as root's, and in the archive they lie `below` a directory.
    """
    form = ("--format=posix", "--pax-option=delete=atime,delete=ctime", "--sort=name", f"--mtime={CREATED}", "--numeric-owner")
    what: tuple[str, ...] = ("--xattrs", "--xattrs-include=*", ".")
    if names:
        listed = into.with_suffix(".names")
        listed.write_bytes(b"".join(name.encode() + b"\0" for name in names))
        what = (
            "--no-recursion",
            f"--transform=s,^,{below}/,",
            "--owner=0",
            "--group=0",
            "--mode=u=rwX,go=rX",
            "--null",
            f"--files-from={listed}",
        )
    call("tar", "--create", f"--file={into}", *form, f"--directory={tree}", *what)
    return into


@contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """A directory for what is thousands of files and soon gone: in memory, where writing and removing them costs next to nothing.

    There is one for each `place`, so that what a killed session left is found by the next.
    """
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES
    work = memory / f"cellhold-{place.name}" if roomy else place / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        shutil.rmtree(work)


def call(*command: str, directory: Path | None = None) -> str:
    """Run a program and return what it printed. Raises RuntimeError with its last words when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=directory)
    if done.returncode != 0:
        raise RuntimeError(f"cannot make a test image: {' '.join(command)[:500]}: status {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def _name(image: Image) -> str:
    return f"{image.layout}:{image.tag}"
