"""cellhold network: the networks that connect containers."""

from __future__ import annotations

import json
from argparse import BooleanOptionalAction
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cellhold.cli import damage, options, table
from cellhold.cli.lifecycle import each
from cellhold.container import inventory
from cellhold.container.recovery import sweep
from cellhold.errors import CellholdError
from cellhold.network import hotplug, leases, networks
from cellhold.spec.networks import BRIDGE
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse

    from cellhold.network.model import Network

_SHORT = 12


def add(commands: Any) -> None:
    """Add the command and its subcommands."""
    top = commands.add_parser(
        "network",
        help="manage networks",
        description="Manage networks: bridges of this host, each with a subnet. Containers on one network find each other by name.",
    )
    words = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    making = words.add_parser("create", help="make a network", description="Make a network, and print its id.")
    making.add_argument(
        "--subnet",
        metavar="SUBNET",
        action="append",
        default=[],
        help="a subnet: 10.99.0.0/24, or for IPv6 fd00:99::/64 (default: free ones)",
    )
    making.add_argument("--gateway", metavar="IP", action="append", default=[], help="this host's address in a subnet (default: the first)")
    making.add_argument("--ipv6", action=BooleanOptionalAction, help="use IPv6, too (default: if this host supports it)")
    making.add_argument("--internal", action="store_true", help="no connections beyond the network")
    making.add_argument(
        "--dns", metavar="IP", action="append", default=[], help="a server for names outside of the network (default: this host's)"
    )
    making.add_argument("-l", "--label", metavar="NAME[=VALUE]", action="append", default=[])
    making.add_argument("name", metavar="NAME")
    making.set_defaults(run=create)
    listing = words.add_parser("ls", help="list networks", description="List networks.")
    listing.add_argument("-q", "--quiet", action="store_true", help="print only ids")
    listing.add_argument("--format", choices=("table", "json"), default="table", help="json: one object per line")
    listing.set_defaults(run=show_list)
    looking = words.add_parser(
        "inspect", help="describe networks, as JSON", description="Print all that is known of networks and of the containers on them."
    )
    looking.add_argument("name", nargs="+", metavar="NAME")
    looking.set_defaults(run=inspect)
    removing = words.add_parser("rm", help="remove networks", description="Remove networks that no container is on.")
    removing.add_argument("-f", "--force", action="store_true", help="damaged networks, too; ignore networks that do not exist")
    removing.add_argument("name", nargs="+", metavar="NAME")
    removing.set_defaults(run=remove)
    pruning = words.add_parser("prune", help="remove unused networks", description="Remove networks that no container is on.")
    pruning.add_argument("-f", "--force", action="store_true", help="do not ask for confirmation (always so)")
    pruning.set_defaults(run=prune)
    connecting = words.add_parser(
        "connect", help="connect a running container", description="Connect a running container to one more network."
    )
    connecting.add_argument("--alias", metavar="NAME", action="append", default=[], help="one more name of the container on that network")
    connecting.add_argument("network", metavar="NETWORK")
    connecting.add_argument("container", metavar="CONTAINER")
    connecting.set_defaults(run=connect)
    leaving = words.add_parser(
        "disconnect", help="disconnect a running container", description="Disconnect a running container from a network."
    )
    leaving.add_argument("-f", "--force", action="store_true", help="has no effect")
    leaving.add_argument("network", metavar="NETWORK")
    leaving.add_argument("container", metavar="CONTAINER")
    leaving.set_defaults(run=disconnect)


def create(arguments: argparse.Namespace) -> int:
    """Make the network; print its id."""
    made = networks.create(
        arguments.name,
        open_home(),
        subnets=arguments.subnet,
        gateways=arguments.gateway,
        ipv6=arguments.ipv6,
        internal=arguments.internal,
        dns=arguments.dns,
        labels=dict(map(options.label, arguments.label)),
    )
    print(made.id)
    return 0


def show_list(arguments: argparse.Namespace) -> int:
    """Print a row for each network."""
    home = open_home()
    with suppress(CellholdError):  # it always exists, unless it cannot be made now, or is damaged
        networks.find(BRIDGE, home)
    found, broken = networks.every(home), networks.unreadable(home)
    damage.tell(broken)
    if arguments.quiet:
        print("\n".join([*(one.id for one in found), *(one.name for one in broken)]))
        return 0
    rows = [
        {
            "network_id": one.id[:_SHORT],
            "name": one.name,
            "driver": "bridge",
            "subnet": one.subnet,
            "containers": str(len(leases.of(one, home))),
        }
        for one in found
    ]
    unknown = dict.fromkeys(("network_id", "subnet", "containers"), "--")
    rows += [{**unknown, "name": one.name, "driver": damage.word(one)} for one in broken]
    table.show(rows, ["network_id", "name", "driver", "subnet", "containers"], form=arguments.format)
    return 0


def inspect(arguments: argparse.Namespace) -> int:
    """Print a list with an object for each."""
    home = open_home()
    print(json.dumps([inspected(networks.find(name, home)) for name in arguments.name], indent=4))
    return 0


def inspected(network: Network) -> dict[str, Any]:
    """Return the object that `docker network inspect` prints."""
    pools = [{"Subnet": network.subnet, "Gateway": network.gateway}]
    if network.subnet6:
        pools.append({"Subnet": network.subnet6, "Gateway": network.gateway6})
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": datetime.fromtimestamp(network.created, UTC).isoformat(),
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv6": bool(network.subnet6),
        "IPAM": {"Driver": "default", "Config": pools},
        "Internal": network.internal,
        "Containers": {
            lease.container: {
                "Name": lease.names[0],
                "MacAddress": lease.hardware_address,
                "IPv4Address": f"{lease.address}/{network.prefix}",
                "IPv6Address": f"{lease.address6}/64" if lease.address6 else "",
                "Aliases": list(lease.names[1:]),
            }
            for lease in leases.of(network, open_home())
        },
        "Options": {"com.docker.network.bridge.name": network.bridge},
        "Labels": dict(network.labels),
    }


def remove(arguments: argparse.Namespace) -> int:
    """Remove each."""
    home = open_home()
    sweep(home)  # what a crash has left may be on it
    return each(arguments.name, lambda name: networks.remove(name, home, force=arguments.force))


def prune(_arguments: argparse.Namespace) -> int:
    """Remove unused networks; print their names."""
    home = open_home()
    sweep(home)
    if gone := networks.prune(home, needed=inventory.networks(home)):
        print("Deleted Networks:", *gone, sep="\n")
    return 0


def connect(arguments: argparse.Namespace) -> int:
    """Connect the container to one more network."""
    home = open_home()
    hotplug.connect(inventory.find(arguments.container, home), arguments.network, home, aliases=arguments.alias)
    return 0


def disconnect(arguments: argparse.Namespace) -> int:
    """Disconnect the container from a network."""
    home = open_home()
    hotplug.disconnect(inventory.find(arguments.container, home), arguments.network, home)
    return 0
