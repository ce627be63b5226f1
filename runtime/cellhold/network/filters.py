"""The kernel's packet filter by libnftables, here and in a container's network namespace. One transaction a call: all or nothing.

The library takes the scripts of nft(8), an eighth of the time that the program takes to start. Its socket belongs to the network
namespace of the thread that opens it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from ctypes import CDLL, c_char_p, c_int, c_uint, c_void_p
from functools import cache
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError, NotSupported, SetupFailed
from cellhold.linux import process

if TYPE_CHECKING:
    from collections.abc import Callable

_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON (libnftables(3))


@cache
def library() -> Any:
    """It, loaded. Raises NotSupported."""
    try:
        loaded: Any = CDLL("libnftables.so.1")
    except OSError as error:
        raise NotSupported(
            "cannot connect a container: this host has no libnftables, which keeps networks apart",
            hint="apt install nftables, or --network none",
        ) from error
    for name, result, arguments in (
        ("nft_ctx_new", c_void_p, (c_uint,)),
        ("nft_ctx_free", None, (c_void_p,)),
        ("nft_ctx_buffer_output", c_int, (c_void_p,)),
        ("nft_ctx_buffer_error", c_int, (c_void_p,)),
        ("nft_ctx_get_output_buffer", c_char_p, (c_void_p,)),
        ("nft_ctx_get_error_buffer", c_char_p, (c_void_p,)),
        ("nft_ctx_output_set_flags", None, (c_void_p, c_uint)),
        ("nft_run_cmd_from_buffer", c_int, (c_void_p, c_char_p)),
    ):
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def apply(script: str, *, namespace: int | None = None, user: int | None = None) -> None:
    """Run a script. namespace: a descriptor of the network namespace, None = ours. Raises NotSupported, SetupFailed.

    user: of the user namespace that it belongs to, for who is not root: no process with threads can enter that, so another one does it.
    """
    if user is None:
        _inside(namespace, lambda: _run(script, 0))
        return
    fds = [fd for fd in (user, namespace) if fd is not None]
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys; sys.path.append({package!r}); from cellhold.network.filters import enter; enter(*map(int, sys.argv[1:]))"
    words = [sys.executable, "-I", "-S", "-c", code, *map(str, fds)]
    done = subprocess.run(words, input=script, capture_output=True, text=True, pass_fds=fds, check=False)
    if done.returncode:
        raise SetupFailed((done.stdout or done.stderr).strip() or "cannot set the packet filter", step="network.rules")


def enter(user: int, namespace: int) -> None:
    """The other process: run the script that comes on standard input; an error is printed."""
    try:
        process.setns(user, process.CLONE_NEWUSER)
        process.setns(namespace, process.CLONE_NEWNET)
        _run(sys.stdin.read(), 0)
    except (CellholdError, OSError) as error:
        sys.stdout.write(str(error))
        sys.exit(1)


def listed(what: str, *, namespace: int | None = None) -> list[dict[str, Any]]:
    """What `nft -j list WHAT` says. Raises SetupFailed, NotSupported."""
    found: list[dict[str, Any]] = json.loads(_inside(namespace, lambda: _run(f"list {what}", _JSON)))["nftables"]
    return found


def _run(script: str, flags: int) -> str:
    nft = library()
    context = nft.nft_ctx_new(0)
    try:
        nft.nft_ctx_output_set_flags(context, flags)
        nft.nft_ctx_buffer_output(context)
        nft.nft_ctx_buffer_error(context)
        if nft.nft_run_cmd_from_buffer(context, script.encode()):
            lines = nft.nft_ctx_get_error_buffer(context).decode(errors="replace").strip().splitlines()
            raise SetupFailed(f"cannot set the packet filter: {(lines or ['no reason given'])[0]}", step="network.rules")
        return str(nft.nft_ctx_get_output_buffer(context).decode(errors="replace"))
    finally:
        nft.nft_ctx_free(context)


def _inside(namespace: int | None, work: Callable[[], str]) -> str:
    """Do the work, in a thread of its own that moves into the namespace if there is one."""
    if namespace is None:
        return work()
    done: list[str] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            process.setns(namespace, process.CLONE_NEWNET)
            done.append(work())
        except BaseException as error:  # noqa: BLE001  # the border of the thread: raised below
            failed.append(error)

    thread = threading.Thread(target=run, name="cellhold-filters")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
