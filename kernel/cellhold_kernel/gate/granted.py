"""What authorize() returns: values that say what may be done, and that all that acts takes.

Nothing else makes one: a test looks (tests/unit/test_gate.py). Doing it is not the business of this
package.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from cellhold_kernel.settings.workspace import TARGET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.spec.limits import Limits
    from cellhold.spec.spec import Mount, Spec
    from cellhold_kernel.gate.claim import Claim
    from cellhold_kernel.gate.images import Images
    from cellhold_kernel.settings.settings import CellLimits, Settings, Trust


@dataclass(frozen=True, kw_only=True)
class Granted:
    """Something that may be done."""


@dataclass(frozen=True, kw_only=True)
class GrantedContainer(Granted):
    """A notebook's container.

    settings: what it was made of, for the next one. folder: how the notebook's folder is shown, None
    as far as it can be had. image_trust: how far whoever named the image is trusted. claim: what is
    counted again when it is made; None where there are no ceilings.
    """

    settings: Settings
    spec: Spec
    cell_limits: CellLimits
    folder: str | None
    image_trust: Trust
    claim: Claim | None = None

    @property
    def kernel(self) -> str | None:
        """Which kernel of the image is wanted; None for whichever fits."""
        return self.settings.kernel

    def with_folder(self, mounts: tuple[Mount, ...]) -> Self:
        """It with the mounts that show the notebook's folder: Workspace.mounts(self.folder)."""
        cwd = TARGET if mounts else self.spec.cwd
        return replace(self, spec=replace(self.spec, mounts=(*mounts, *self.spec.mounts), cwd=cwd))


@dataclass(frozen=True, kw_only=True)
class GrantedChange(Granted):
    """Other limits for the container that runs."""

    settings: Settings
    limits: Limits
    cell_limits: CellLimits


@dataclass(frozen=True, kw_only=True)
class GrantedEgress(Granted):
    """Another egress policy for the container that runs."""

    settings: Settings
    egress: str


@dataclass(frozen=True, kw_only=True)
class GrantedRun(Granted):
    """A container of a cell's own. lines: of the cell, below its first. pull: always, missing, never.

    removes_itself: whether one that is detached goes with its end. claim: as of a container.
    """

    spec: Spec
    lines: str
    pull: str
    detached: bool
    removes_itself: bool
    claim: Claim | None = None


@dataclass(frozen=True, kw_only=True)
class GrantedBuild(Granted):
    """An image to build. name: in the store; asked: as the cell calls it. images: that may go into it.

    limits: of each step. claim: as of a container, of each step's. folder: likewise, what of it the build sees.
    """

    name: str
    asked: str
    images: Images
    dockerfile: str
    build_args: Mapping[str, str]
    labels: Mapping[str, str]
    target: str | None
    platform: str | None
    cache: bool
    pull: bool
    limits: Limits
    claim: Claim | None
    folder: str | None


@dataclass(frozen=True, kw_only=True)
class GrantedCommit(Granted):
    """An image to make of the notebook's container. container: its id. name, asked: as of a build."""

    container: str
    owner: str
    name: str
    asked: str


@dataclass(frozen=True, kw_only=True)
class GrantedPull(Granted):
    """An image to fetch."""

    image: str


@dataclass(frozen=True, kw_only=True)
class GrantedLook(Granted):
    """An image that may be looked into."""

    image: str


@dataclass(frozen=True, kw_only=True)
class GrantedAction(Granted):
    """Something to do to the notebook's container."""

    action: str
    arguments: tuple[str, ...]
