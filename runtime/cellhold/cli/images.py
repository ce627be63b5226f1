"""cellhold images, inspect, history, tag, rmi, image prune: images of the store."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from cellhold.cli import damage, table
from cellhold.cli.copying import say
from cellhold.cli.screen import sentences
from cellhold.container.recovery import sweep, tidy
from cellhold.errors import CellholdError, ContainerNotFound
from cellhold.spec import words
from cellhold.spec.digest import Digest
from cellhold.spec.units import ago, size
from cellhold.store.home import open_home

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from cellhold.image.stored import StoredImage
    from cellhold.image.tags import Removed
    from cellhold.store.home import Home
    from cellhold.store.table import Unreadable

FAILED = 1  # docker's, where some of several went wrong
_NONE = "<none>"
_DERIVED = "<derived>"  # its "tag" is the beginning of the id of what it was derived from
_LONGEST_TEXT = 45


def add(commands: Any) -> None:
    """Add the commands as Docker's short ones (images, rmi).

    image.py adds them as `image ls` and so on.
    """
    add_list(commands, "images")
    add_inspect(commands, "inspect", containers=True)
    add_history(commands)
    add_tag(commands)
    add_remove(commands, "rmi")


def add_list(commands: Any, name: str) -> None:
    """Add `images`, or `image ls`."""
    command = commands.add_parser(name, help="list images", description="List the images in the store.")
    command.add_argument("-q", "--quiet", action="store_true", help="print only ids")
    command.add_argument("--digests", action="store_true", help="print the manifests' digests")
    add_form(command)
    command.set_defaults(run=show_list)


def add_inspect(commands: Any, name: str, *, containers: bool = False) -> None:
    """Add `inspect` (of containers, too), or `image inspect`."""
    what = "containers and images" if containers else "images"
    command = commands.add_parser(name, help=f"describe {what}, as JSON", description=f"Print all that is known of {what}, as JSON.")
    command.add_argument("image", nargs="+", metavar="NAME")
    command.set_defaults(run=inspect, containers=containers)


def add_history(commands: Any) -> None:
    """Add `history`."""
    command = commands.add_parser("history", help="list the instructions that made an image", description="Print the history of an image.")
    command.add_argument("image", metavar="IMAGE")
    add_form(command)
    command.set_defaults(run=show_history)


def add_tag(commands: Any) -> None:
    """Add `tag`."""
    command = commands.add_parser("tag", help="add a name to an image", description="Add a name to an image.")
    command.add_argument("source", metavar="SOURCE")
    command.add_argument("name", metavar="NAME[:TAG]")
    command.set_defaults(run=tag)


def add_remove(commands: Any, name: str) -> None:
    """Add `rmi`, or `image rm`."""
    command = commands.add_parser(name, help="remove images", description="Remove names of images, and images that lose their last name.")
    command.add_argument("image", nargs="+", metavar="IMAGE")
    command.add_argument("-f", "--force", action="store_true", help="all names of an id; also if a container is made from it")
    command.set_defaults(run=remove)


def add_prune(commands: Any) -> None:
    """Add `image prune`."""
    command = commands.add_parser("prune", help="remove unused images", description="Remove images without a name.")
    command.add_argument("-a", "--all", action="store_true", help="all images that no container is made from")
    command.add_argument("-f", "--force", action="store_true", help="do not ask for confirmation")
    command.set_defaults(run=prune)


def add_form(command: Any) -> None:
    """Add --format and --no-trunc."""
    command.add_argument("--format", choices=("table", "json"), default="table", help="json: one object per line")
    command.add_argument("--no-trunc", action="store_true", help="print ids and texts in full")


def show_list(arguments: argparse.Namespace) -> int:
    """Print the images, a row for each of their names."""
    from cellhold.image import description, stored  # noqa: PLC0415  # what only images need is not loaded for containers

    home = open_home()
    images = stored.every(home)
    bases = {image.digest: image.id for image in images}
    rows = [row for image in images for row in _rows(image, home, bases, in_full=arguments.no_trunc)]
    broken = stored.unreadable(home)
    rows += [row for one in broken for row in _damaged_rows(one, home, in_full=arguments.no_trunc)]
    damage.tell([*broken, *description.unreadable_layers(images, home)])
    if arguments.quiet:
        print("\n".join(dict.fromkeys(row["image_id"] for row in rows)), end="\n" if rows else "")
        return 0
    digests = ["digest"] if arguments.digests else []
    table.show(rows, ["repository", "tag", *digests, "image_id", "created", "size"], form=arguments.format)
    return 0


def _rows(image: StoredImage, home: Home, bases: Mapping[Digest, Digest], *, in_full: bool) -> list[dict[str, str]]:
    """Return the rows of an image.

    bases: the ids of all images, by their manifests.
    """
    base = bases.get(image.base) if image.base else None
    unnamed = (_DERIVED, base.short) if base else (_NONE, _NONE)
    common = {
        "digest": str(image.digest),
        "derived_from": str(base or ""),
        "image_id": str(image.id) if in_full else image.id.short,
        "created": since(image.config.created),
        "size": _size(image, home),
    }
    return [{"repository": repository, "tag": tag, **common} for repository, tag in _named(image.names) or [unnamed]]


def _size(image: StoredImage, home: Home) -> str:
    from cellhold.image import description  # noqa: PLC0415

    try:
        return size(description.size_bytes(image, home))
    except CellholdError:
        return "Damaged"


def _damaged_rows(one: Unreadable, home: Home, *, in_full: bool) -> list[dict[str, str]]:
    """Return the rows of a damaged image.

    Its id is the digest of its manifest: the config's cannot be read.
    """
    digest, word = Digest.parse(one.name), damage.word(one)
    names = _named(home.names.read().names_of(digest))
    common = {"digest": one.name, "image_id": one.name if in_full else digest.short, "created": word, "size": word, "derived_from": ""}
    return [{"repository": repository, "tag": tag, **common} for repository, tag in names or [(_NONE, _NONE)]]


def _named(names: Iterable[str]) -> list[tuple[str, str]]:
    from cellhold.image.reference import Reference  # noqa: PLC0415

    split = (Reference.parse(name).familiar().rpartition(":") for name in names)
    return [(repository, tag) for repository, _colon, tag in split]


def _container(name: str, home: Home) -> dict[str, Any] | None:
    """Inspect the container of that name, which Docker looks for first.

    None if there is no such container.
    """
    from cellhold.cli.containers import inspected  # noqa: PLC0415
    from cellhold.container import inventory  # noqa: PLC0415  # as below

    try:
        return inspected(inventory.find(name, home))
    except ContainerNotFound:
        return None


def inspect(arguments: argparse.Namespace) -> int:
    """Print a list with an object for each name.

    A sentence for each that does not exist, and status 1.
    """
    from cellhold.image import description, stored  # noqa: PLC0415

    home = open_home()
    objects, status = [], 0
    for name in arguments.image:
        try:
            container = _container(name, home) if arguments.containers else None
            objects.append(container or description.inspected(stored.find(name, home), home))
        except CellholdError as error:
            say(f"cellhold: {words.printable(str(error))}\n")
            status = FAILED
    print(json.dumps(objects, indent=4))
    return status


def show_history(arguments: argparse.Namespace) -> int:
    """Print the instructions, the last one first."""
    from cellhold.image import description, stored  # noqa: PLC0415

    home = open_home()
    image = stored.find(arguments.image, home)
    rows = [
        {
            "image": (str(image.id) if arguments.no_trunc else image.id.short) if number == 0 else "<missing>",
            "created": since(entry.created),
            "created_by": entry.text if arguments.no_trunc else cut(entry.text),
            "size": size(entry.size_bytes) if entry.layer else "0 bytes",
            "comment": entry.comment,
        }
        for number, entry in enumerate(description.history(image, home))
    ]
    table.show(rows, ["image", "created", "created_by", "size", "comment"], form=arguments.format)
    return 0


def tag(arguments: argparse.Namespace) -> int:
    """Add a name to the image."""
    from cellhold.image import tags  # noqa: PLC0415

    tags.tag(arguments.source, arguments.name, open_home())
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Remove each image.

    A sentence for each that cannot be removed, and status 1.
    """
    from cellhold.image import tags  # noqa: PLC0415

    home, status = open_home(), 0
    sweep(home)  # what a crash has left may be made of it
    for name in arguments.image:
        try:
            tell(tags.remove(name, home, force=arguments.force), home)
        except CellholdError as error:
            say(sentences(error))
            status = FAILED
    return status


