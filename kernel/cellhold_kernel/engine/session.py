"""A notebook's containers: which one answers the cells now, which one comes up, and who wants to know when that changes.

At most two exist: `current` answers, `coming` starts. A replacement starts beside the old one, which is taken away only once the
new one answers; whatever goes wrong before that leaves the old one as it was.
"""

from __future__ import annotations

import hashlib
import os
from functools import partial
from typing import TYPE_CHECKING, Protocol

from cellhold.errors import CellholdError
from cellhold_kernel.engine import diagnosis, startup
from cellhold_kernel.engine.base import Feature, Preparation, require
from cellhold_kernel.engine.cell_kernel import CellKernel
from cellhold_kernel.engine.preparer import Preparer
from cellhold_kernel.engine.quota import Quota
from cellhold_kernel.gate import host_directories
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import ChangeRequest, ContainerRequest, EgressRequest, PullRequest, ResumeRequest
from cellhold_kernel.settings import policy
from cellhold_kernel.settings.settings import CellLimits, Trust

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold_kernel.engine.base import Engine, Ready
    from cellhold_kernel.gate.granted import GrantedCommit, GrantedContainer
    from cellhold_kernel.gate.images import Names
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.protocol.connection import Connection
    from cellhold_kernel.settings.policy import Policy
    from cellhold_kernel.settings.sources import Sources
    from cellhold_kernel.transport.backend import Backend
    from cellhold_kernel.transport.loop import Loop

_OWNER_DIGITS = 16


class Listener(Protocol):
    """What Session calls when a container comes or goes; relay/transitions.py is it."""

    def received(self, kernel: CellKernel, channel: str) -> None:
        """A cell kernel's socket has something to read."""

    def nudge(self, kernel: CellKernel) -> None:
        """The cell kernel is connected and says nothing: ask it for something."""

    def progressed(self, job: Job) -> None:
        """The image of the coming container is pulled, or gets a kernel, and that got further; or it is done."""

    def failed(self, error: CellholdError) -> None:
        """The coming container will not come; it is taken away already."""

    def displaced(self, kernel: CellKernel) -> None:
        """The current container makes way for the coming one before that is made; it is to be read out and let go."""

    def ended(self, kernel: CellKernel, outcome: Outcome) -> None:
        """The current container ended; it is there still, to be read out and let go."""


def _share_a_port(old: Spec, new: Spec) -> bool:
    """Whether both publish on the same port of the host, so that the new container cannot come up beside the old one."""
    taken = {(port.address, port.host, port.protocol) for port in old.ports if port.host is not None}
    return any((port.address, port.host, port.protocol) in taken for port in new.ports)


