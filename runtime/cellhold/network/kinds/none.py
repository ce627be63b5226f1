"""No network: a network namespace with nothing but loopback in it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cellhold.errors import NotAllowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cellhold.errors import CellholdError
    from cellhold.network.egress import Refused
    from cellhold.network.kinds.base import Connection
    from cellhold.network.model import Lease
    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step
    from cellhold.store.home import Home


class NoNetwork:
    """The null object: nothing to find, to hand over or to connect.

    As kinds.base.NetworkKind.
    """

    def __init__(self, word: str, home: Home, *, container: str, name: str, report: Callable[[Step], None]) -> None:  # noqa: ARG002
        """Keep what the errors say."""
        self._container, self._name = container, name

    @classmethod
    def check(cls, spec: Spec, home: Home) -> None:
        """Accept everything."""

    def prepare(self, spec: Spec) -> None:
        """Do nothing."""

    def plan_fields(self) -> dict[str, Any]:
        """Return nothing: it is the plan's default."""
        return {}

    @contextmanager
    def descriptors(self) -> Iterator[tuple[int, ...]]:
        """Open nothing."""
        yield ()

    def attach(self) -> CellholdError | None:
        """Do nothing."""
        return None

    def detach(self) -> None:
        """Do nothing."""

    def syscalls(self) -> dict[str, tuple[str, ...]]:
        """Return nothing."""
        return {}

    def leases(self) -> list[Lease]:
        """Return nothing: it has no address of its own."""
        return []

    def connections(self, pid: int | None) -> list[Connection]:  # noqa: ARG002  # as NetworkKind
        """Return nothing, either."""
        return []

    def refused(self) -> list[Refused]:
        """Raise NotAllowed: there is no policy."""
        raise NotAllowed(f"cannot look at the network of container {self._container}: it does not run, or was made with network=none")

    def restrict(self, policy: str) -> None:  # noqa: ARG002  # as NetworkKind
        """Raise NotAllowed: there is nothing to restrict."""
        raise NotAllowed(f"cannot change egress of container {self._name}: it is on no network", hint="network=bridge, when it is made")

    def rename(self, name: str) -> None:
        """Do nothing: nobody finds it by name."""
