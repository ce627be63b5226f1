"""cellhold pull, push: images from registries and to registries."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from cellhold.cli import bars, signals
from cellhold.errors import CellholdError
from cellhold.spec.image_names import is_oci

if TYPE_CHECKING:
    import argparse


def add(commands: Any) -> None:
    """Add the commands and their flags."""
    fetching = commands.add_parser("pull", help="pull an image from a registry", description="Pull an image from a registry and unpack it.")
    fetching.add_argument("image", metavar="NAME[:TAG|@DIGEST]")
    fetching.add_argument("--platform", metavar="OS/ARCH[/VARIANT]", help="the platform of an image (default: this machine's)")
    fetching.add_argument("-q", "--quiet", action="store_true", help="print only the image's name")
    fetching.add_argument(
        "--progress", choices=bars.KINDS, default="auto", help="the form of progress (default: bars in a terminal, else lines)"
    )
    fetching.set_defaults(run=pull)
    sending = commands.add_parser("push", help="push an image to a registry", description="Push an image to the registry in its name.")
    sending.add_argument("image", metavar="NAME[:TAG]")
    sending.add_argument("-q", "--quiet", action="store_true", help="print only the image's name")
    sending.add_argument(
        "--progress", choices=bars.KINDS, default="auto", help="the form of progress (default: bars in a terminal, else lines)"
    )
    sending.set_defaults(run=push)


@signals.interruptible()
def pull(arguments: argparse.Namespace) -> int:
    """Pull the image; print its name."""
    from cellhold.image.platform import Platform  # noqa: PLC0415  # HTTP takes long to load: other commands do without
    from cellhold.image.pulling import pull as pull_image  # noqa: PLC0415
    from cellhold.image.reference import Reference  # noqa: PLC0415

    name = Reference.parse(arguments.image)
    platform = Platform.parse(arguments.platform) if arguments.platform else None
    quiet = arguments.quiet or arguments.progress == "json"
    if not quiet:
        print(f"{name.selector}: Pulling from {name.registry}/{name.repository}", flush=True)
    with bars.display("none" if arguments.quiet else arguments.progress, sys.stdout) as tell:
        try:
            found = pull_image(arguments.image, platform=platform, tell=tell)
        except CellholdError as error:
            if arguments.progress == "json":
                print(json.dumps({"error": type(error).__name__, "sentence": str(error), "hint": error.hint}))
            raise
    if not quiet:
        print(f"Digest: {found.came_as[-1].partition('@')[2]}\nImage: {found.id}")
    print(name, flush=True)
    return 0


@signals.interruptible()
def push(arguments: argparse.Namespace) -> int:
    """Push the image."""
    from cellhold.image.pushing import push as push_image  # noqa: PLC0415  # as above
    from cellhold.image.reference import Reference  # noqa: PLC0415

    name = Reference.parse(arguments.image)
    if not arguments.quiet:
        print(f"The push refers to repository [{name.registry}/{name.repository}]", flush=True)
    with bars.display("none" if arguments.quiet else arguments.progress, sys.stdout) as tell:
        digest = push_image(arguments.image, tell=tell)
    print(name if arguments.quiet else f"{name.tag}: digest: {digest}", flush=True)
    return 0


def pull_for_run(name: str, when: str) -> None:
    """Pull the image for `run --pull always|missing|never`.

    Progress goes to standard error, as standard output is the program's.
    """
    from cellhold import image  # noqa: PLC0415  # as above

    if when == "never" or not is_oci(name) or (when == "missing" and image.is_here(name)):
        return
    from cellhold.image.pulling import pull as pull_image  # noqa: PLC0415

    if when == "missing":
        print(f"Unable to find image {name!r} locally", file=sys.stderr, flush=True)
    with signals.interruptible(), bars.display("auto", sys.stderr) as tell:
        pull_image(name, tell=tell)
