"""A network that is not the container's own: this host's (network=host), or that of a container which runs (network=container:NAME).

Nothing is connected and nothing limited: the program is where the other one is, with fewer rights over it than that one has.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from cellhold.errors import NotAllowed, NotSupported
from cellhold.network import leases, networks
from cellhold.spec.spec import CONTAINER, HOST
from cellhold.store import record, subids

if TYPE_CHECKING:
    from cellhold.spec.spec import Spec
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_RESOLVER, _HOSTS = "/etc/resolv.conf", "/etc/hosts"


def check(spec: Spec, home: Home) -> None:
    """Raise what Shared() would. Raises ContainerNotFound, NotAllowed for one that does not run, NotSupported without root."""
    if spec.network != HOST:
        _other(spec, home)


class Shared:
    """The network namespace of somebody else."""

    def __init__(self, spec: Spec, home: Home) -> None:
        """See that it is there. Raises as check() does."""
        self._other = None if spec.network == HOST else _other(spec, home)
        self.resolver: str | None = None
        self.known_hosts = ""
        if self._other is None:
            self.resolver, self.known_hosts = _text(_RESOLVER), _text(_HOSTS)
        elif found := leases.of_container(self._other.id, home):
            self.resolver = f"nameserver {networks.find(found[0].network, home).gateway}\n"

    def open(self) -> int:
        """A descriptor of it; the caller closes it. Raises NotAllowed where the other one has ended."""
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


def _other(spec: Spec, home: Home) -> Record:
    if subids.is_rootless():
        raise NotSupported(
            f"cannot use network={spec.network} without root: nobody but root may enter another container's network",
            hint="network=bridge and published ports",
        )
    known = record.find(spec.network.removeprefix(CONTAINER), home.containers)
    if not known.is_alive or record.birth(known.pid or 0) != known.born:
        raise NotAllowed(f"cannot use network={spec.network}: container {known.name} does not run", hint=f"cellhold start {known.name}")
    return known


def _text(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""