class Session:
    """The containers of one notebook. failure: why there is none, when there is none. stopped: one that ended on its user's order, kept.

    owner: the notebook that they belong to (Spec.owner): by its file, so that it is the same when it is opened again; where nobody says
    which file that is, by its connection, which stays when the host kernel is started again.
    """

    def __init__(
        self,
        connection: Connection,
        loop: Loop,
        *,
        engine: Engine,
        arguments: Sequence[str],
        sources: Sources,
    ) -> None:
        """arguments: for ipykernel; sources: what the first container is made of."""
        self.settings = sources.settings
        identity = connection.text() if sources.notebook is None else f"notebook {sources.notebook}"
        self.owner = hashlib.sha256(os.fsencode(identity)).hexdigest()[:_OWNER_DIGITS]  # a name need not be UTF-8
        self.cell_limits = CellLimits()
        self.current: CellKernel | None = None
        self.coming: CellKernel | None = None
        self.stopped: CellKernel | None = None
        self.failure: CellholdError | None = None
        self._asked = self.settings, self.cell_limits  # of the container that comes
        self._sources = sources
        self.workspace = sources.workspace
        self._connection = connection
        self._loop = loop
        self.engine = engine
        self.quota = Quota(engine, self.owner, self.policy, self)
        self._preparer = Preparer(engine, loop, progressed=self._progressed, failed=self._failed)
        self._arguments = tuple(arguments)
        self._listener: Listener | None = None
        self._has_cleared = False

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` from now on."""
        self._listener = listener

    def open(self, failure: CellholdError | None = None) -> None:
        """Start a container with the present settings; if that fails, or has failed already, the cells are told."""
        try:
            if failure is None:
                self.begin(trust=Trust.METADATA)
        except CellholdError as error:
            failure = error
        self.failure = failure

    def begin(self, words: Mapping[str, str] | None = None, *, trust: Trust = Trust.CELL) -> None:
        """Start a container beside the present one; if need be its image is pulled and gets a kernel first.

        words: key -> text, on top of the present settings; trust: of whoever says them.
        Raises CellholdError (InvalidSpec, NotSupported, ImageNotFound ...); nothing has changed then.
        """
        try:
            granted = self._granted(words or {}, trust)
            self.engine.check(granted.spec)
            self.cancel()  # one that was on its way makes way for what was asked for last
            self._asked = (granted.settings, granted.cell_limits)
            self._preparer.begin(partial(self._preparation, granted), partial(self._start, granted))
        except OSError as error:
            raise diagnosis.as_answer(error) from error

    def _granted(self, words: Mapping[str, str], trust: Trust) -> GrantedContainer:
        """What the gate lets it have, with all that it shows of the host opened: from here on no name of that is looked up."""
        rules = self.policy()
        asked = ContainerRequest(**self.quota.request_fields(self.settings, rules, words), words=words)
        granted = authorize(asked, trust, rules)
        if self.workspace is not None:
            granted = granted.with_folder(self.workspace.mounts(granted.folder))
        return host_directories.opened(granted, rules, self.workspace)

    def _preparation(self, granted: GrantedContainer, done: Job | None) -> Preparation:
        """done: the job on its image that has just ended."""
        return Preparation(
            granted=granted,
            key=self._connection.key,
            signature_scheme=self._connection.signature_scheme,
            arguments=self._arguments,
            instead_of=self.quota.own_ids(),
            fetch=lambda: authorize(PullRequest(image=granted.spec.image), granted.image_trust, self.policy()),
            done=done,
        )

    def _progressed(self, job: Job) -> None:
        if self._listener is not None:
            self._listener.progressed(job)

    def _failed(self, error: CellholdError) -> None:
        if self._listener is not None:
            self._listener.failed(error)

    def _start(self, granted: GrantedContainer, ready: Ready) -> None:
        displaced = self.current is not None and _share_a_port(self.current.spec, granted.spec)
        if self.current is not None and displaced and self._listener is not None:
            self._listener.displaced(self.current)
        try:
            self._create_beside(granted, ready)
        except CellholdError as error:
            self.failure = error if displaced else self.failure
            raise

    def _create_beside(self, granted: GrantedContainer, ready: Ready) -> None:
        try:
            coming = CellKernel(granted.spec, ready.create(instead_of=self.quota.own_ids()))
        except OSError as error:
            raise CellholdError(f"cannot start a container of image {granted.spec.image}: {error}") from error
        self._await(coming)
        if not self._has_cleared:
            self._has_cleared = True
            self.engine.clear_abandoned()  # there is time now: the cell kernel takes 100 times as long to come up

    def _await(self, coming: CellKernel) -> None:
        self.coming = coming
        self._loop.add(coming.life, partial(self._ended, coming))
        self._loop.add(coming.output.fileno(), partial(self._drain_output, coming))

    def park(self, kernel: CellKernel) -> None:
        """Keep the present container, which has ended."""
        self._forget(kernel)
        kernel.rest()
        self.current, self.stopped = None, kernel

    def resume(self) -> None:
        """Start the container that was kept, or where there is none a fresh one. Raises CellholdError."""
        kernel = self.stopped
        if kernel is None:
            self.begin()
            return
        rules = self.policy()
        granted = authorize(ResumeRequest(**self.quota.request_fields(self.settings, rules), spec=kernel.spec), Trust.CELL, rules)
        self.stopped, self._asked = None, (self.settings, granted.cell_limits)
        try:
            kernel.start_again()
        except (CellholdError, OSError) as error:
            kernel.close()
            raise CellholdError(f"cannot start the container again: {error}") from error
        self._await(kernel)

    def remove_stopped(self) -> None:
        """Take away the container that was kept."""
        if self.stopped is not None:
            self.stopped.close()
            self.stopped = None

    def update(self, texts: Mapping[str, str]) -> None:
        """Change limits of the present container, and of those that follow it. Raises CellholdError; nothing has changed then."""
        if self.current is None:
            raise CellholdError("cannot change limits: no container runs")
        require(Feature.UPDATE, self.missing, "change limits")
        rules = self.policy()
        with self.quota.lock():
            asked = ChangeRequest(**self.quota.request_fields(self.settings, rules), words=texts)
            granted = authorize(asked, Trust.CELL, rules)
            self.current.update(granted)
        self.settings, self.cell_limits = granted.settings, granted.cell_limits

    def restrict(self, policy: str) -> None:
        """Change the egress policy of the present container, and of those that follow it. Raises as update()."""
        if self.current is None:
            raise CellholdError("cannot change egress: no container runs")
        require(Feature.NETWORK, self.missing, "change egress")
        rules = self.policy()
        asked = EgressRequest(**self.quota.request_fields(self.settings, rules), egress=policy)
        granted = authorize(asked, Trust.CELL, rules)
        self.current.restrict(granted)
        self.settings = granted.settings

    @property
    def missing(self) -> Mapping[Feature, str]:
        """Why, for each feature that the engine lacks."""
        return self.engine.missing

    def names(self) -> Names:
        """Return what images are called for the notebook. Raises SetupFailed."""
        return self.quota.names()

    def commit(self, granted: GrantedCommit) -> Job:
        """Begin to make an image of a container."""
        return self.engine.commit(granted)

    def policy(self) -> Policy:
        """The machine's policy, as it is now."""
        return policy.read(self._sources.policy)

    def tick(self) -> float | None:
        """Look at the coming container; return the seconds until the next look, None where there is nothing to wait for."""
        if self.coming is None or self._listener is None:
            return None
        coming, listener = self.coming, self._listener
        try:
            return startup.look(coming, nudge=listener.nudge, connected=partial(self._connected, listener))
        except (CellholdError, OSError) as error:
            self.cancel()
            listener.failed(diagnosis.as_answer(error))
            return 0

    def _connected(self, listener: Listener, kernel: CellKernel, backend: Backend) -> None:
        for channel, socket in backend.sockets.items():
            self._loop.add(socket, partial(listener.received, kernel, channel))

    def _ended(self, kernel: CellKernel) -> None:
        outcome = kernel.sandbox.poll()
        if outcome is not None and kernel is self.current and self._listener is not None:
            self._listener.ended(kernel, outcome)  # if it is the coming one: tick() is next, and sees it

    def _drain_output(self, kernel: CellKernel) -> None:
        if not kernel.output.drain():
            self._loop.remove(kernel.output.fileno())

    def arrive(self) -> CellKernel | None:
        """The coming one speaks: make it the current one. Gives the old one, to be read out and let go."""
        old, self.current, self.coming = self.current, self.coming, None
        (self.settings, self.cell_limits), self.failure = self._asked, None
        if self.current is not None:
            self.current.greeted()
        self.remove_stopped()
        return old

    @property
    def is_coming(self) -> bool:
        """Whether a container is on its way."""
        return self.coming is not None or self._preparer.is_busy

    def cancel(self) -> None:
        """Take the coming one away, if there is one."""
        self._preparer.cancel()
        if self.coming is not None:
            coming, self.coming = self.coming, None
            self.let_go(coming)

    def let_go(self, kernel: CellKernel) -> None:
        """Take a container away."""
        if kernel is self.current:
            self.current = None
        self._forget(kernel)
        kernel.close()

    def _forget(self, kernel: CellKernel) -> None:
        self._loop.remove(kernel.life)
        self._loop.remove(kernel.output.fileno())
        for socket in kernel.backend.sockets.values() if kernel.backend is not None else ():
            self._loop.remove(socket)

    def close(self) -> None:
        """Take everything away."""
        self.cancel()
        self.remove_stopped()
        if self.current is not None:
            self.let_go(self.current)
