"""A plain subprocess behind the part of Container that the kernel uses.

So the host kernel can be tested where no container can be made.

`python standin.py -f CONNECTION_FILE ...` is the host kernel with it. The exchange
becomes a directory of the host's; a kill at the memory limit is any SIGKILL, when there
is a limit.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cellhold.errors import ImageNotFound, InvalidSpec, NotAllowed
from cellhold.spec.lifecycle import State
from cellhold.spec.outcome import Outcome, Why
from cellhold.spec.usage import Usage
from cellhold_kernel import app
from cellhold_kernel.engine.local.engine import LocalEngine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold.spec.limits import Limits
    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step


class StandIn:
    """One subprocess."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.id = os.urandom(6).hex()
        self.state = State.RUNNING
        self.outcome: Outcome | None = None
        self.timings: list[Step] = []
        self.pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._exchange = ""
        self._pipes: list[int] = []

    @classmethod
    def create(cls, spec: Spec) -> Self:
        if spec.image != "host":
            raise ImageNotFound(f"cannot find image {spec.image}: no such directory", hint="image=host")
        return cls(spec)

    def start(
        self,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        more: Sequence[int] = (),
        keep: object = None,
    ) -> None:
        assert not more
        del keep
        exchange = self.spec.exchange
        assert exchange is not None
        self._clear()
        self._exchange = tempfile.mkdtemp(prefix="ch", dir="/var/tmp")  # short: a socket's path has 107 bytes
        for name, text in exchange.files:
            Path(self._exchange, name).write_text(text.replace(exchange.target, self._exchange))
        for name in exchange.pipes:
            os.mkfifo(f"{self._exchange}/{name}", 0o600)
            self._pipes.append(os.open(f"{self._exchange}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        args = [arg.replace(exchange.target, self._exchange) for arg in self.spec.args]
        null = subprocess.DEVNULL
        env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), **self.spec.env}
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            args,
            env=env,
            process_group=0,
            stdin=null if stdin is None else stdin,
            stdout=null if stdout is None else stdout,
            stderr=null if stderr is None else stderr,
        )
        self._pidfd = os.pidfd_open(self._process.pid)

    def upper(self, target: str) -> int:
        raise NotAllowed(f"cannot see what is written to {target}")

    def exchange(self) -> list[int]:
        return [os.open(self._exchange, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), *map(os.dup, self._pipes)]

    def _clear(self) -> None:
        while self._pipes:
            os.close(self._pipes.pop())
        if self._exchange:
            shutil.rmtree(self._exchange)
            self._exchange = ""

    def signal_fd(self) -> int:
        return os.dup(self._pidfd)

    def fileno(self) -> int:
        if self.outcome is not None:
            raise NotAllowed("it does not run")
        return self._pidfd

    def poll(self) -> Outcome | None:
        if self.outcome is None and self._process is not None and (status := self._process.poll()) is not None:
            os.close(self._pidfd)
            limit = self.spec.limits.memory_bytes
            self.outcome = Outcome(
                status=status if status >= 0 else 128 - status,
                signal=-status if status < 0 else None,
                seconds=time.monotonic() - self._began,
                why=Why.MEMORY if status == -signal.SIGKILL and limit else Why.EXITED,
                memory_limit_bytes=limit,
                memory_peak_bytes=limit,
            )
        return self.outcome

    def calls(self) -> dict[str, tuple[str, ...]]:
        return {}

    def usage(self, _read: object = None) -> Usage:
        return Usage(memory_bytes=50 << 20, pids=7, cpu_seconds=0.25)

    def connections(self) -> list[Any]:
        return []

    def refused(self) -> list[Any]:
        return []

    def restrict(self, policy: str) -> None:
        raise NotAllowed(f"cannot use egress={policy}: it is on no network")

    def oom_victims(self, last: int) -> tuple[str, ...]:
        return ("python3",) * last

    def writable_layer(self) -> tuple[int, int]:
        return 1 << 30, 2 << 30

    def update(self, limits: Limits) -> None:
        if limits.memory_bytes is not None and limits.memory_bytes < self.usage().memory_bytes:  # type: ignore[operator]
            raise InvalidSpec(f"cannot use memory={limits.memory_bytes}: 50 MiB are in use")

    def pause(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        self.state = State.PAUSED

    def unpause(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)
        self.state = State.RUNNING

    def kill(self, _number: int = 9) -> None:
        assert self._process is not None
        self._process.kill()

    def remove(self, *, force: bool = False) -> None:
        if self._process is not None and self.poll() is None and force:
            self._process.kill()
            self._process.wait()
            self.poll()
        self._clear()


if __name__ == "__main__":
    sys.exit(app.serve(app.arguments(sys.argv[1:]), LocalEngine(StandIn.create)))
