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
        "diff", help="what a container has changed", description="List what a container has added (A), changed (C), deleted (D)."
    )
    comparing.add_argument("container", metavar="CONTAINER")
    comparing.set_defaults(run=diff)
    keeping = commands.add_parser(
        "commit", help="an image of what a container has written", description="Make an image of a container that runs."
    )
    keeping.add_argument("container", metavar="CONTAINER")
    keeping.add_argument("name", metavar="NAME[:TAG]", nargs="?")
    keeping.add_argument("-a", "--author", metavar="WHO", help="who made it")
    keeping.add_argument("-m", "--message", metavar="TEXT", help="a comment for its history")
    keeping.add_argument("--no-pause", dest="pause", action="store_false", help="let it run on meanwhile")
    keeping.set_defaults(run=commit)
    exporting = commands.add_parser(
        "export", help="a container's root file system as a tar", description="Write a container's files as a tar."
    )
    exporting.add_argument("container", metavar="CONTAINER")
    exporting.add_argument("-o", "--output", metavar="FILE", help="where to (default: standard output, unless that is a terminal)")
    exporting.set_defaults(run=export)


@signals.heard()
def diff(arguments: argparse.Namespace) -> int:
    """List the changes."""
    from cellhold.container import commit as committing  # noqa: PLC0415  # what only images need is not loaded for containers

    for change in committing.diff(arguments.container, open_home()).changes:
        print(f"{change.kind} {table.printable(change.path)}")
    return 0


@signals.heard()
def commit(arguments: argparse.Namespace) -> int:
    """Make the image, and print its id."""
    from cellhold.container import commit as committing  # noqa: PLC0415

    made = committing.commit(
        arguments.container, arguments.name, open_home(), author=arguments.author, message=arguments.message, pause=arguments.pause
    )
    print(made.id)
    return 0


@signals.heard()
def export(arguments: argparse.Namespace) -> int:
    """Write the tar."""
    from cellhold.container import commit as committing  # noqa: PLC0415

    return files.written(arguments.output, lambda file: committing.export(arguments.container, file, open_home()))
