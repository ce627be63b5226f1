"""cellhold system df, system prune, info: the content of the store."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

from cellhold import __version__, cgroups
from cellhold.cli import damage, table
from cellhold.container import inventory
from cellhold.container.detached import Detached
from cellhold.container.recovery import sweep, tidy
from cellhold.errors import CellholdError
from cellhold.network import networks
from cellhold.rootfs import volumes
from cellhold.spec.lifecycle import State
from cellhold.spec.units import size
from cellhold.store import record, scratch, subids, tree
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from cellhold.store.home import Home
    from cellhold.store.record import Record


def add(commands: Any) -> None:
    """Add the commands."""
    top = commands.add_parser("system", help="manage the store", description="Show or free the space that the store uses.")
    words = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    using = words.add_parser("df", help="show what takes space", description="Show what takes space in the store.")
    using.add_argument("--format", choices=("table", "json"), default="table", help="json: one object per line")
    using.set_defaults(run=df)
    pruning = words.add_parser(
        "prune",
        help="remove what is unused",
        description="Remove stopped containers, unused networks, images without a name, and the build cache.",
    )
    pruning.add_argument("-a", "--all", action="store_true", help="all images that no container is made from")
    pruning.add_argument("-f", "--force", action="store_true", help="do not ask for confirmation")
    pruning.add_argument("--volumes", action="store_true", help="unused anonymous volumes, too")
    pruning.set_defaults(run=prune)
    for place in (words, commands):
        telling = place.add_parser("info", help="describe this host and the store", description="Describe this host and the store.")
        telling.set_defaults(run=info)


def df(arguments: argparse.Namespace) -> int:
    """Print a row for each kind."""
    from cellhold.image import stored  # noqa: PLC0415  # what only images need is not loaded for containers
    from cellhold.image.space import space  # noqa: PLC0415

    home = open_home()
    sweep(home)
    known = inventory.list_containers(home)
    images, broken = stored.every(home), stored.unreadable(home)
    in_use = {chain for one in known for chain in one.layers}
    used = [image for image in images if any(str(chain) in in_use for chain in image.chain_ids)]
    taken = space(images, used, home)
    steps = list(home.builds.all())
    of_images = {chain for image in images for chain in image.chain_ids}
    rows = [
        _row("Images", len(images) + len(broken), len(used), taken.images, taken.unused),
        _containers(known, home),
        _volumes(home),
        _row("Build Cache", len(steps), sum(step.chain_id in of_images for step in steps), taken.cache, taken.cache),
        _scratch(taken.loose, home),
    ]
    table.show(rows, ["type", "total", "active", "size", "reclaimable"], form=arguments.format)
    damage.tell([*broken, *inventory.unreadable(home), *volumes.unreadable(home), *home.builds.unreadable()])
    return 0


def _containers(known: list[Record], home: Home) -> dict[str, str]:
    sizes = {one.id: _used(home.container(one.id)) for one in known}
    broken = sum(_used(one.place) for one in inventory.unreadable(home))
    idle = sum(sizes[one.id] for one in known if not one.is_alive)
    return _row("Containers", len(known), sum(one.is_alive for one in known), sum(sizes.values()) + broken, idle)


def _volumes(home: Home) -> dict[str, str]:
    sizes = {one.name: _used(one.data) for one in volumes.list_readable(home)}
    broken = sum(_used(one.place) for one in volumes.unreadable(home))
    may_be_used = bool(inventory.unreadable(home))
    free = [name for name in sizes if not may_be_used and not volumes.users(name, home)]
    return _row("Local Volumes", len(sizes), len(sizes) - len(free), sum(sizes.values()) + broken, sum(sizes[name] for name in free))


def _scratch(loose: int, home: Home) -> dict[str, str]:
    """Return the row of unfinished work, and of what a crash left of it.

    Images that are pulled or made, archives, and what nothing refers to.
    """
    places = [path for above in (home.root / scratch.NAME, home.root / "kernels") if above.is_dir() for path in above.iterdir()]
    held = [path for path in places if record.is_held(path)]
    sizes = {path: _used(path) for path in places}
    size_bytes = loose + sum(sizes.values())
    return _row("Scratch", len(places), len(held), size_bytes, size_bytes - sum(sizes[path] for path in held))


def _row(kind: str, total: int, active: int, used: int, free: int) -> dict[str, str]:
    share = f" ({100 * free // used}%)" if used else ""
    return {"type": kind, "total": str(total), "active": str(active), "size": size(used), "reclaimable": f"{size(free)}{share}"}


def _used(path: Path) -> int:
    """Return the bytes on disk; 0 if only root could count them.

    That is what belongs to subordinate ids.
    """
    try:
        return tree.used_bytes(path)
    except OSError:
        return 0


def prune(arguments: argparse.Namespace) -> int:
    """Ask, then remove; print the space freed."""
    from cellhold.cli.images import confirm, tell  # noqa: PLC0415  # as above
    from cellhold.image import tags  # noqa: PLC0415

    images = "all images that no container is made from" if arguments.all else "all images without a name"
    more = ", unused anonymous volumes" if arguments.volumes else ""
    what = f"all stopped containers, unused networks, {images}, the build cache{more}"
    if not arguments.force and not confirm(f"This removes {what}. Continue? [y/N] "):
        return 0
    home = open_home()
    freed = tidy(home)
    stopped = [one for one in inventory.list_containers(home) if one.kept and one.state in (State.STOPPED, State.CREATED)]
    if stopped:
        print("Deleted Containers:")
    for one in stopped:
        written = _used(home.container(one.id))
        try:
            Detached(one.id, home).remove()
        except CellholdError:  # somebody has just started it
            continue
        freed += written
        print(one.id)
    if unused := networks.prune(home, needed=inventory.networks(home)):
        print("Deleted Networks:", *unused, sep="\n")
    if arguments.volumes:
        sizes = {one.name: _used(one.data) for one in volumes.list_readable(home)}
        gone = volumes.prune(home)
        freed += sum(sizes[one.name] for one in gone)
        print("".join(["Deleted Volumes:\n" if gone else "", *(f"{one.name}\n" for one in gone)]), end="")
    with home.written():
        if steps := home.builds.clear():
            print(f"Deleted Build Cache: {steps} step{'s' if steps > 1 else ''}")
    removed = tags.prune(home, everything=arguments.all)
    tell(removed, home)
    freed += removed.freed.size_bytes if removed.freed is not None else 0
    print(f"Total reclaimed space: {size(freed)}")
    return 0


def info(_arguments: argparse.Namespace) -> int:
    """Print a line for each fact."""
    from cellhold.image import stored  # noqa: PLC0415  # as above

    home = open_home()
    known = inventory.list_containers(home)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    states = {what: sum(one.state == state for one in known) for what, state in (("Running", "running"), ("Paused", "paused"))}
    lines = {
        "Containers": len(known),
        **{f" {what}": count for what, count in states.items()},
        " Stopped": len(known) - sum(states.values()),
        "Images": len(stored.every(home)) + len(stored.unreadable(home)),
        "Volumes": len(volumes.list_readable(home)),
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
