"""A notebook's containers: the current one, the coming one, and a stopped one.

At most two are alive: `current` answers the cells, `coming` starts. A replacement
starts beside the old one, which is removed only once the new one answers; if anything
fails before that, the old one stays as it was.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from cellhold.errors import CellholdError
from cellhold_kernel.engine import diagnosis, startup
from cellhold_kernel.engine.base import Feature, Preparation, require
from cellhold_kernel.engine.cell_kernel import CellKernel
from cellhold_kernel.engine.preparer import Preparer
from cellhold_kernel.engine.quota import Quota
from cellhold_kernel.engine.watch import Watch
from cellhold_kernel.gate import host_directories
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import ChangeRequest, EgressRequest, PullRequest, ResumeRequest
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
    from cellhold_kernel.transport.loop import Loop

_OWNER_DIGITS = 16


class Listener(Protocol):
    """Called by Session when a container comes or goes (relay/transitions.py)."""

    def received(self, kernel: CellKernel, channel: str) -> None:
        """Receive from a cell kernel's socket, which is readable."""

    def nudge(self, kernel: CellKernel) -> None:
        """Send a request to a cell kernel that is connected and silent."""

    def progressed(self, job: Job) -> None:
        """Show how far the job on the coming container's image is, or that it has ended."""

    def failed(self, error: CellholdError) -> None:
        """Answer those that wait for the coming container, which is removed already."""

    def displaced(self, kernel: CellKernel) -> None:
        """Read out and let go of the current container, before the coming one is made."""

    def ended(self, kernel: CellKernel, outcome: Outcome) -> None:
        """Read out and let go of the current container, which has ended."""


def _share_a_port(old: Spec, new: Spec) -> bool:
    """Whether both publish the same port of the host, so that both cannot run at once."""
    taken = {(port.address, port.host, port.protocol) for port in old.ports if port.host is not None}
    return any((port.address, port.host, port.protocol) in taken for port in new.ports)


def _with_folder(granted: GrantedContainer, sources: Sources) -> GrantedContainer:
    """Return it with the notebook's folder; for mount=new that outlives this process."""
    if sources.workspace is None:
        return granted
    outlives = granted.folder == "new" and sources.notebook is not None
    mounts = sources.workspace.mounts(granted.folder)
    return granted.with_folder(tuple(replace(one, outlives=outlives) for one in mounts))


