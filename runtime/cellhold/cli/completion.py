"""cellhold completion: completion of our command line in a shell.

eval "$(cellhold completion bash)"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

SHELLS = ("bash", "zsh", "tcsh")


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "completion", help="print a shell's completion script", description='To use it in a shell: eval "$(cellhold completion bash)"'
    )
    command.add_argument("shell", choices=SHELLS)
    command.set_defaults(run=completion)


def completion(arguments: argparse.Namespace) -> int:
    """Print the script."""
    import shtab  # noqa: PLC0415  # what no other command needs

    from cellhold.cli.command import parser  # noqa: PLC0415  # which imports this

    print(shtab.complete(parser(), arguments.shell))
    return 0
