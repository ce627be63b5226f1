"""How an ipykernel is started with a log of its output (transport/inside/).

The log's imports are as safe from what lies in the working directory as ipykernel's
own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from cellhold_kernel.transport import exchange

if TYPE_CHECKING:
    from collections.abc import Sequence

_MODULES = ("ipykernel_launcher", "ipykernel")  # what a kernelspec runs with -m
_LOG = f"""
path = {exchange.PROGRAM!r}
try:
    with open(path) as file:
        exec(compile(file.read(), path, "exec"), {{"__name__": "__main__", "__file__": path}})
except Exception as error:
    sys.stderr.write("cellhold: there is no log of what is printed: %s: %s\\n" % (type(error).__name__, error))
"""
_LOG += f"""
path = {exchange.PACKAGES_PROGRAM!r}
try:
    with open(path) as file:
        exec(compile(file.read(), path, "exec"), {{"__name__": "__main__", "__file__": path, "PACKAGES": {exchange.PACKAGES!r}}})
except Exception as error:
    sys.stderr.write("cellhold: packages of the notebook are not found: %s: %s\\n" % (type(error).__name__, error))
"""
# Both texts are for any Python, also one that is too old for the log. Their first
# argument is the module, and the directory of the kernel's packages.
_START = f"""
import sys
first = sys.path[:1] if sys.path[:1] == [""] else []
del sys.path[:len(first)]
{_LOG}
sys.path[:0] = first
import runpy
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
START_IN_LAYER = f"""
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
sys.path.insert(0, sys.argv.pop(1))
{_LOG}
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""


def command(argv: Sequence[str]) -> tuple[str, ...] | None:
    """Return the command of the same ipykernel with a log.

    Returns None where the command is not known to be one of an ipykernel.
    """
    if START_IN_LAYER in argv:
        return tuple(argv)
    for at, (option, module) in enumerate(pairwise(argv)):
        if option == "-m" and module in _MODULES:
            return (*argv[:at], "-c", _START, module, *argv[at + 2 :])
    return None
