"""cellhold load, save: images from and to files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellhold.cli import bars
from cellhold.errors import ImageNotFound, InvalidSpec
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse


def add(commands: Any) -> None:
    """Add the commands and their flags."""
    loading = commands.add_parser(
        "load", help="images from an archive", description="Load images from a tar of docker's or OCI's, or a layout."
    )
    loading.add_argument(
        "-i", "--input", metavar="FILE", help="a tar (compressed or not) or an OCI layout's directory (default: standard input)"
    )
    loading.add_argument("-q", "--quiet", action="store_true", help="print only the names")
    loading.set_defaults(run=load)
    saving = commands.add_parser(
        "save", help="images to an archive", description="Save images as a tar that docker, podman and skopeo load."
    )
    saving.add_argument("image", nargs="+", metavar="IMAGE")
    saving.add_argument("-o", "--output", metavar="FILE", help="where to (default: standard output, unless that is a terminal)")
    saving.add_argument("--format", choices=("archive", "oci-dir"), default="archive", help="oci-dir: an OCI layout, as a directory")
    saving.set_defaults(run=save)
    add_import(commands)


def add_import(commands: Any) -> None:
    """import, image import."""
    command = commands.add_parser(
        "import",
        help="an image from a tar of a root file system",
        description="Make an image of one layer from a tar of a root file system.",
    )
    command.add_argument("file", metavar="FILE|-")
    command.add_argument("name", metavar="NAME[:TAG]", nargs="?")
    command.add_argument("-m", "--message", metavar="TEXT", help="a comment for its history")
    command.set_defaults(run=import_)


def import_(arguments: argparse.Namespace) -> int:
    """Make the image, and print its id."""
    from cellhold.image.archive.importing import import_root  # noqa: PLC0415

    message = arguments.message or f"Imported from {arguments.file}"
    try:
        with sys.stdin.buffer if arguments.file == "-" else Path(arguments.file).open("rb") as source:
            made = import_root(source, arguments.name, open_home(), message=message)
    except FileNotFoundError as error:
        raise ImageNotFound(f"cannot import {arguments.file}: no such file") from error
    print(made.id)
    return 0


def load(arguments: argparse.Namespace) -> int:
    """Load it."""
    from cellhold.image.archive.loading import load as load_images  # noqa: PLC0415  # what only images need is not loaded for containers

    if arguments.input is None and sys.stdin.isatty():
        raise InvalidSpec("cannot load an archive from a terminal", hint="cellhold load -i FILE, or < FILE")
    source = Path(arguments.input) if arguments.input is not None else sys.stdin.buffer
    with bars.shown("none" if arguments.quiet else "auto", sys.stdout) as tell:
        for image in load_images(source, tell=tell):
            print(image.name if arguments.quiet else f"Loaded image: {image.name}" if image.names else f"Loaded image ID: {image.id}")
    return 0


def save(arguments: argparse.Namespace) -> int:
    """Save them, each under the name that it is asked for by; by an id under all of its names."""
    from cellhold.image import stored  # noqa: PLC0415
    from cellhold.image.archive import saving  # noqa: PLC0415

    home = open_home()
    found = [(image := stored.find(name, home), stored.name_as(name, image)) for name in arguments.image]
    if arguments.format == "oci-dir":
        if arguments.output is None:
            raise InvalidSpec("cannot save a directory to standard output", hint="name it: -o DIRECTORY")
        saving.save_layout(found, Path(arguments.output), home=home)
        return 0
    if arguments.output is None and sys.stdout.isatty():
        raise InvalidSpec("cannot save an archive to a terminal", hint="cellhold save -o FILE IMAGE, or > FILE")
    if arguments.output is None:
        saving.save(found, sys.stdout.buffer, home=home)
        return 0
    with Path(arguments.output).open("wb") as file:
        saving.save(found, file, home=home)
    return 0
