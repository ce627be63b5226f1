"""cellhold system df, system prune, info: what there is in the store, and what of it nobody needs."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

from cellhold import __version__, cgroups, containers, volumes
from cellhold.cli import table
from cellhold.detached import Detached
from cellhold.errors import CellholdError
from cellhold.lifecycle import State
from cellhold.network import networks
from cellhold.quantity import size
from cellhold.store import subids, tree
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse

    from cellhold.store.home import Home
    from cellhold.store.record import Record


def add(commands: Any) -> None:
    """Add the commands."""
    top = commands.add_parser("system", help="the store: its use, and clearing it", description="What there is in the store.")
    words = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    using = words.add_parser("df", help="what takes space", description="Show what takes space in the store.")
    using.add_argument("--format", choices=("table", "json"), default="table", help="json: one object a line")
    using.set_defaults(run=df)
    pruning = words.add_parser(
        "prune",
        help="remove what nobody needs",
        description="Remove stopped containers, networks that none is on, and images without a name.",
    )
    pruning.add_argument("-a", "--all", action="store_true", help="all images that no container is made of")
    pruning.add_argument("-f", "--force", action="store_true", help="do not ask")
    pruning.add_argument("--volumes", action="store_true", help="anonymous volumes that no container has, too")
    pruning.set_defaults(run=prune)
    for place in (words, commands):
        telling = place.add_parser("info", help="this host and this store", description="Tell of this host and this store.")
        telling.set_defaults(run=info)


def df(arguments: argparse.Namespace) -> int:
    """A row for each kind."""
    from cellhold.image import description, stored  # noqa: PLC0415  # what only images need is not loaded for containers

    home = open_home()
    known = containers.listed(home)
    images = stored.every(home)
    in_use = {chain for one in known for chain in one.layers}
    used = [image for image in images if any(str(chain) in in_use for chain in image.chain_ids)]
    layers = {chain: home.layers.facts(chain) for image in images for chain in image.chain_ids}
    kept = volumes.every(home)
    needed = [volume for volume in kept if volumes.users(volume.name, home)]
    alive = [one for one in known if one.is_alive]
    sizes = {one.id: _written(one, home) for one in known}
    of_images = sum(facts.size_bytes for facts in layers.values())
    of_unused = sum(description.size_bytes(image, home) for image in images if image not in used)
    rows = [
        _row("Images", len(images), len(used), of_images, min(of_unused, of_images)),
        _row("Containers", len(known), len(alive), sum(sizes.values()), sum(sizes[one.id] for one in known if not one.is_alive)),
        _row(
            "Local Volumes",
            len(kept),
            len(needed),
            sum(one.used_bytes() for one in kept),
            sum(one.used_bytes() for one in kept if one not in needed),
        ),
    ]
    table.show(rows, ["type", "total", "active", "size", "reclaimable"], form=arguments.format)
    return 0


def _row(kind: str, total: int, active: int, used: int, free: int) -> dict[str, str]:
    share = f" ({100 * free // used}%)" if used else ""
    return {"type": kind, "total": str(total), "active": str(active), "size": size(used), "reclaimable": f"{size(free)}{share}"}


def _written(known: Record, home: Home) -> int:
    """Bytes of its writable layer on disk; what belongs to subordinate ids nobody but its root can count, and is left out."""
    try:
        return tree.used_bytes(home.container(known.id) / "storage")
    except OSError:
        return 0


def prune(arguments: argparse.Namespace) -> int:
    """Ask, then remove, and say what that gave back."""
    from cellhold.cli.images import agreed, tell  # noqa: PLC0415  # as above
    from cellhold.image import naming  # noqa: PLC0415

    images = "all images that no container is made of" if arguments.all else "all images without a name"
    more = ", anonymous volumes that no container has" if arguments.volumes else ""
    if not arguments.force and not agreed(f"This removes all stopped containers, networks that none is on, {images}{more}. Go on? [y/N] "):
        return 0
    home, freed = open_home(), 0
    stopped = [one for one in containers.listed(home) if one.kept and one.state in (State.STOPPED, State.CREATED)]
    if stopped:
        print("Deleted Containers:")
    for one in stopped:
        written = _written(one, home)
        try:
            Detached(one.id, home).remove()
        except CellholdError:  # somebody has just started it
            continue
        freed += written
        print(one.id)
    if unused := networks.prune(home, needed=containers.networks(home)):
        print("Deleted Networks:", *unused, sep="\n")
    if arguments.volumes:
        sizes = {one.name: one.used_bytes() for one in volumes.every(home)}
        gone = volumes.prune(home)
        freed += sum(sizes[one.name] for one in gone)
        print("".join(["Deleted Volumes:\n" if gone else "", *(f"{one.name}\n" for one in gone)]), end="")
    removed = naming.prune(home, everything=arguments.all)
    tell(removed)
    freed += removed.freed.size_bytes if removed.freed is not None else 0
    print(f"Total reclaimed space: {size(freed)}")
    return 0


def info(_arguments: argparse.Namespace) -> int:
    """A line for each."""
    from cellhold.image import stored  # noqa: PLC0415  # as above

    home = open_home()
    known = containers.listed(home)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    states = {what: sum(one.state == state for one in known) for what, state in (("Running", "running"), ("Paused", "paused"))}
    lines = {
        "Containers": len(known),
        **{f" {what}": count for what, count in states.items()},
        " Stopped": len(known) - sum(states.values()),
        "Images": len(stored.every(home)),
        "Volumes": len(volumes.every(home)),
        "Cellhold Version": __version__,
        "Store": home.root,
        "Rootless": str(subids.is_rootless()).lower(),
        "Cgroup Controllers": ", ".join(f"{name} ({version})" for name, version in sorted(cgroups.available().items())) or "none",
        "Kernel Version": platform.release(),
        "Architecture": platform.machine(),
        "CPUs": os.cpu_count(),
        "Total Memory": size(memory),
    }
    print("\n".join(f"{name}: {value}" for name, value in lines.items()))
    return 0
