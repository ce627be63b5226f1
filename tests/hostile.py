"""A host kernel whose cell kernel is hostile: HOSTILE names what it does.

Run as `python hostile.py -f CONNECTION_FILE ...`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from cellhold_kernel import app
from cellhold_kernel.engine.local.engine import LocalEngine
from cellhold_kernel.protocol import messages
from standin import StandIn

if TYPE_CHECKING:
    from cellhold.spec.spec import Spec

HEADER = json.dumps({"msg_type": "execute_input", "msg_id": "1"}).encode()
GARBAGE = [
    [b""],
    [b"nothing"],
    [b"<IDS|MSG>"],
    [b"x"] * 50,
    [b"<IDS|MSG>", b"", b"\xff", b"{}", b"{}", b"{}"],
    [b"<IDS|MSG>", b"", b"[" * 60_000, b"[" * 60_000, b"{}", b"[" * 200_000],
    [b"<IDS|MSG>", b"", b'{"msg_type": null, "msg_id": {}}', b"{}", b"{}", b"{}"],
    [b"client", b"<IDS|MSG>", b"forged", HEADER, b'{"msg_id": "1"}', b"{}", b'{"execution_count": 666}'],
    [b"client", b"<IDS|MSG>", b"forged", HEADER.replace(b"input", b"reply"), b'{"msg_id": "1"}', b"{}", b"{}"],
]
LARGE = {"trailing": [bytes(20 << 20), b""], "endless": [b""] * 300_000}  # buffers behind one message


def hostile(spec: Spec) -> StandIn:
    """Make a stand-in whose program is this file, as the cell kernel."""
    args = (sys.executable, __file__, "inside", "/run/cellhold")
    return StandIn.create(replace(spec, args=args, env={"HOSTILE": os.environ["HOSTILE"], "PYTHONPATH": ":".join(sys.path)}))


def main(directory: Path) -> None:
    """Be the cell kernel."""
    if os.environ["HOSTILE"] == "dies":
        sys.exit("\x1b[31mno module named ipykernel\x1b[0m\x07")
    if os.environ["HOSTILE"] == "links":
        with socket.socket(socket.AF_UNIX) as of_the_host:
            of_the_host.bind(str(directory / "host"))
            for number in range(1, 6):
                (directory / f"kernel-{number}").symlink_to(directory / "host")
            time.sleep(100)
    info = json.loads((directory / "connection.json").read_text())
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = {
        channel: context.socket(zmq.XPUB if channel == "iopub" else zmq.ROUTER) for channel in ("iopub", "stdin", "control", "shell")
    }
    for channel, sock in sockets.items():
        sock.bind(f"ipc://{info['ip']}-{info[f'{channel}_port']}")
    send_garbage(sockets, messages.Signer(info["key"]), LARGE.get(os.environ["HOSTILE"], []))


def send_garbage(sockets: dict[str, zmq.Socket[bytes]], signer: messages.Signer, more: list[bytes]) -> None:
    """Answer each request, after all that is no answer."""
    sockets["iopub"].recv()
    sockets["iopub"].send_multipart(signer.make("iopub_welcome", {}))
    while True:
        message = messages.parse(sockets["shell"].recv_multipart())
        if message is None:
            continue
        if os.environ["HOSTILE"] == "closes" and message.type == "execute_request":
            sockets["shell"].close(linger=0)
            time.sleep(100)
        for parts in GARBAGE:
            for channel, sock in sockets.items():
                if channel != "iopub":
                    sock.send_multipart([*message.identities[:1], *parts])
                elif b"forged" not in parts:  # a front end may give up at that, as with any kernel
                    sock.send_multipart(parts)
        reply = {"status": "ok", "execution_count": 5, "protocol_version": "5.3"}
        kind = message.type.replace("_request", "_reply")
        sockets["shell"].send_multipart(signer.make(kind, reply, parent=message.header, identities=message.identities))
        for kind, content in (
            ("status", {"execution_state": "busy"}),
            ("execute_input", {"code": "", "execution_count": "many"}),
            *([("display_data", {})] if more else []),
            ("iopub_welcome", {}),
            ("status", {"execution_state": "dead"}),
            ("status", {"execution_state": "idle"}),
        ):
            parts = signer.make(kind, content, parent=message.header, identities=(b"t",))
            sockets["iopub"].send_multipart([*parts, *more] if kind == "display_data" else parts)
        sockets["stdin"].send_multipart(signer.make("input_request", {"prompt": "password"}, identities=(b"nobody",)))


if __name__ == "__main__":
    if sys.argv[1] == "inside":
        main(Path(sys.argv[2]))
    sys.exit(app.serve(app.arguments(sys.argv[1:]), LocalEngine(hostile)))
