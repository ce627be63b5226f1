"""cellhold load, save, import: images from files and to files."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellhold.cli import bars, files, signals
from cellhold.errors import CellholdError, InvalidSpec
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse


def add(commands: Any) -> None:
    """Add the commands and their flags."""
    loading = commands.add_parser(
        "load", help="load images from an archive", description="Load images from a tar (docker's or OCI's) or an OCI layout."
    )
    loading.add_argument(
        "-i", "--input", metavar="FILE", help="a tar (compressed or not) or an OCI layout's directory (default: standard input)"
    )
    loading.add_argument("-q", "--quiet", action="store_true", help="print only the names")
    loading.set_defaults(run=load)
    saving = commands.add_parser(
        "save", help="save images to an archive", description="Save images as a tar that docker, podman and skopeo can load."
    )
    saving.add_argument("image", nargs="+", metavar="IMAGE")
    saving.add_argument("-o", "--output", metavar="FILE", help="the archive (default: standard output, unless that is a terminal)")
    saving.add_argument("--format", choices=("archive", "oci-dir"), default="archive", help="oci-dir: an OCI layout, as a directory")
    saving.set_defaults(run=save)
    add_import(commands)


def add_import(commands: Any) -> None:
    """Add `import`, also of `image`."""
    command = commands.add_parser(
        "import",
        help="make an image from a tar of a root file system",
        description="Make an image of one layer from a tar of a root file system.",
    )
    command.add_argument("file", metavar="FILE|-")
    command.add_argument("name", metavar="NAME[:TAG]", nargs="?")
    command.add_argument("-m", "--message", metavar="TEXT", help="a comment for its history")
    command.set_defaults(run=import_)


@signals.interruptible()
def import_(arguments: argparse.Namespace) -> int:
    """Make the image; print its id."""
    from cellhold.image.archive.importing import import_root  # noqa: PLC0415  # what only images need is not loaded for containers

    message = arguments.message or f"Imported from {arguments.file}"
    with files.reading(arguments.file) as source:
        print(import_root(source, arguments.name, open_home(), message=message).id)
    return 0


@signals.interruptible()
def load(arguments: argparse.Namespace) -> int:
    """Load the images; print their names."""
    from cellhold.image.archive.loading import load as load_images  # noqa: PLC0415

    with ExitStack() as closing:
        is_directory = os.path.isdir(arguments.input or "")  # not Path's, which raises for a name that is too long
        source = Path(arguments.input) if is_directory else closing.enter_context(files.reading(arguments.input))
        tell = closing.enter_context(bars.display("none" if arguments.quiet else "auto", sys.stdout))
        for image in load_images(source, tell=tell):
            print(image.name if arguments.quiet else f"Loaded image: {image.name}" if image.names else f"Loaded image ID: {image.id}")
    return 0


@signals.interruptible()
def save(arguments: argparse.Namespace) -> int:
    """Save the images under the names by which they were requested.

    One that was requested by its id is saved under all of its names.
    """
    from cellhold.image import stored  # noqa: PLC0415
    from cellhold.image.archive import saving  # noqa: PLC0415

    home = open_home()
    images = [(image := stored.find(name, home), stored.name_as(name, image)) for name in arguments.image]
    if arguments.format == "archive":
        return files.write(arguments.output, lambda file: saving.save(images, file, home=home))
    if arguments.output is None:
        raise InvalidSpec("cannot save a directory to standard output", hint="name it: -o DIRECTORY")
    try:
        saving.save_layout(images, Path(arguments.output), home=home)
    except OSError as error:
        raise CellholdError(f"cannot write {arguments.output}: {os.strerror(error.errno or 0)}") from error
    return 0
