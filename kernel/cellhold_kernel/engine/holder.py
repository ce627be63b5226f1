"""What controls and panel need of the owner of a container.

That is a notebook's Session, or a plain notebook that has made the container itself.
"""

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
    """A container with the spec that was asked for.

    It is a notebook's CellKernel, or a plain notebook's container.
    """

    @property
    def sandbox(self) -> Sandbox:
        """The container itself."""

    @property
    def spec(self) -> Spec:
        """The spec that was asked for, with the limits that hold."""


class Holder(Protocol):
    """The owner of a container. Called on the event loop's thread alone.

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
        """The reason for each feature that the engine lacks."""

    @property
    def owner(self) -> str:
        """The notebook that images and containers belong to (Spec.owner)."""

    def policy(self) -> Policy:
        """Return the machine's policy. Raises CellholdError if its file cannot be read."""

    def names(self) -> Names:
        """Return the names of images that it may use."""

    def commit(self, granted: GrantedCommit) -> Job:
        """Begin to make an image of the container.

        Raises NotSupported where the engine cannot.
        """

    def resume(self) -> None:
        """Start the stopped container again. Raises what Container.start() raises."""

    def begin(self) -> None:
        """Begin to make a fresh container, or restart the only one there is."""

    def remove_stopped(self) -> None:
        """Remove the stopped one."""
