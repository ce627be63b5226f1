"""What authorize() returns: values that say what may be done.

Everything that acts takes one of them, and nothing else makes one: a test looks
(tests/unit/test_gate.py). Acting is not the business of this package.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from cellhold_kernel.settings.workspace import TARGET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.spec.limits import Limits
    from cellhold.spec.spec import Mount, Spec
    from cellhold_kernel.gate.claim import Claim
    from cellhold_kernel.gate.images import Images
    from cellhold_kernel.settings.requirements import PackageSet
    from cellhold_kernel.settings.settings import CellLimits, Settings, Trust


@dataclass(frozen=True, kw_only=True)
class Granted:
    """Something that may be done."""


@dataclass(frozen=True, kw_only=True)
class GrantedContainer(Granted):
    """A notebook's container.

    settings: what it was made of, for the next one. folder: one of WAYS in which the
    notebook's folder is mounted, None for mount=ro if possible. image_trust: how far
    the source that names the image is trusted. locale: variables of this machine that
    it gets where its image has none of the name. claim: what is counted again when it
    is made; None without ceilings.
    """

    settings: Settings
    spec: Spec
    cell_limits: CellLimits
    folder: str | None
    image_trust: Trust
    locale: Mapping[str, str] = field(default_factory=dict)
    claim: Claim | None = None
    packages: PackageSet | None = None

    @property
    def kernel(self) -> str | None:
        """The kernel of the image to start; None for whichever the image has."""
        return self.settings.kernel

    def with_folder(self, mounts: tuple[Mount, ...]) -> Self:
        """Return a copy with the mounts of Workspace.mounts(self.folder)."""
        cwd = TARGET if mounts else self.spec.cwd
        return replace(self, spec=replace(self.spec, mounts=(*mounts, *self.spec.mounts), cwd=cwd))


@dataclass(frozen=True, kw_only=True)
class GrantedChange(Granted):
    """Other limits for the container that runs."""

    settings: Settings
    limits: Limits
    cell_limits: CellLimits


@dataclass(frozen=True, kw_only=True)
class GrantedResume(Granted):
    """The stopped container, to be started again as it is. cell_limits: of its cells."""

    cell_limits: CellLimits


@dataclass(frozen=True, kw_only=True)
class GrantedEgress(Granted):
    """Another egress policy for the container that runs."""

    settings: Settings
    egress: str


@dataclass(frozen=True, kw_only=True)
class GrantedRun(Granted):
    """A container of a cell's own (%%run).

    lines: of the cell, below its first. pull: always, missing or never. removes_itself:
    whether a detached one is removed when it exits. claim: as in GrantedContainer.
    """

    spec: Spec
    lines: str
    pull: str
    detached: bool
    removes_itself: bool
    claim: Claim | None = None


@dataclass(frozen=True, kw_only=True)
class GrantedBuild(Granted):
    """An image to build (%%dockerfile).

    name: in the store. asked: as the cell calls it. images: those that may go into it.
    limits, claim: of each step's container. folder: as in GrantedContainer; the build
    sees the same.
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
    """An image to make of the notebook's container.

    container: its id. name, asked: as in GrantedBuild.
    """

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
class GrantedKeep(Granted):
    """Files that may be written over. paths: below the folder; () is all."""

    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GrantedAction(Granted):
    """Something to do to the notebook's container."""

    action: str
    arguments: tuple[str, ...]
