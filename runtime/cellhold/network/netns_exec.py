"""Work done in a container's network namespace.

As root by a thread that moves there, without root by a process that enters the owning
user namespace first.

No process with threads can enter a user namespace (setns(2)), and whoever is not root
has no rights over a network namespace elsewhere.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from cellhold import helper
from cellhold.errors import CellholdError, SetupFailed
from cellhold.linux import process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Result = TypeVar("Result")
_BOUNDS = helper.Bounds(memory_bytes=1 << 30, seconds=300)  # it takes 0.3 s on a quiet machine


def in_thread(namespace: int | None, work: Callable[[], Result]) -> Result:
    """Do the work in a thread of its own; what it raises is raised here.

    namespace: the thread moves there first.
    """
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


def call(function: str, namespaces: Sequence[int], text: str, *, step: str) -> str:
    """Return what a function returns in those namespaces, user and network.

    function: "module:name", from text to text. Raises SetupFailed.
    """
    words = helper.python(__name__, function, *map(str, namespaces), bounds=_BOUNDS)
    done = helper.run(words, given=text.encode(), pass_fds=namespaces)
    if done.returncode:
        lines = (done.stdout or done.stderr).decode(errors="replace").strip().splitlines()
        raise SetupFailed(lines[-1] if lines else "cannot enter a container's network namespace", step=step)
    return done.stdout.decode()


def main() -> None:
    """Be the process; an error is printed.

    Arguments: the function, and descriptors of the namespaces.
    """
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
