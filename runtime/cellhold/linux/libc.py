"""The one module that loads libc.

A wrapper is one line: `unshare = function("unshare", c_int)`. Every wrapper raises a
plain OSError (Python picks PermissionError and its like from errno by itself), and
nothing else.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import c_long

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_holding_gil = ctypes.PyDLL(None, use_errno=True)  # a cloned child must own the GIL that its parent had

# Numbers from 424 on are the same everywhere; the older ones are asm/unistd.h's of each
# machine.
_OLD = {
    "x86_64": {"pivot_root": 155, "keyctl": 250, "seccomp": 317, "bpf": 321},
    "aarch64": {"pivot_root": 41, "keyctl": 219, "seccomp": 277, "bpf": 280},
}
_NUMBERS = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
    **_OLD.get(os.uname().machine, {}),
}


def function(name: str, *argtypes: Any) -> Callable[..., int]:
    """Return the libc function `name`.

    It takes `argtypes`, returns an int, and raises OSError if that is negative.
    """
    return _checked(_libc[name], argtypes)


def syscall(name: str, *argtypes: Any, hold_gil: bool = False) -> Callable[..., int]:
    """Return the system call `name`, for those that libc does not wrap.

    It behaves as function()'s result does.
    """
    raw = (_holding_gil if hold_gil else _libc)["syscall"]
    checked = _checked(raw, (c_long, *argtypes))
    number = _NUMBERS.get(name)

    def call(*arguments: Any) -> int:
        if number is None:
            raise OSError(38, f"{name}: number unknown on {os.uname().machine}")
        return checked(number, *arguments)

    return call


def _checked(raw: Any, argtypes: tuple[Any, ...]) -> Callable[..., int]:
    raw.restype = c_long
    raw.argtypes = argtypes

    def call(*arguments: Any) -> int:
        result: int = raw(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    return call
