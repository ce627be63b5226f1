"""A host kernel whose cell kernel sends, byte for byte, what the test wants.

Run as `python puppet.py -f CONNECTION_FILE ...`.

A cell's code is the name of a file with a JSON object: what to answer this cell, what
to publish for it, and what to answer later requests, by their type. Bytes are written
as text in ISO 8859-1; THIS in a parent header is the id of the request.

    {"reply": CONTENT, "publish": [[TYPE, CONTENT, PARENT] ...], "answers": {"comm_info_request": CONTENT}}

With "answers_another" the reply goes to another client, and the cell kernel is killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from cellhold_kernel import app
from cellhold_kernel.engine.local.engine import LocalEngine
from cellhold_kernel.protocol import messages
from standin import StandIn

if TYPE_CHECKING:
    from cellhold.spec.spec import Spec

INFO = {
    "status": "ok",
    "protocol_version": "5.3",
    "implementation": "puppet",
    "implementation_version": "1",
    "language_info": {"name": "python", "version": "3", "mimetype": "text/plain", "file_extension": ".py"},
    "banner": "",
    "help_links": [],
}


def puppet(spec: Spec) -> StandIn:
    """Make a stand-in whose program is this file, as the cell kernel."""
    return StandIn.create(replace(spec, args=(sys.executable, __file__, "inside", "/run/cellhold"), env={"PYTHONPATH": ":".join(sys.path)}))


class Puppet:
    """The cell kernel."""

    def __init__(self, directory: Path) -> None:
        info = json.loads((directory / "connection.json").read_text())
        self._signer = messages.Signer(info["key"])
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        for channel in ("iopub", "stdin", "control", "shell"):
            self._sockets[channel] = self._context.socket(zmq.XPUB if channel == "iopub" else zmq.ROUTER)
            self._sockets[channel].bind(f"ipc://{info['ip']}-{info[f'{channel}_port']}")
        self._answers: dict[str, bytes] = {"kernel_info_request": json.dumps(INFO).encode()}

    def run(self) -> None:
        self._sockets["iopub"].recv()
        self._publish("iopub_welcome", b"{}", b"{}")
        poller = zmq.Poller()
        for channel in ("shell", "control"):
            poller.register(self._sockets[channel], zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            for channel in ("shell", "control"):
                if self._sockets[channel] in ready:
                    message = messages.parse(self._sockets[channel].recv_multipart())
                    if message is not None:
                        self._answer(channel, message)

    def _answer(self, channel: str, message: messages.Message) -> None:
        parent = json.dumps(message.header).encode()
        self._publish("status", b'{"execution_state": "busy"}', parent)
        code = str(message.content.get("code"))
        wanted: dict[str, Any] = json.loads(Path(code).read_text()) if code.startswith("/") else {}
        self._answers |= {kind: text.encode("latin-1") for kind, text in wanted.get("answers", {}).items()}
        for kind, content, header in wanted.get("publish", ()):
            of = parent if header is None else header.replace("THIS", message.id).encode("latin-1")
            self._publish(kind, content.encode("latin-1"), of)
        reply = wanted["reply"].encode("latin-1") if "reply" in wanted else self._answers.get(message.type, b'{"status": "ok"}')
        kind = message.type.replace("_request", "_reply")
        if wanted.get("answers_another"):
            self._sockets[channel].send_multipart(self._made(kind, reply, parent, [message.identities[0], b"another"]))
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        self._sockets[channel].send_multipart(self._made(kind, reply, parent, message.identities))
        self._publish("status", b'{"execution_state": "idle"}', parent)
        if message.type == "shutdown_request":
            self._context.destroy(linger=100)
            os._exit(0)

    def _publish(self, kind: str, content: bytes, parent: bytes) -> None:
        self._sockets["iopub"].send_multipart(self._made(kind, content, parent, [kind.encode()]))

    def _made(self, kind: str, content: bytes, parent: bytes, identities: list[bytes]) -> list[bytes]:
        signed = [json.dumps(self._signer.header(kind)).encode(), parent, b"{}", content]
        return [*identities, messages.DELIMITER, self._signer.sign(signed), *signed]


if __name__ == "__main__":
    if sys.argv[1] == "inside":
        Puppet(Path(sys.argv[2])).run()
    sys.exit(app.serve(app.arguments(sys.argv[1:]), LocalEngine(puppet)))
