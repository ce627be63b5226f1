"""The kernel's packet filter by libnftables, here and in network namespaces.

Each call is one transaction: all or nothing.

The library takes the scripts of nft(8), an eighth of the time that the program takes to
start. Its socket belongs to the network namespace of the thread that opens it.
"""

from __future__ import annotations

import json
from ctypes import CDLL, c_char_p, c_int, c_uint, c_void_p
from functools import cache
from typing import Any

from cellhold.errors import NotSupported, SetupFailed
from cellhold.network import netns_exec

_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON (libnftables(3))


@cache
def library() -> Any:
    """Load libnftables. Raises NotSupported."""
    try:
        loaded: Any = CDLL("libnftables.so.1")
    except OSError as error:
        raise NotSupported(
            "cannot connect a container: this host has no libnftables, which isolates networks",
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
    """Run a script.

    namespace: a descriptor of the network namespace, None = ours. Raises NotSupported,
    SetupFailed.

    user: of the user namespace that it belongs to, for whoever is not root.
    """
    _run_in(script, 0, namespace, user)


def query(what: str, *, namespace: int | None = None, user: int | None = None) -> list[dict[str, Any]]:
    """Return what `nft -j list WHAT` prints.

    namespace, user: as apply() has them. Raises SetupFailed, NotSupported.
    """
    objects: list[dict[str, Any]] = json.loads(_run_in(f"list {what}", _JSON, namespace, user))["nftables"]
    return objects


def _run_in(script: str, flags: int, namespace: int | None, user: int | None) -> str:
    """Run the script where it belongs.

    Here, or in a thread of its own that moves into the namespace, or in a process that
    enters both.
    """
    if namespace is None:
        return _run(script, flags)
    if user is not None:
        return netns_exec.call("cellhold.network.nft:run_entered", [user, namespace], f"{flags}\n{script}", step="network.rules")
    return netns_exec.in_thread(namespace, lambda: _run(script, flags))


def run_entered(text: str) -> str:
    """Run a script in the process that has entered the namespaces.

    text: the flags on the first line, then the script.
    """
    flags, _, script = text.partition("\n")
    return _run(script, int(flags))


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
