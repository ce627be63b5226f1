"""The seam for engines: what makes a notebook's containers, and what it says that it cannot do.

`app.serve()` is given one engine, for the life of the host kernel. `session.py` calls it on
the host kernel's one thread: nothing here may block for more than some milliseconds, but
for creating and starting a container. What takes longer is a job (`prepare`), or is looked
at again (`connect`, `poll`).

    Engine.check             before anything is begun
    Engine.prepare           the image: a job that has to end first, or Ready
    Ready.create             a container
    KernelSandbox.start      its program; connect() until that answers; poll() once fileno() is readable
    Engine.commit, build, run    jobs that a cell waits for, beside its container

An engine need not share a file system, descriptors or pids with this host: what crosses this
seam are values, byte streams (`transport.backend.Backend`), and descriptors of the host
kernel's own process. tests/kernel/test_engines.py holds that on two engines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from cellhold.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cellhold.spec.lifecycle import State
    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold.spec.usage import Usage
    from cellhold_kernel.gate.granted import GrantedBuild, GrantedCommit, GrantedContainer, GrantedPull, GrantedRun
    from cellhold_kernel.gate.images import Names
    from cellhold_kernel.gate.request import Held
    from cellhold_kernel.jobs.build_context import BuildContext
    from cellhold_kernel.jobs.inspection import Look
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.protocol.messages import Message, Signer
    from cellhold_kernel.transport.backend import Backend


class Feature(StrEnum):
    """What an engine may be unable to do; what a notebook has for it is refused then, with the engine's reason."""

    PAUSE = "pause"  # %container pause, unpause; guard=pause
    RESUME = "resume"  # a container that is stopped is kept, and started again with its files: %container stop, kill
    UPDATE = "update"  # %limits key=value
    USAGE = "usage"  # what a container uses is measured
    NETWORK = "network"  # how a container is connected; %network
    COMMIT = "commit"  # %container commit
    BUILD = "build"  # %%dockerfile
    RUN = "run"  # %%run
    LAYERS = "layers"  # of the image, and what was written on top of them
    TRACE = "trace"  # how the container was made


def require(feature: Feature, missing: Mapping[Feature, str], action: str) -> None:
    """Raise NotSupported where the feature is among the missing. action: "change limits"."""
    if (reason := missing.get(feature)) is not None:
        raise NotSupported(f"cannot {action}: {reason}")


class Topic(StrEnum):
    """What can be asked of a container: plain values, as JSON has them."""

    LAYERS = "layers"  # layers: name, size, text, shared; the read-only ones, the topmost first
    NETWORK = "network"  # connections: see widgets/network_view.py; refresh_seconds: how often that may be asked
    TRAFFIC = "traffic"  # received, sent: bytes over all its networks, None where that is not counted
    TRACE = "trace"  # steps: name, detail, calls, at, took; text: all of them in lines
    DISK = "disk"  # free, total: bytes of the writable layer
    OOM_VICTIMS = "oom_victims"  # names: of the processes that were last killed at the memory limit


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What an engine makes a container of.

    granted: what the gate has granted. key, signature_scheme: of the messages, the same on
    both sides. arguments: for an ipykernel. instead_of: ids of containers that this one
    takes the place of. fetch: returns the permission to pull the image; raises what the gate
    raises. done: the job of this preparation that has just ended.
    """

    granted: GrantedContainer
    key: str
    signature_scheme: str
    arguments: tuple[str, ...]
    instead_of: tuple[str, ...]
    fetch: Callable[[], GrantedPull]
    done: Job | None = None


class Engine(Protocol):
    """Where a notebook's containers are made. missing: why, for each feature that it lacks."""

    name: str
    missing: Mapping[Feature, str]

    def check(self, spec: Spec) -> None:
        """Raise what create() would for this spec, as far as that is known before anything is pulled or made."""

    def prepare(self, preparation: Preparation) -> Job | Ready:
        """Return the next job that has to end before the container can be made, or Ready.

        Raises CellholdError: there is no such image, or no kernel for it.
        """

    def commit(self, granted: GrantedCommit) -> Job:
        """Begin to make an image of a container. Called only where Feature.COMMIT is not missing."""

    def build(self, granted: GrantedBuild, context: BuildContext) -> Job:
        """Begin to build an image. context: the files that it may copy. Called only where Feature.BUILD is not missing."""

    def run(self, granted: GrantedRun) -> Job:
        """Begin to run a container beside the notebook's own. Called only where Feature.RUN is not missing."""

    def clear_abandoned(self) -> None:
        """Remove what killed host kernels left. Called while the first cell kernel comes up, when there is time."""

    def image_names(self, owner: str) -> Names:
        """Return what images are called for a notebook. Raises SetupFailed."""

    def has_names(self, image: str) -> bool:
        """Return whether image_names() matters to what `image` means."""

    def containers(self, owner: str, *, without: Sequence[str]) -> tuple[Held, ...]:
        """Return the containers that a notebook has, but for those ids. Raises CellholdError."""

    def counting(self, owner: str) -> AbstractContextManager[None]:
        """Return a lock: while it is held, nobody else changes what the notebook has."""