def prune(arguments: argparse.Namespace) -> int:
    """Ask, then remove."""
    from cellhold.image import tags  # noqa: PLC0415

    what = "all images that no container is made from" if arguments.all else "all images without a name"
    if not arguments.force and not confirm(f"This removes {what}. Continue? [y/N] "):
        return 0
    home = open_home()
    freed = tidy(home)
    removed = tags.prune(home, everything=arguments.all)
    tell(removed, home)
    if removed.freed is not None:
        print(f"Total reclaimed space: {size(freed + removed.freed.size_bytes)}")
    return 0


def confirm(question: str) -> bool:
    """Ask the user; return whether the answer is yes.

    If nobody is there, it is no.
    """
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def tell(removed: Removed, home: Home) -> None:
    """Print what was removed, in Docker's words."""
    from cellhold.image import tags  # noqa: PLC0415
    from cellhold.image.reference import Reference  # noqa: PLC0415

    for name in removed.untagged:
        print(f"Untagged: {Reference.parse(name).familiar()}")
    for digest in removed.deleted:
        print(f"Deleted: {digest}")
    if removed.freed is None:
        print(tags.hindrance(home))


def since(when: datetime | None) -> str:
    """Format how long ago; "N/A" if that is not known, as in Docker."""
    return "N/A" if when is None else ago(max(time.time() - when.timestamp(), 0))


def cut(text: str) -> str:
    """Cut a text to at most 45 characters, as Docker does."""
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
