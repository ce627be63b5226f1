"""An engine that shares nothing with the host kernel but a TCP connection.

No file system, no descriptors and no pids.

    python carried.py -f CONNECTION_FILE     the host kernel with an engine that knows the address alone (CELLHOLD_FAR)

What runs is on the far side (far_side.py); what goes over the connection are frames
(wire.py).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError, NotSupported
from cellhold.spec.lifecycle import State
from cellhold.spec.outcome import Outcome, Why
from cellhold.spec.usage import Usage
from cellhold_kernel import app
from cellhold_kernel.engine.base import Feature, Ready
from cellhold_kernel.gate.images import Names
from cellhold_kernel.protocol.text import OutputTail
from cellhold_kernel.transport.backend import CHANNELS, Backend
from wire import ORDERS, OUTPUT, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from cellhold.spec.limits import Limits
    from cellhold.spec.spec import Spec
    from cellhold_kernel.engine.base import KernelSandbox, Preparation, Topic
    from cellhold_kernel.gate.granted import GrantedBuild, GrantedCommit, GrantedContainer, GrantedRun
    from cellhold_kernel.gate.request import Held
    from cellhold_kernel.jobs.build_context import BuildContext
    from cellhold_kernel.jobs.inspection import Look
    from cellhold_kernel.jobs.job import Job

ADDRESS = "CELLHOLD_FAR"


class CarriedEngine:
    """As much of a cluster as fits in a test."""

    name = "carried"
    missing: Mapping[Feature, str] = {
        Feature.PAUSE: "a program behind a connection cannot be paused",
        Feature.UPDATE: "the far side changes no limits of what runs",
        Feature.USAGE: "not measured by the far side",
        Feature.NETWORK: "the far side does not say how it is connected",
        Feature.COMMIT: "the far side keeps no images",
        Feature.BUILD: "the far side keeps no images",
        Feature.RUN: "the far side runs notebooks only",
        Feature.LAYERS: "the far side has no layers",
        Feature.PACKAGES: "the far side mounts nothing in what runs",
        Feature.FILES: "the far side has no folder of this host",
        Feature.TRACE: "the far side does not say how it was made",
    }

    def check(self, spec: Spec) -> None:
        if spec.image != "host":
            raise NotSupported(f"cannot use image={spec.image}: the far side has one alone", hint="image=host")
        for key in ("cpus", "disk_bytes", "seconds"):
            if getattr(spec.limits, key) is not None:
                raise NotSupported(f"cannot limit {key}: the far side holds memory only")

    def prepare(self, preparation: Preparation) -> CarriedReady:
        return CarriedReady(preparation)

    def commit(self, granted: GrantedCommit) -> Job:
        raise NotSupported(f"cannot commit {granted.container}: {self.missing[Feature.COMMIT]}")

    def build(self, granted: GrantedBuild, context: BuildContext) -> Job:
        raise NotSupported(f"cannot build {granted.asked} of {context}: {self.missing[Feature.BUILD]}")

    def run(self, granted: GrantedRun) -> Job:
        raise NotSupported(f"cannot run {granted.spec.image}: {self.missing[Feature.RUN]}")

    def install(self, granted: GrantedContainer, sandbox: KernelSandbox) -> Job:
        raise AssertionError(granted, sandbox)  # it is among the missing

    def clear_abandoned(self) -> None:
        pass

    def image_names(self, owner: str) -> Names:
        del owner
        return Names()

    def has_names(self, image: str) -> bool:
        del image
        return False

    def containers(self, owner: str, *, without: Sequence[str]) -> tuple[Held, ...]:
        del owner, without
        return ()

    def counting(self, owner: str) -> AbstractContextManager[None]:
        del owner
        return nullcontext()


class CarriedReady(Ready):
    """There is nothing to get ready."""

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation

    def create(self, *, instead_of: Sequence[str]) -> CarriedSandbox:
        del instead_of
        return CarriedSandbox(self._preparation)


class CarriedSandbox:
    """One connection."""

    last_words = None
    files = None
    interrupts_by_signal = False

    def __init__(self, preparation: Preparation) -> None:
        self.spec = preparation.granted.spec
        self.id = os.urandom(6).hex()
        self.state = State.CREATED
        self.scratch = Path(tempfile.mkdtemp(prefix="carried-"))
        self._preparation = preparation
        self._outcome: Outcome | None = None
        self._was_killed = self._is_removed = False
        self._ends: dict[int, socket.socket] = {}  # of this run's channels, by their number on the wire
        self._ours: dict[str, socket.socket] = {}  # their other ends, until the backend has them
        self._backend: Backend | None = None
        host, _, port = os.environ[ADDRESS].rpartition(":")
        self._wire = Wire(socket.create_connection((host, int(port))))
        self._over, self._tell_over = socket.socketpair()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self) -> None:
        self.output = OutputTail()
        self._outcome, self._was_killed = None, False
        self.state = State.RUNNING
        self._wire.order(
            do="start",
            key=self._preparation.key,
            signature_scheme=self._preparation.signature_scheme,
            arguments=self._preparation.arguments,
            env=dict(self.spec.env),
            memory_bytes=self.spec.limits.memory_bytes,
        )

    def _read(self) -> None:
        """Read what the far side sends, in a thread of its own.

        The host kernel waits only for descriptors of its own.
        """
        while (frame := self._wire.read()) is not None:
            stream, data = frame
            with suppress(OSError):  # whoever was to have it has let go of it
                if stream == ORDERS:
                    self._note(json.loads(data))
                elif stream == OUTPUT:
                    os.write(self.output.writer, data)
                elif stream in self._ends:
                    self._ends[stream].sendall(data)
        if self._outcome is None and not self._is_removed:
            self._end(Outcome(status=137, signal=None, why=Why.LOST, seconds=0.0))

    def _note(self, told: dict[str, Any]) -> None:
        if told["tell"] == "bound":  # what the channels say comes right behind it
            ends = {channel: socket.socketpair() for channel in CHANNELS}
            self._ends = {number: ends[channel][1] for number, channel in enumerate(CHANNELS, start=1)}
            self._ours = {channel: ends[channel][0] for channel in CHANNELS}
            return
        status = told["status"]
        number = -status if status < 0 else None
        why = Why.MEMORY if told["memory"] else Why.KILLED if self._was_killed else Why.EXITED
        limit = self.spec.limits.memory_bytes
        code = status if number is None else 128 + number
        self._end(Outcome(status=code, signal=number, why=why, seconds=told["seconds"], memory_limit_bytes=limit))

    def _end(self, outcome: Outcome) -> None:
        self.state, self._outcome = State.STOPPED, outcome
        for one in self._ends.values():
            one.shutdown(socket.SHUT_WR)
        self._tell_over.send(b".")

    def connect(self) -> Backend | None:
        if not self._ours:
            return None
        for one in self._ours.values():
            one.setblocking(False)  # as socket has it
        for number, end in self._ends.items():
            self._wire.pump(number, end.recv)
        self._backend, self._ours = Backend(self._ours), {}
        return self._backend

    def fileno(self) -> int:
        return self._over.fileno()

    def poll(self) -> Outcome | None:
        return self._outcome

    def kill(self, number: int = signal.SIGKILL) -> None:
        self._was_killed = True
        self._wire.order(do="signal", number=int(number))

    def rest(self) -> None:
        self._over.recv(1)
        self._let_go()

    def _let_go(self) -> None:
        if self._backend is not None:
            self._backend.close()
        for one in (*self._ends.values(), *self._ours.values()):
            one.close()
        self._ends, self._ours, self._backend = {}, {}, None
        self.output.close()

    def remove(self) -> None:
        if self._is_removed:
            return
        self._is_removed = True
        self._wire.close()
        for one in (*self._ends.values(), *self._ours.values()):
            one.close()  # what the reader may be stuck at
        self._reader.join()
        self._let_go()
        self._over.close()
        self._tell_over.close()
        shutil.rmtree(self.scratch)

    def usage(self, *, is_repeated: bool = False) -> Usage:
        del is_repeated
        return Usage()

    def inspect(self, topic: Topic) -> Mapping[str, Any]:
        feature = {"layers": Feature.LAYERS, "trace": Feature.TRACE, "network": Feature.NETWORK}.get(topic, Feature.USAGE)
        raise NotSupported(f"cannot show the {topic}: {CarriedEngine.missing[feature]}")

    def look(self, what: str, *words: str) -> Look:
        raise NotSupported(f"cannot look for {what} {' '.join(words)}: {CarriedEngine.missing[Feature.LAYERS]}")

    def pause(self) -> None:
        raise NotSupported(f"cannot pause: {CarriedEngine.missing[Feature.PAUSE]}")

    unpause = pause

    def update(self, limits: Limits) -> None:
        raise CellholdError(f"cannot change {limits}: {CarriedEngine.missing[Feature.UPDATE]}")

    def restrict(self, policy: str) -> None:
        raise CellholdError(f"cannot use egress={policy}: {CarriedEngine.missing[Feature.NETWORK]}")


if __name__ == "__main__":
    sys.exit(app.serve(app.arguments(sys.argv[1:]), CarriedEngine()))
