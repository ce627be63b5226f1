"""What a container's network can be asked, whatever its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from cellhold.errors import CellholdError
    from cellhold.network.egress import Refused
    from cellhold.network.model import Lease, Network
    from cellhold.spec.spec import Spec
    from cellhold.spec.tracing import Step
    from cellhold.store.home import Home


class Connection(NamedTuple):
    """A container on a network, with the traffic of this run.

    Bytes and packets are None where it has just ended.
    """

    lease: Lease
    network: Network
    received_bytes: int | None
    sent_bytes: int | None
    received_packets: int | None
    sent_packets: int | None


class NetworkKind(Protocol):
    """One container's network. Nothing is taken before attach().

    Container calls prepare, plan_fields, descriptors, attach and detach, in that order,
    at each start and end, on the thread that starts it or learns of its end. Everything
    may block on the networks' lock. The rest is for a container that runs, and is asked
    by whoever has its record, from any process.
    """

    def __init__(self, word: str, home: Home, *, container: str, name: str, report: Callable[[Step], None]) -> None:
        """Keep what it is asked about later.

        word: Spec.network. container: its id. report: is called with the steps of
        attach().
        """

    @classmethod
    def check(cls, spec: Spec, home: Home) -> None:
        """Raise what prepare() and attach() would, as far as can be known before.

        Raises NetworkNotFound, ContainerNotFound, NotAllowed, NotSupported,
        InvalidSpec.
        """

    def prepare(self, spec: Spec) -> None:
        """Find the network for one start. Raises as check()."""

    def plan_fields(self) -> dict[str, Any]:
        """Return what rootfs.plan() has to know of it. Needs prepare()."""

    def descriptors(self) -> AbstractContextManager[tuple[int, ...]]:
        """Open what the launcher is handed, for as long as the start takes.

        One descriptor at most.
        """

    def attach(self) -> CellholdError | None:
        """Connect the container while its PID 1 comes up, within descriptors().

        Returns the error instead of raising it: PID 1 sees a closed gate and fails as
        well, and its caller has to read that failure first.
        """

    def detach(self) -> None:
        """Return what was taken. Does nothing the second time."""

    def syscalls(self) -> dict[str, tuple[str, ...]]:
        """Return what the last attach() asked the kernel, by the name of the step."""

    def leases(self) -> list[Lease]:
        """Return its places on networks while it runs, the first network's first."""

    def connections(self, pid: int | None) -> list[Connection]:
        """Return the same with the traffic of this run. pid: of its PID 1."""

    def refused(self) -> list[Refused]:
        """Return what its egress policy has refused, the most frequent first.

        Raises NotAllowed where it does not run or has no policy, SetupFailed.
        """

    def restrict(self, policy: str) -> None:
        """Replace the egress policy of the running container.

        Raises InvalidSpec, NotAllowed where it is on no network, NotSupported,
        SetupFailed.
        """

    def rename(self, name: str) -> None:
        """Make others on its networks find it by another name."""