class Session:
    """The containers of one notebook.

    failure: why there is none, where there is none. stopped: one that ended on its
    user's order, kept. owner: the notebook that they belong to (Spec.owner): by its
    file, so that it is the same when the notebook is opened again; where that file is
    not known, by its connection, which stays when the host kernel is started again.
    """

    def __init__(self, connection: Connection, loop: Loop, *, engine: Engine, arguments: Sequence[str], sources: Sources) -> None:
        """Start nothing yet.

        arguments: for ipykernel. sources: what the first container is made of.
        """
        self.settings = sources.settings
        identity = connection.text() if sources.notebook is None else f"notebook {sources.notebook}"
        self.owner = hashlib.sha256(os.fsencode(identity)).hexdigest()[:_OWNER_DIGITS]  # a name need not be UTF-8
        self.cell_limits = CellLimits()
        self.current: CellKernel | None = None
        self.coming: CellKernel | None = None
        self.stopped: CellKernel | None = None
        self.failure: CellholdError | None = None
        self._asked = self.settings, self.cell_limits  # of the container that comes
        self.sources, self.workspace = sources, sources.workspace
        self._connection = connection
        self._watch = Watch(loop)
        self.engine = engine
        self.quota = Quota(engine, self.owner, self.policy, self)
        self._preparer = Preparer(engine, loop, progressed=self._progressed, failed=self._failed)
        self._arguments = tuple(arguments)
        self._listener: Listener | None = None
        self._has_cleared = False

    def subscribe(self, listener: Listener) -> None:
        """Set whom to call when a container comes or goes."""
        self._listener = listener

    def open(self, failure: CellholdError | None = None) -> None:
        """Start a container with the present settings.

        failure: why it cannot be started; it is remembered for the cells, as is an
        error here.
        """
        try:
            if failure is None:
                self.begin(trust=Trust.METADATA)
        except CellholdError as error:
            failure = error
        self.failure = failure

    def begin(self, words: Mapping[str, str] | None = None, *, trust: Trust = Trust.CELL) -> None:
        """Start a container beside the present one, after the jobs that its image needs.

        words: key -> text, on top of the present settings. trust: of whoever wrote
        them. Raises CellholdError; nothing has changed then.
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
        """Return what the gate grants, with everything of the host opened.

        No name of the host is looked up after this.
        """
        rules = self.policy()
        asked = self.quota.container_request(self.sources, self.settings, rules, words)
        granted = authorize(asked, trust, rules)
        if granted.folder == "new":
            require(Feature.FILES, self.missing, "use mount=new")
        return host_directories.opened(_with_folder(granted, self.sources), rules, self.workspace)

    def _preparation(self, granted: GrantedContainer, done: Job | None) -> Preparation:
        """Return what the engine needs for it. done: the job on its image that just ended."""
        return Preparation(
            granted=granted,
            key=self._connection.key,
            signature_scheme=self._connection.signature_scheme,
            arguments=self._arguments,
            instead_of=self.quota.own_ids(),
            fetch=lambda: authorize(PullRequest(image=granted.spec.image), granted.image_trust, self.policy()),
            done=done,
            protected=frozenset() if self.workspace is None else self.workspace.protected(),
            comes_again=self.sources.notebook is not None,
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
        self._watch.add(coming, self._ended)

    def park(self, kernel: CellKernel) -> None:
        """Keep the present container, which has ended, for resume()."""
        self._watch.remove(kernel)
        kernel.rest()
        self.current, self.stopped = None, kernel

    def resume(self) -> None:
        """Start the container that was kept, or a fresh one. Raises CellholdError."""
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
        """Remove the container that was kept."""
        if self.stopped is not None:
            self.stopped.close()
            self.stopped = None

    def update(self, texts: Mapping[str, str]) -> None:
        """Change limits of the present container, and of those that follow it.

        Raises CellholdError; nothing has changed then.
        """
        current = self._running(Feature.UPDATE, "change limits")
        rules = self.policy()
        with self.quota.lock():
            asked = ChangeRequest(**self.quota.request_fields(self.settings, rules), words=texts)
            granted = authorize(asked, Trust.CELL, rules)
            current.update(granted)
        self.settings, self.cell_limits = granted.settings, granted.cell_limits

    def restrict(self, policy: str) -> None:
        """Change the egress policy of the present container, and of those that follow it.

        Raises CellholdError; nothing has changed then.
        """
        current = self._running(Feature.NETWORK, "change egress")
        rules = self.policy()
        asked = EgressRequest(**self.quota.request_fields(self.settings, rules), egress=policy)
        granted = authorize(asked, Trust.CELL, rules)
        current.restrict(granted)
        self.settings = granted.settings

    def _running(self, feature: Feature, action: str) -> CellKernel:
        if self.current is None:
            raise CellholdError(f"cannot {action}: no container runs")
        require(feature, self.missing, action)
        return self.current

    @property
    def missing(self) -> Mapping[Feature, str]:
        """The reason for each feature that the engine lacks."""
        return self.engine.missing

    def names(self) -> Names:
        """Return the names of images for the notebook. Raises SetupFailed."""
        return self.quota.names()

    def commit(self, granted: GrantedCommit) -> Job:
        """Begin to make an image of a container."""
        return self.engine.commit(granted)

    def policy(self) -> Policy:
        """Return the machine's policy, as it is now."""
        return policy.read(self.sources.policy)

    def tick(self) -> float | None:
        """Look at the coming container; return the seconds until the next look, if any."""
        if self.coming is None or self._listener is None:
            return None
        coming, listener = self.coming, self._listener
        try:
            return startup.look(coming, nudge=listener.nudge, connected=partial(self._watch.add_sockets, listener.received))
        except (CellholdError, OSError) as error:
            self.cancel()
            listener.failed(diagnosis.as_answer(error))
            return 0

    def _ended(self, kernel: CellKernel) -> None:
        outcome = kernel.sandbox.poll()
        if outcome is not None and kernel is self.current and self._listener is not None:
            self._listener.ended(kernel, outcome)  # if it is the coming one: tick() is next, and sees it

    def arrive(self) -> CellKernel | None:
        """Make the coming container the current one; return the old one, to be let go."""
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
        """Remove the coming container, if there is one."""
        self._preparer.cancel()
        if self.coming is not None:
            coming, self.coming = self.coming, None
            self.let_go(coming)

    def let_go(self, kernel: CellKernel) -> None:
        """Remove a container."""
        if kernel is self.current:
            self.current = None
        self._watch.remove(kernel)
        kernel.close()

    def close(self) -> None:
        """Remove all containers."""
        self.cancel()
        self.remove_stopped()
        if self.current is not None:
            self.let_go(self.current)
