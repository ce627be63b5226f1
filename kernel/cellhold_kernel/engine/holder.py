"""What controls and panel need of whoever has the container: a notebook's Session, or a plain notebook's own container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.errors import CellholdError
    from cellhold.spec.spec import Spec
    from cellhold_kernel.engine.base import Feature, Sandbox
    from cellhold_kernel.gate.granted import GrantedCommit
    from cellhold_kernel.gate.images import Names
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.settings.policy import Policy


class HeldSandbox(Protocol):
    """A container with what it was asked to be: a notebook's CellKernel, or a plain notebook's container."""

    @property
    def sandbox(self) -> Sandbox:
        """The container itself."""

    @property
    def spec(self) -> Spec:
        """What it was asked to be, with the limits that hold."""


class Holder(Protocol):
    """Whoever has the container. Called on the event loop's thread alone.

    failure: why there is no container, where there is none.
    """

    failure: CellholdError | None

    @property
    def current(self) -> HeldSandbox | None:
        """The container that runs, or is paused."""

    @property
    def stopped(self) -> HeldSandbox | None:
        """The container that can be started again."""

    @property
    def is_coming(self) -> bool:
        """Whether one is on its way."""

    @property
    def missing(self) -> Mapping[Feature, str]:
        """Why, for each feature that the engine lacks."""

    @property
    def owner(self) -> str:
        """The notebook that images and containers belong to (Spec.owner)."""

    def policy(self) -> Policy:
        """Return the machine's policy for it. Raises CellholdError for a file that cannot be read."""

    def names(self) -> Names:
        """Return the names of images that it may use."""

    def commit(self, granted: GrantedCommit) -> Job:
        """Begin to make an image of the container. Raises NotSupported where the engine cannot."""

    def resume(self) -> None:
        """Start the stopped one again. Raises what Container.start() does."""

    def begin(self) -> None:
        """Begin to make a fresh one, or start it again where there is only the one."""

    def remove_stopped(self) -> None:
        """Remove the stopped one."""
