"""A network that is not the container's own.

This host's (network=host), or that of a running container (network=container:NAME).

Nothing is connected and nothing is limited: the program is in the other's namespace,
with fewer rights over it than the other has.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from cellhold.errors import NotAllowed, NotSupported
from cellhold.init.prepare import SHARED
from cellhold.network import leases, networks
from cellhold.network.kinds.none import NoNetwork
from cellhold.spec.spec import CONTAINER, HOST
from cellhold.store import record, subids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_RESOLVER, _HOSTS = "/etc/resolv.conf", "/etc/hosts"


class SharedNetwork(NoNetwork):
    """Another's network namespace.

    The container has no address there, so all else is as without a network.
    """

    def __init__(self, word: str, home: Home, *, container: str, name: str, report: Callable[[Step], None]) -> None:
        """Nothing is looked up yet."""
        super().__init__(word, home, container=container, name=name, report=report)
        self._home = home
        self._other: Record | None = None  # None: this host
        self._fields: dict[str, Any] = {}

    @classmethod
    def check(cls, spec: Spec, home: Home) -> None:
        """Raise ContainerNotFound, NotAllowed (it does not run), NotSupported (no root)."""
        if spec.network != HOST:
            _running(spec, home)

    def prepare(self, spec: Spec) -> None:
        """Find the other container, and how names are found there. Raises as check()."""
        self._other = None if spec.network == HOST else _running(spec, self._home)
        resolver, known_hosts = None, ""
        if self._other is None:
            resolver, known_hosts = _text(_RESOLVER), _text(_HOSTS)
        elif others := leases.of_container(self._other.id, self._home):
            resolver = f"nameserver {networks.find(others[0].network, self._home).gateway}\n"
        self._fields = {"network": SHARED, "resolver": resolver, "known_hosts": known_hosts}

    def plan_fields(self) -> dict[str, Any]:
        """Return whose network it is, and the texts of resolv.conf and of hosts."""
        return self._fields

    @contextmanager
    def descriptors(self) -> Iterator[tuple[int, ...]]:
        """Open the namespace. Raises NotAllowed where the other container has ended."""
        namespace = self._open()
        try:
            yield (namespace,)
        finally:
            os.close(namespace)

    def _open(self) -> int:
        if self._other is None:
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with ExitStack() as closing:
            with suppress(FileNotFoundError):
                fd = os.open(f"/proc/{self._other.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                closing.callback(os.close, fd)
                if record.birth(self._other.pid or 0) == self._other.born:  # else another process has its number by now
                    closing.pop_all()
                    return fd
            raise NotAllowed(
                f"cannot use network={CONTAINER}{self._other.name}: it has just ended", hint=f"cellhold start {self._other.name}"
            )


def _running(spec: Spec, home: Home) -> Record:
    """Return the record of the container whose network is wanted."""
    if subids.is_rootless():
        raise NotSupported(
            f"cannot use network={spec.network} without root: nobody but root may enter another container's network",
            hint="network=bridge and published ports",
        )
    other = record.find(spec.network.removeprefix(CONTAINER), home.containers)
    if not other.is_alive or record.birth(other.pid or 0) != other.born:
        raise NotAllowed(f"cannot use network={spec.network}: container {other.name} does not run", hint=f"cellhold start {other.name}")
    return other


def _text(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""
