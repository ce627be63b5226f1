"""A container's way to its network, from one start to the end of what it started: none, a place of its own, or somebody else's."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cellhold import network
from cellhold.errors import CellholdError, SetupFailed
from cellhold.init.prepare import SHARED, WIRED
from cellhold.spec import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cellhold.network.bridge import Joined
    from cellhold.network.sharing import Shared
    from cellhold.network.usermode import UserMode
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home


class Wiring:
    """One container's. calls: what connected it the last time, by the step's name."""

    def __init__(self, container: str, name: str, home: Home, tell: Callable[[tracing.Step], None]) -> None:
        """Nothing is taken yet. container: its id."""
        self._container, self._name, self._home, self._tell = container, name, home, tell
        self._joined: Joined | UserMode | None = None
        self._shared: Shared | None = None
        self._gate: tuple[socket.socket, socket.socket] | None = None  # our end, and PID 1's
        self.calls: dict[str, tuple[str, ...]] = {}

    @property
    def is_own(self) -> bool:
        """Whether it has a place of its own now."""
        return self._joined is not None

    def begin(self, spec: Spec) -> None:
        """See that its network is there, or the other's. Raises what network.join() and network.share() do."""
        self.calls = {}
        self._shared = network.share(spec, self._home)
        self._joined = network.join(spec, self._container, self._name, self._home)

    def planned(self) -> dict[str, Any]:
        """What rootfs.plan() has to know of it."""
        if self._shared is not None:
            return {"network": SHARED, "resolver": self._shared.resolver, "known_hosts": self._shared.known_hosts}
        if self._joined is not None:
            return {"network": WIRED, "resolver": self._joined.resolver}
        return {}

    @contextmanager
    def handed_over(self) -> Iterator[tuple[int, ...]]:
        """The descriptor that the launcher gets for it, if any; as long as the start takes."""
        if self._shared is not None:
            namespace = self._shared.open()
            try:
                yield (namespace,)
            finally:
                os.close(namespace)
        elif self._joined is not None:
            self._gate = ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ours, theirs:
                yield (theirs.fileno(),)
        else:
            yield ()

    def connect(self) -> CellholdError | None:
        """Connect it, while PID 1 comes up; gives the error, which PID 1 sees by the gate that is closed then."""
        if self._joined is None or self._gate is None:
            return None
        gate, theirs = self._gate
        theirs.close()  # PID 1 has its own: when that ends, ours tells
        begun = time.monotonic()
        try:
            lease = self._joined.take()
            start = time.monotonic()
            self._tell(
                tracing.Step("network.lease", f"{lease.address} of {self._joined.network.subnet} on {lease.network}", begun, start - begun)
            )
            self._joined.connect(gate)
        except CellholdError as error:
            gate.close()
            return error
        except OSError as error:
            gate.close()
            return SetupFailed(f"cannot connect container {self._name}: {error}", step="network.connect", errno=error.errno or 0)
        words = f"to {self._joined.network.bridge}, {self._joined.network.gateway}"
        self.calls = {"network.connect": self._joined.calls()}
        self._tell(tracing.Step("network.connect", words, start, time.monotonic() - start))
        return None

    def end(self) -> None:
        """Give back what was taken; a second time there is nothing to do."""
        self._shared = None
        if self._joined is not None:
            self._joined.release()
            self._joined = None
