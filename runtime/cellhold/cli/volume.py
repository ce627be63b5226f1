"""cellhold volume: named directories that outlive containers."""

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
    """Add the command and its subcommands."""
    top = commands.add_parser("volume", help="manage volumes", description="Manage volumes: named directories that outlive containers.")
    words = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    making = words.add_parser("create", help="make a volume", description="Make a volume; one that exists already stays as it is.")
    making.add_argument("-l", "--label", metavar="NAME[=VALUE]", action="append", default=[])
    making.add_argument("name", nargs="?", metavar="NAME")
    making.set_defaults(run=create)
    listing = words.add_parser("ls", help="list volumes", description="List volumes.")
    listing.add_argument("-q", "--quiet", action="store_true", help="print only names")
    listing.add_argument("--format", choices=("table", "json"), default="table", help="json: one object per line")
    listing.set_defaults(run=show_list)
    looking = words.add_parser("inspect", help="describe volumes, as JSON", description="Print all that is known of volumes.")
    looking.add_argument("name", nargs="+", metavar="NAME")
    looking.set_defaults(run=inspect)
    removing = words.add_parser("rm", help="remove volumes", description="Remove volumes that no container uses, with their content.")
    removing.add_argument("-f", "--force", action="store_true", help="damaged volumes, too; ignore volumes that do not exist")
    removing.add_argument("name", nargs="+", metavar="NAME")
    removing.set_defaults(run=remove)
    pruning = words.add_parser("prune", help="remove unused volumes", description="Remove anonymous volumes that no container uses.")
    pruning.add_argument("-a", "--all", action="store_true", help="volumes with names, too")
    pruning.add_argument("-f", "--force", action="store_true", help="do not ask for confirmation (always so)")
    pruning.set_defaults(run=prune)


def create(arguments: argparse.Namespace) -> int:
    """Make the volume; print its name."""
    print(volumes.create(arguments.name, open_home(), labels=dict(map(options.label, arguments.label))).name)
    return 0


def show_list(arguments: argparse.Namespace) -> int:
    """Print a row for each volume."""
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
    """Return the object that `docker volume inspect` prints."""
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
    """Remove each; containers that a crash left, which may use them, go first."""
    home = open_home()
    sweep(home)
    return each(arguments.name, lambda name: volumes.remove(name, home, force=arguments.force))


def prune(arguments: argparse.Namespace) -> int:
    """Remove unused volumes; print their names and the space freed."""
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
