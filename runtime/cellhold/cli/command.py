"""The `cellhold` command: parse, call, print; the only place that exits.

The grammar and the exit statuses are Docker's:

    0..124, 128..255  the program's own status; 137: killed (128 + SIGKILL)
    125               the container could not be made, or the command line is wrong
    126               the program cannot be executed
    127               the program does not exist
    1                 any other command failed

Subcommands of other packages are found by the entry point group `cellhold.commands`
(`cellhold kernel install ...`).
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
from cellhold.cli.screen import escaping, sentences
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
        """Print what is wrong and where the right form is described; exit."""
        self.exit(WRONG_LINE, f"cellhold: {message}\nhint: see '{self.prog} --help'\n")


def parser(wanted: str = "") -> Parser:
    """Return the parser of the command line.

    wanted: a command of ours, for which the modules of the others are not loaded;
    anything else: the whole command line.
    """
    top = Parser(prog="cellhold", description="Linux containers made in Python, from namespaces, cgroups and an overlay of layers.")
    top.add_argument("--version", action="version", version=f"cellhold {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    own = [module for module, names in MODULES.items() if wanted in names]
    for module in own or MODULES:
        import_module(f"cellhold.cli.{module}").add(commands)
    if not own:
        from importlib import metadata  # noqa: PLC0415  # 60 modules that our own commands do not need

        for entry in metadata.entry_points(group="cellhold.commands"):
            entry.load()(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    A user's mistake is one sentence and a hint, never a traceback.
    """
    keep_standard_streams()
    with escaping(for_good=argv is None):
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = parser(words[0] if words else "").parse_args(words)
        status: int = arguments.run(arguments)
    except BrokenPipeError:  # nobody reads our output any more
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
    """Return the error to print.

    A store that cannot be written to is reported as such, wherever it was noticed.
    Raises what nobody expected.
    """
    from cellhold.store.home import open_home  # noqa: PLC0415  # for errors alone

    if isinstance(failure, CellholdError):
        return failure
    try:
        with open_home().written():
            raise failure
    except CellholdError as error:
        return error
