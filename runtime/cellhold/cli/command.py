"""The `cellhold` command: parse, call, print. The only place that exits; docker's grammar and exit codes.

    0..124, 128..255  the program's own status     125  Cellhold could not make the container, or the command line is wrong
    126  the program cannot be executed            127  there is no such program            137  killed (128 + SIGKILL)
    1    any other command could not do what it was to do

Subcommands of other packages come by the entry point group `cellhold.commands` (`cellhold kernel install ...`).
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from cellhold import __version__
from cellhold.cli.copying import keep_standard_streams, say
from cellhold.cli.explaining import explain
from cellhold.cli.screen import cleaned, sentences
from cellhold.errors import CellholdError, CommandNotRun

if TYPE_CHECKING:
    from collections.abc import Sequence

WRONG_LINE, NOT_STARTED, FAILED = 125, 125, 1
STARTING = ("run", "create", "exec")  # the commands whose status may be a program's own
MODULES = {  # of this package, in the order of --help; the commands that each adds
    "run": ("run", "create"),
    "lifecycle": ("start", "stop", "restart", "kill", "pause", "unpause", "wait", "rm", "rename", "update"),
    "inside": ("exec", "attach", "top", "cp"),
    "containers": ("ps", "stats"),
    "telling": ("logs", "events"),
    "volume": ("volume",),
    "network": ("network",),
    "system": ("system", "info"),
    "building": ("build", "builder"),
    "transfer": ("pull", "push"),
    "archives": ("load", "save", "import"),
    "committing": ("diff", "commit", "export"),
    "images": ("images", "inspect", "history", "tag", "rmi"),
    "image": ("image",),
    "looking": ("layers", "which"),
    "doctor": ("doctor",),
    "completion": ("completion",),
}


class Parser(argparse.ArgumentParser):
    """argparse with docker's exit status for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where to read how it is right."""
        self.exit(WRONG_LINE, f"cellhold: {message}\nhint: see '{self.prog} --help'\n")


def parser(wanted: str = "") -> Parser:
    """The command line; the whole of it, unless `wanted` is a command of ours: no other's module is loaded then."""
    top = Parser(prog="cellhold", description="Containers from namespaces, cgroups and an overlay of layers, in Python.")
    top.add_argument("--version", action="version", version=f"cellhold {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    own = [module for module, names in MODULES.items() if wanted in names]
    for module in own or MODULES:
        import_module(f"cellhold.cli.{module}").add(commands)
    if not own:
        from importlib import metadata  # noqa: PLC0415  # 60 modules that our own commands do without

        for entry in metadata.entry_points(group="cellhold.commands"):
            entry.load()(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. A user's mistake is one sentence and a hint, never a traceback."""
    keep_standard_streams()
    with cleaned(for_good=argv is None):
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = parser(words[0] if words else "").parse_args(words)
        status: int = arguments.run(arguments)
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that nothing is flushed into the pipe at the end
        return 141
    except (CellholdError, OSError) as failure:
        error = explain(_sentence(failure))
        say(sentences(error))
        if isinstance(error, CommandNotRun):
            return error.status
        return NOT_STARTED if words and words[0] in STARTING else FAILED
    return status


def _sentence(failure: CellholdError | OSError) -> CellholdError:
    """What a store that cannot be written to says wherever that was noticed. Raises what nobody expected."""
    from cellhold.store.home import open_home  # noqa: PLC0415  # for errors alone

    if isinstance(failure, CellholdError):
        return failure
    try:
        with open_home().written():
            raise failure
    except CellholdError as error:
        return error