class Ready(ABC):
    """A container whose image is there, and has a kernel."""

    @abstractmethod
    def create(self, *, instead_of: Sequence[str]) -> KernelSandbox:
        """Make it; it is not started. instead_of: as of the preparation, as it is by now. Raises CellholdError, OSError."""


class Output(Protocol):
    """What the container's program writes to its standard output and error, the last of it."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to drain()."""

    def drain(self) -> bool:
        """Read a share of what waits; False where nothing waits."""

    def last(self, lines: int) -> list[str]:
        """Return the last lines, without what a terminal would obey."""


class LastWords(Protocol):
    """What a cell kernel has said and nobody heard: found out when it is gone."""

    def hear(self, message: Message) -> None:
        """Note a message of its iopub, which has come."""

    def messages(self, signer: Signer, header_of: Callable[[str], Mapping[str, object]]) -> Iterator[Message]:
        """Return what it has said beyond what was heard. header_of: of a request's id; "": of the cell that runs."""


class Sandbox(Protocol):
    """What is read of a container, and done to it without the cell kernel: by the panel, the magics, and controls.py."""

    @property
    def id(self) -> str:
        """What the engine calls it."""

    @property
    def state(self) -> State:
        """What it is now."""

    @property
    def spec(self) -> Spec:
        """What it was made of, with the limits that hold."""

    def usage(self, *, is_repeated: bool = False) -> Usage:
        """Return what it has used so far; None in it is "not measured". is_repeated: somebody asks several times a second."""

    def inspect(self, topic: Topic) -> Mapping[str, Any]:
        """Return what there is to know. Raises NotSupported where the engine lacks it, CellholdError, OSError where it is just going."""

    def look(self, what: str, *words: str) -> Look:
        """Begin to look into its layers, or at what it has written (jobs/inspection.py). Raises NotSupported, NotAllowed."""

    def pause(self) -> None:
        """Freeze every process where it is."""

    def unpause(self) -> None:
        """Let them go on."""

    def kill(self, number: int = ...) -> None:
        """Send its program a signal; SIGKILL, when none is given, ends every process of it."""


class KernelSandbox(Sandbox, Protocol):
    """One container with a kernel in it. output, last_words: of the present run."""

    @property
    def output(self) -> Output:
        """What its program writes."""

    @property
    def last_words(self) -> LastWords | None:
        """What it has said and nobody heard; None where that is not kept."""

    @property
    def scratch(self) -> Path:
        """A directory of this host for messages too large to be held."""

    @property
    def interrupts_by_signal(self) -> bool:
        """Whether its kernel has no message for that."""

    def start(self) -> None:
        """Start its program: the first time, or again after rest(). Returns once that is ordered. Raises CellholdError, OSError."""

    def connect(self) -> Backend | None:
        """Connect to its sockets, if they are there by now. Raises CellholdError where that will not be."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when this run has ended."""

    def poll(self) -> Outcome | None:
        """Return how it ended, or None."""

    def update(self, limits: Limits) -> None:
        """Change limits while it runs. Raises CellholdError; nothing has changed then."""

    def restrict(self, policy: str) -> None:
        """Change the egress policy while it runs. Raises as update()."""

    def rest(self) -> None:
        """Let go of what only a run has; it has ended, and may be started again."""

    def remove(self) -> None:
        """Remove all of it, running or not. Removing twice is no error."""
