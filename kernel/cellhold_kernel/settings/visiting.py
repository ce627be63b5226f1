"""Where a person's browser finds a port that a container publishes: straight, and through the notebook server where that has a proxy.

Only the second works from another machine; but what is served there is of the notebook server's own origin, so that its scripts may do
there what the person may. So both are offered, and it is the person who chooses.
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
    """The address at the host itself; "" for one that no browser speaks to."""
    return f"http://{port.address}:{port.host}/" if port.protocol == "tcp" and ":" not in port.address else ""


def proxied(port: Port) -> str:
    """The path at the notebook server; "" where it has no proxy that we know of, or whose server we are not."""
    if port.protocol != "tcp" or find_spec(_PROXY) is None or (base := _base()) is None:
        return ""
    return f"{base}proxy/{port.host}/"


def _base() -> str | None:
    """The path that the notebook server has before its own: it starts us, and writes a file of what it is."""
    from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415  # when a port is published

    try:
        path = Path(jupyter_runtime_dir()) / f"jpserver-{int(os.environ['JPY_PARENT_PID'])}.json"
        text = hostpath.read(path, _MOST_BYTES)
        return str(json.loads(text)["base_url"])
    except (OSError, KeyError, ValueError, TypeError, RecursionError):
        return None
