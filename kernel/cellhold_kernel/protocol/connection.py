"""Jupyter's connection file: where a kernel's sockets are, and the key that signs its messages.

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
    """What a connection file says.

    transport: "tcp" or "ipc"; ip: an address, or with ipc the beginning of the sockets' paths; ports: by channel. key: signs the
    messages; "" = they are not signed. curve: CurveZMQ's public and secret key (Z85), where the client asks for encryption.
    """

    transport: str
    ip: str
    ports: dict[str, int]
    key: str
    signature_scheme: str = "hmac-sha256"
    curve: tuple[bytes, bytes] | None = None

    def url(self, channel: str) -> str:
        """The address of a channel as zmq_bind(3) takes it."""
        between = ":" if self.transport == "tcp" else "-"
        return f"{self.transport}://{self.ip}{between}{self.ports[channel]}"

    def text(self) -> str:
        """The connection file's content; the Curve keys stay here: they are for the sockets that Jupyter sees."""
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
    """The connection file at `path`; raises OSError, or InvalidSpec naming the field that is wrong."""
    try:
        info = json.loads(hostpath.read(path, _MOST_BYTES))
        found = Connection(
            transport=_text(info, "transport", "tcp"),
            ip=_text(info, "ip", "127.0.0.1"),
            ports={channel: int(info[f"{channel}_port"]) for channel in CHANNELS},
            key=_text(info, "key", ""),
            signature_scheme=_text(info, "signature_scheme", "hmac-sha256"),
            curve=_curve(info),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidSpec(f"cannot read connection file {path}: {type(error).__name__}: {error}") from error
    if found.transport not in ("tcp", "ipc"):
        raise InvalidSpec(f"cannot use transport={found.transport} of connection file {path}: neither tcp nor ipc")
    return found


def _text(info: dict[str, Any], field: str, default: str) -> str:
    value = info.get(field, default)
    if not isinstance(value, str):
        raise TypeError(f"{field} is {value!r}, not a text")
    return value


def _curve(info: dict[str, Any]) -> tuple[bytes, bytes] | None:
    if "curve_publickey" not in info or "curve_secretkey" not in info:
        return None
    return _text(info, "curve_publickey", "").encode("ascii"), _text(info, "curve_secretkey", "").encode("ascii")
