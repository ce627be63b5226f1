"""What can be requested for a notebook, by any source: one frozen class per kind.

A request holds everything that the decision depends on besides trust and policy:
authorize() looks at nothing else. What is not a field here cannot be requested.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cellhold_kernel.gate.granted import (
    Granted,
    GrantedAction,
    GrantedBuild,
    GrantedChange,
    GrantedCommit,
    GrantedContainer,
    GrantedEgress,
    GrantedKeep,
    GrantedLook,
    GrantedPull,
    GrantedResume,
    GrantedRun,
)
from cellhold_kernel.gate.images import Images, Names
from cellhold_kernel.settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.spec.limits import Limits
    from cellhold.spec.spec import Spec
    from cellhold_kernel.settings.policy import Policy

G = TypeVar("G", bound=Granted)


@dataclass(frozen=True, kw_only=True)
class Held:
    """A container that the notebook has already, which counts against the ceilings.

    name: for messages. limits: of the container. is_main: whether cells run in it.
    is_alive: whether it runs or may run again; one that has exited still has its files.
    is_stopped: whether it is the notebook's own and stopped, so that %container start
    resumes it. has_network: whether it has a network of its own. is_kept: whether it
    stays until a user removes it. is_ending: whether its process was killed, and it is
    being removed.
    """

    name: str
    limits: Limits
    id: str = ""
    is_main: bool = False
    is_alive: bool = True
    is_stopped: bool = False
    has_network: bool = False
    is_kept: bool = False
    is_ending: bool = False


@dataclass(frozen=True, kw_only=True)
class Request(Generic[G]):
    """A request of a notebook.

    settings: of the notebook's container. owner: the notebook (Spec.owner). names: of
    the images on this machine. beside: the containers that the notebook has and would
    keep.
    """

    settings: Settings = field(default_factory=Settings)
    owner: str = ""
    names: Names = field(default_factory=Names)
    beside: tuple[Held, ...] = ()

    def images(self, policy: Policy) -> Images:
        """Return the images that the notebook may use."""
        return Images(owner=self.owner, names=self.names, allowed=policy.images, path=policy.path)


@dataclass(frozen=True, kw_only=True)
class ContainerRequest(Request[GrantedContainer]):
    """A container for the notebook.

    The first one, or a fresh one in its place.

    words: key -> text of this request, on top of the settings. source: where they are
    written. lock: of its packages, as the notebook's metadata has it: a stranger's
    text. is_file: whether the notebook is known by its file, and so is the same next
    year. is_upgrade: its packages may have newer versions than they had.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    lock: str | None = None
    is_file: bool = False
    is_upgrade: bool = False


@dataclass(frozen=True, kw_only=True)
class ChangeRequest(Request[GrantedChange]):
    """Other limits for the running container (%limits). words: key -> text."""

    words: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ResumeRequest(Request[GrantedResume]):
    """The notebook's stopped container, to be started again. spec: with its limits."""

    spec: Spec


@dataclass(frozen=True, kw_only=True)
class EgressRequest(Request[GrantedEgress]):
    """Another egress policy for the running container (%network)."""

    egress: str


@dataclass(frozen=True, kw_only=True)
class RunRequest(Request[GrantedRun]):
    """A container of a cell's own (%%run).

    flags: the flags of `cellhold run` that were set, by argparse's names, with their
    values. command: the words after the image. lines: of the cell, below its first.
    """

    flags: Mapping[str, Any] = field(default_factory=dict)
    image: str
    command: tuple[str, ...] = ()
    lines: str = ""


@dataclass(frozen=True, kw_only=True)
class BuildRequest(Request[GrantedBuild]):
    """An image to build (%%dockerfile). flags: as written ("--build-arg=A=1")."""

    name: str
    flags: tuple[str, ...] = ()
    dockerfile: str


@dataclass(frozen=True, kw_only=True)
class CommitRequest(Request[GrantedCommit]):
    """An image to make of the notebook's container, whose id is `container`."""

    container: str
    name: str


@dataclass(frozen=True, kw_only=True)
class PullRequest(Request[GrantedPull]):
    """An image to fetch from its registry."""

    image: str


@dataclass(frozen=True, kw_only=True)
class LookRequest(Request[GrantedLook]):
    """An image to look into, to compare the notebook's own with (the panel)."""

    image: str


@dataclass(frozen=True, kw_only=True)
class KeepRequest(Request[GrantedKeep]):
    """Files that %keep takes out although they were in the folder before.

    paths: below it; () is all.
    """

    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ActionRequest(Request[GrantedAction]):
    """An action on the notebook's container: one of controls.MOVES, with arguments."""

    action: str
    arguments: tuple[str, ...] = ()
