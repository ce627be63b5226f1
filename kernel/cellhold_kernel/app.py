"""The host kernel's process: arguments, signals, start and end.

Jupyter starts it as the kernelspec says. It ends when Jupyter requests it, when its
parent dies, on SIGTERM, and with the program of the container. However it ends, the
container does not outlive it: the runtime ensures that.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from cellhold import helper
from cellhold.errors import CellholdError
from cellhold.spec import words
from cellhold_kernel.engine.session import Session
from cellhold_kernel.protocol import connection
from cellhold_kernel.settings import policy, sources
from cellhold_kernel.settings.folder import Folder
from cellhold_kernel.settings.notebook import Notebook
from cellhold_kernel.settings.workspace import Workspace
from cellhold_kernel.transport.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.engine.base import Engine

_USAGE = "usage: python -m cellhold_kernel -f CONNECTION_FILE [--kernelspec DIRECTORY] [arguments for the kernel in the container]"


class Arguments(NamedTuple):
    """The command line.

    rest: for the cell kernel; nbclient passes `--HistoryManager.hist_file=:memory:`.
    """

    connection_file: Path
    kernelspec: Path | None
    rest: tuple[str, ...]


def arguments(words: Sequence[str]) -> Arguments:
    """Parse the command line. Raises CellholdError.

    Without argparse, which takes 10 ms to import.
    """
    options: dict[str, str] = {}
    rest: list[str] = []
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if name in ("-f", "--kernelspec"):
            options[name] = value if equals else next(left, "")
        else:
            rest.append(word)
    if not options.get("-f"):
        raise CellholdError("cannot start the kernel: no connection file given", hint=_USAGE)
    return Arguments(Path(options["-f"]), Path(options["--kernelspec"]) if options.get("--kernelspec") else None, tuple(rest))


def serve(given: Arguments, engine: Engine, *, rules: Path = policy.PATH) -> int:
    """Run the kernel until it ends; return the exit status.

    engine: makes its containers. rules: the policy's file. Raises CellholdError if it
    cannot start.
    """
    info = connection.read(given.connection_file)
    loop = Loop()
    end_with_parent(loop)
    end_on_sigterm(loop)
    workspace = _workspace(given)
    path = notebook()
    settings, failure = sources.collect(given.kernelspec, path, workspace.folder)
    with ExitStack() as closing:
        session = Session(info, loop, engine=engine, arguments=given.rest, sources=sources.Sources(settings, workspace, rules, path))
        closing.callback(session.close)
        session.open(failure)
        from cellhold_kernel.protocol import messages  # noqa: PLC0415  # these are imported while the cell kernel starts
        from cellhold_kernel.relay.relay import HostKernel  # noqa: PLC0415
        from cellhold_kernel.transport.frontend import Frontend  # noqa: PLC0415

        signer = messages.Signer(info.key, info.signature_scheme)
        frontend = Frontend(info, signer)
        closing.callback(frontend.close)
        kernel = HostKernel(frontend, session, loop, signer, None if path is None else Notebook(path, workspace.folder))
        closing.callback(kernel.close)
        loop.run(kernel.tick)
    return kernel.status


def notebook() -> Path | None:
    """Return the notebook's file, which jupyter_server names to its kernels.

    None if it is not named, as by nbclient and papermill.
    """
    name = os.environ.get("JPY_SESSION_NAME", "")
    return Path(name).absolute() if name.endswith(".ipynb") else None


def _workspace(given: Arguments) -> Workspace:
    """Open the working directory: from now on it is the notebook's folder.

    It stays so whatever its name leads to later.
    """
    programs = [Path(entry) for entry in helper.search_path().split(os.pathsep)]  # the host runs programs from there
    programs += [] if given.kernelspec is None else [given.kernelspec]
    try:
        folder = Folder.of_process()
    except FileNotFoundError:
        return Workspace(None)
    _import_nothing_of(folder)
    return Workspace(folder, _secret(given.connection_file, folder), programs=programs)


def _import_nothing_of(folder: Folder) -> None:
    """Remove the folder from sys.path: most modules are imported later.

    It is the first entry if a kernelspec starts Python without -P.
    """
    sys.path[:] = [entry for entry in sys.path if entry and not _is_there(entry, folder)]


def _is_there(path: str, folder: Folder) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.stat(path), folder.opened.status)
    return False


def _secret(connection_file: Path, folder: Folder) -> Path:
    """Return what to hide of the directory with Jupyter's connection files.

    All of it; but only the file if the directory is the notebook's folder too.
    """
    with suppress(OSError):
        if os.path.samestat(connection_file.parent.stat(), folder.opened.status):
            return connection_file
    return connection_file.parent


def end_with_parent(loop: Loop) -> None:
    """Stop the loop when our parent, JPY_PARENT_PID, dies (Jupyter was killed)."""
    with suppress(ValueError):
        parent = int(os.environ.get("JPY_PARENT_PID", ""))
        if parent > 1:  # 1 never dies
            try:
                loop.add(os.pidfd_open(parent), loop.stop)
            except ProcessLookupError:
                loop.stop()


def end_on_sigterm(loop: Loop) -> None:
    """Stop the loop on SIGTERM.

    SIGINT is caught and has no effect: interrupts come as messages. SIG_IGN would be
    inherited by the container.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGTERM, lambda _number, _frame: loop.stop())
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def woken() -> None:
        os.read(reader, 64)

    loop.add(reader, woken)


def main() -> NoReturn:
    """Run `python -m cellhold_kernel`."""
    from cellhold.container.container import Container  # noqa: PLC0415  # tests call serve() with a stand-in
    from cellhold_kernel.engine.local.engine import LocalEngine  # noqa: PLC0415  # and with other engines

    try:
        status = serve(arguments(sys.argv[1:]), LocalEngine(Container.create))
    except (CellholdError, OSError) as error:
        text = f"{error}\n{getattr(error, 'hint', None) or ''}".rstrip()
        print(words.printable(text, keep=words.LINES), file=sys.stderr)  # noqa: T201  # the server's log
        status = 1
    sys.stdout.flush()
    sys.exit(status)
