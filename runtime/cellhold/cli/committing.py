"""cellhold diff, commit, export: what a container has written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellhold.cli import files, signals, table
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse


def add(commands: Any) -> None:
    """Add the commands and their flags."""
    comparing = commands.add_parser(
        "diff", help="list what a container has changed", description="List what a container has added (A), changed (C) and deleted (D)."
    )
    comparing.add_argument("container", metavar="CONTAINER")
    comparing.set_defaults(run=diff)
    keeping = commands.add_parser(
        "commit",
        help="make an image of what a container has written",
        description="Make an image from a running container's image and what the container has written.",
    )
    keeping.add_argument("container", metavar="CONTAINER")
    keeping.add_argument("name", metavar="NAME[:TAG]", nargs="?")
    keeping.add_argument("-a", "--author", metavar="WHO", help="the author of the image")
    keeping.add_argument("-m", "--message", metavar="TEXT", help="a comment for its history")
    keeping.add_argument("--no-pause", dest="pause", action="store_false", help="do not freeze the container meanwhile")
    keeping.set_defaults(run=commit)
    exporting = commands.add_parser(
        "export", help="write a container's root file system as a tar", description="Write a container's root file system as a tar."
    )
    exporting.add_argument("container", metavar="CONTAINER")
    exporting.add_argument("-o", "--output", metavar="FILE", help="the archive (default: standard output, unless that is a terminal)")
    exporting.set_defaults(run=export)


@signals.interruptible()
def diff(arguments: argparse.Namespace) -> int:
    """Print the changes."""
    from cellhold.container import commit as committing  # noqa: PLC0415  # what only images need is not loaded for containers

    for change in committing.diff(arguments.container, open_home()).changes:
        print(f"{change.kind} {table.printable(change.path)}")
    return 0


@signals.interruptible()
def commit(arguments: argparse.Namespace) -> int:
    """Make the image; print its id."""
    from cellhold.container import commit as committing  # noqa: PLC0415

    made = committing.commit(
        arguments.container, arguments.name, open_home(), author=arguments.author, message=arguments.message, pause=arguments.pause
    )
    print(made.id)
    return 0


@signals.interruptible()
def export(arguments: argparse.Namespace) -> int:
    """Write the tar."""
    from cellhold.container import commit as committing  # noqa: PLC0415

    return files.write(arguments.output, lambda file: committing.export(arguments.container, file, open_home()))
