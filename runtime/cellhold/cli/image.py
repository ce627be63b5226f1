"""cellhold image ...: Docker's long forms of the commands for images."""

from __future__ import annotations

from typing import Any

from cellhold.cli import archives, images, transfer


def add(commands: Any) -> None:
    """Add the group with its commands."""
    group = commands.add_parser("image", help="commands for images", description="Commands for images.")
    below = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    images.add_list(below, "ls")
    images.add_inspect(below, "inspect")
    images.add_history(below)
    images.add_tag(below)
    images.add_remove(below, "rm")
    images.add_prune(below)
    transfer.add(below)
    archives.add(below)
