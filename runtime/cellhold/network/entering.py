"""Work done in a container's network namespace: as root by a thread that moves there, without by a process that enters its owner first.

No process with threads can enter a user namespace (setns(2)), and who is not root has no rights over a network namespace elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from cellhold.errors import CellholdError, SetupFailed
from cellhold.linux import process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Result = TypeVar("Result")
_CODE = "import sys; sys.path += {places!r}; from {module} import main; main()"


def in_thread(namespace: int | None, work: Callable[[], Result]) -> Result:
    """Do the work in a thread of its own, that moves into the network namespace if one is given; what it raises is raised here."""
    done: list[Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            if namespace is not None:
                process.setns(namespace, process.CLONE_NEWNET)
            done.append(work())
        except BaseException as error:  # noqa: BLE001  # the border of the thread: raised below
            failed.append(error)

    thread = threading.Thread(target=run, name="cellhold-network")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def python(module: str, *needs: str) -> list[str]:
    """The command line of a Python that runs the main() of a module of ours. needs: packages that it has from where we have them.

    It looks nowhere else: not at our environment, nor where we are.
    """
    found = filter(None, map(find_spec, ("cellhold", *needs)))
    places = [os.path.dirname(os.path.dirname(os.path.abspath(str(spec.origin)))) for spec in found]
    return [sys.executable, "-I", "-c", _CODE.format(places=places, module=module)]


def call(function: str, namespaces: Sequence[int], text: str, *, step: str) -> str:
    """What a function ("module:name", from text to text) says in those namespaces: user and network. Raises SetupFailed."""
    words = [*python(__name__, "pyroute2"), function, *map(str, namespaces)]
    done = subprocess.run(words, input=text, capture_output=True, text=True, pass_fds=namespaces, check=False)
    if done.returncode:
        told = (done.stdout or done.stderr).strip().splitlines()
        raise SetupFailed(told[-1] if told else "cannot enter a container's network namespace", step=step)
    return done.stdout


def main() -> None:
    """The process: the function, and descriptors of the namespaces; an error is printed."""
    function, user, namespace = sys.argv[1:]
    module, _, name = function.partition(":")
    work: Callable[[str], str] = getattr(import_module(module), name)
    try:
        process.setns(int(user), process.CLONE_NEWUSER)
        process.setns(int(namespace), process.CLONE_NEWNET)
        sys.stdout.write(work(sys.stdin.read()))
    except (CellholdError, OSError) as error:
        sys.stdout.write(str(error))
        sys.exit(1)
