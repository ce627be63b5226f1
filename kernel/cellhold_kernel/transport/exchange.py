"""The container's /run/cellhold: a connection file, and room for sockets.

    connection.json        the cell kernel's connection file
    kernel-1 ...           its sockets, one per channel
    ipykernel_logged.py    what runs in front of an ipykernel, with two pipes for its
                           output, stdout and stderr
    packages.py            what puts the notebook's packages in front of the image's

It is a small tmpfs of the container's own: nothing of the host's can be filled there.
"""

from __future__ import annotations

import re
from importlib.resources import files

from cellhold.spec.spec import Exchange
from cellhold_kernel.protocol.connection import CHANNELS, Connection
from cellhold_kernel.transport.inside.log import STREAMS

TARGET = "/run/cellhold"
FILE = "connection.json"
CONNECTION_FILE = f"{TARGET}/{FILE}"
_PROGRAM = "ipykernel_logged.py"
_JOINED = ("log.py", _PROGRAM)  # the second one imports names of the first
_IMPORT = re.compile(r"^from cellhold_kernel\.\S+ import .*\n", re.MULTILINE)
PROGRAM = f"{TARGET}/{_PROGRAM}"
PACKAGES = "/opt/cellhold/packages"  # where the notebook's packages are, if it has any
_PACKAGES_PROGRAM = "packages.py"
PACKAGES_PROGRAM = f"{TARGET}/{_PACKAGES_PROGRAM}"
_BYTES, _INODES = 128 << 10, 64  # the files; sockets and pipes take no page
_PREFIX = "kernel"
_PORTS = {channel: number for number, channel in enumerate(CHANNELS, start=1)}
NAMES = {channel: f"{_PREFIX}-{port}" for channel, port in _PORTS.items()}
LIKE_TCP = {channel: f"{_PREFIX}:{port}" for channel, port in _PORTS.items()}  # of kernels that know no ipc, such as IRkernel


def plan(*, key: str, signature_scheme: str, is_logged: bool = False) -> Exchange:
    """Return the files and pipes of the container's exchange.

    key: the same on both sides, so no message is signed twice. is_logged: with the
    program that runs before an ipykernel, and its pipes.
    """
    connection = (FILE, connection_text(key, signature_scheme))
    if not is_logged:
        return Exchange(target=TARGET, size_bytes=_BYTES, inodes=_INODES, files=(connection,))
    packages = (_PACKAGES_PROGRAM, (files("cellhold_kernel.transport.inside") / _PACKAGES_PROGRAM).read_text("ascii"))
    return Exchange(target=TARGET, size_bytes=_BYTES, inodes=_INODES, files=(connection, (_PROGRAM, program()), packages), pipes=STREAMS)


def program() -> str:
    """Return the program that runs in front of an ipykernel.

    It is one file, which imports nothing of ours.
    """
    inside = files("cellhold_kernel.transport.inside")
    return "\n\n".join(_IMPORT.sub("", (inside / name).read_text("ascii")) for name in _JOINED)


def connection_text(key: str, signature_scheme: str) -> str:
    """Return the connection file."""
    return Connection(transport="ipc", ip=f"{TARGET}/{_PREFIX}", ports=_PORTS, key=key, signature_scheme=signature_scheme).text()
