"""cellhold volume: what outlives containers, by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cellhold.cli import damage, options, table
from cellhold.cli.lifecycle import each
from cellhold.container.recovery import sweep, tidy
from cellhold.rootfs import volumes
from cellhold.spec.units import size
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse


def add(commands: Any) -> None:
    """Add the command and its own commands."""
    top = commands.add_parser(
        "volume", help="volumes: what outlives containers", description="Directories that outlive containers, by name."
    )
    words = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    making = words.add_parser("create", help="make one", description="Make a volume; one that is there already stays as it is.")
    making.add_argument("-l", "--label", metavar="NAME[=VALUE]", action="append", default=[])
    making.add_argument("name", nargs="?", metavar="NAME")
    making.set_defaults(run=create)
    listing = words.add_parser("ls", help="list them", description="List volumes.")
    listing.add_argument("-q", "--quiet", action="store_true", help="print only names")
    listing.add_argument("--format", choices=("table", "json"), default="table", help="json: one object a line")
    listing.set_defaults(run=show_list)
    looking = words.add_parser("inspect", help="all that is known of them", description="Print what is known of volumes.")
    looking.add_argument("name", nargs="+", metavar="NAME")
    looking.set_defaults(run=inspect)
    removing = words.add_parser("rm", help="remove them", description="Remove volumes that no container has, and what is in them.")
    removing.add_argument("-f", "--force", action="store_true", help="damaged ones, too; those that are not there are no error")
    removing.add_argument("name", nargs="+", metavar="NAME")
    removing.set_defaults(run=remove)
    pruning = words.add_parser(
        "prune", help="remove those that no container has", description="Remove anonymous volumes that no container has."
    )
    pruning.add_argument("-a", "--all", action="store_true", help="those with names, too")
    pruning.add_argument("-f", "--force", action="store_true", help="do not ask (we never do)")
    pruning.set_defaults(run=prune)


def create(arguments: argparse.Namespace) -> int:
    """Make it, and print its name."""
    print(volumes.create(arguments.name, open_home(), labels=dict(map(options.label, arguments.label))).name)
    return 0


def show_list(arguments: argparse.Namespace) -> int:
    """A row for each."""
    home = open_home()
    found, broken = volumes.list_readable(home), volumes.unreadable(home)
    damage.tell(broken)
    names = sorted([*(one.name for one in found), *(one.name for one in broken)])
    if arguments.quiet:
        print("\n".join(names), end="\n" if names else "")
        return 0
    words = {one.name: damage.word(one) for one in broken}
    rows = [{"driver": words.get(name, "local"), "volume_name": name} for name in names]
    table.show(rows, ["driver", "volume_name"], form=arguments.format)
    return 0


def inspect(arguments: argparse.Namespace) -> int:
    """Print a list with an object for each."""
    home = open_home()
    found = [volumes.find(name, home) for name in arguments.name]
    print(json.dumps([inspected(one) for one in found], indent=4))
    return 0


def inspected(volume: volumes.Volume) -> dict[str, Any]:
    """The object that `docker volume inspect` prints."""
    return {
        "CreatedAt": datetime.fromtimestamp(volume.created, UTC).isoformat(),
        "Driver": "local",
        "Labels": dict(volume.labels) or None,
        "Mountpoint": str(volume.data),
        "Name": volume.name,
        "Options": None,
        "Scope": "local",
        "UsageData": {"Size": volume.used_bytes(), "RefCount": len(volumes.users(volume.name, open_home()))},
    }


def remove(arguments: argparse.Namespace) -> int:
    """Remove each; what a crash has left of containers, which may have them, goes first."""
    home = open_home()
    sweep(home)
    return each(arguments.name, lambda name: volumes.remove(name, home, force=arguments.force))


def prune(arguments: argparse.Namespace) -> int:
    """Remove them, and say which, and what that gave back."""
    home = open_home()
    freed = tidy(home)
    sizes = {one.name: one.used_bytes() for one in volumes.list_readable(home)}
    gone = volumes.prune(home, named=arguments.all)
    if gone:
        print("Deleted Volumes:")
    for one in gone:
        print(one.name)
    print(f"\nTotal reclaimed space: {size(freed + sum(sizes[one.name] for one in gone))}")
    return 0
