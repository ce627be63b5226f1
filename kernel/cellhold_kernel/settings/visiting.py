"""Addresses at which a browser reaches a port that a container publishes.

There are two: at the host itself, and through the notebook server if that has a proxy.
Only the second works from another machine; but what is served there has the notebook
server's own origin, so that its scripts may do there what the user may. So both are
offered, and the user chooses.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.linux import hostpath

if TYPE_CHECKING:
    from cellhold.spec.spec import Port

_MOST_BYTES = 64 << 10
_PROXY = "jupyter_server_proxy"


def straight(port: Port) -> str:
    """Return the URL at the host itself; "" for a port that no browser can open."""
    return f"http://{port.address}:{port.host}/" if port.protocol == "tcp" and ":" not in port.address else ""


def proxied(port: Port) -> str:
    """Return the path at the notebook server; "" if that has no jupyter-server-proxy.

    Also "" if this kernel was not started by a notebook server.
    """
    if port.protocol != "tcp" or find_spec(_PROXY) is None or (base := _base()) is None:
        return ""
    return f"{base}proxy/{port.host}/"


def _base() -> str | None:
    """Return the notebook server's base URL, read from its runtime file.

    None if this process was not started by a notebook server, or the file cannot be
    read.
    """
    from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415  # when a port is published

    try:
        path = Path(jupyter_runtime_dir()) / f"jpserver-{int(os.environ['JPY_PARENT_PID'])}.json"
        text = hostpath.read(path, _MOST_BYTES)
        return str(json.loads(text)["base_url"])
    except (OSError, KeyError, ValueError, TypeError, RecursionError):
        return None
