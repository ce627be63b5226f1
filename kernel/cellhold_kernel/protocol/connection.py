"""Jupyter's connection file: a kernel's sockets, and the key of its messages.

https://jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellhold.errors import InvalidSpec
from cellhold.linux import hostpath

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 64 << 10
CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The content of a connection file.

    transport: "tcp" or "ipc". ip: an address; with ipc the prefix of the sockets'
    paths. ports: by channel. key: signs the messages; "" = they are not signed. curve:
    CurveZMQ's public and secret key (Z85), if the client requests encryption.
    """

    transport: str
    ip: str
    ports: dict[str, int]
    key: str
    signature_scheme: str = "hmac-sha256"
    curve: tuple[bytes, bytes] | None = None

    def url(self, channel: str) -> str:
        """Return the address of a channel for zmq_bind(3)."""
        between = ":" if self.transport == "tcp" else "-"
        return f"{self.transport}://{self.ip}{between}{self.ports[channel]}"

    def text(self) -> str:
        """Return the content of a connection file for the container.

        It has no Curve keys: these are for the sockets towards Jupyter.
        """
        return json.dumps(
            {
                "transport": self.transport,
                "ip": self.ip,
                **{f"{channel}_port": self.ports[channel] for channel in CHANNELS},
                "key": self.key,
                "signature_scheme": self.signature_scheme,
            },
            indent=1,
        )


def read(path: Path) -> Connection:
    """Read a connection file.

    Raises OSError, or InvalidSpec, which names the field that is wrong.
    """
    try:
        info = json.loads(hostpath.read(path, _MOST_BYTES))
        connection = Connection(
            transport=_text(info, "transport", "tcp"),
            ip=_text(info, "ip", "127.0.0.1"),
            ports={channel: int(info[f"{channel}_port"]) for channel in CHANNELS},
            key=_text(info, "key", ""),
            signature_scheme=_text(info, "signature_scheme", "hmac-sha256"),
            curve=_curve(info),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidSpec(f"cannot read connection file {path}: {type(error).__name__}: {error}") from error
    if connection.transport not in ("tcp", "ipc"):
        raise InvalidSpec(f"cannot use transport={connection.transport} of connection file {path}: neither tcp nor ipc")
    return connection


def _text(info: dict[str, Any], field: str, default: str) -> str:
    value = info.get(field, default)
    if not isinstance(value, str):
        raise TypeError(f"{field} is {value!r}, not a string")
    return value


def _curve(info: dict[str, Any]) -> tuple[bytes, bytes] | None:
    if "curve_publickey" not in info or "curve_secretkey" not in info:
        return None
    return _text(info, "curve_publickey", "").encode("ascii"), _text(info, "curve_secretkey", "").encode("ascii")
