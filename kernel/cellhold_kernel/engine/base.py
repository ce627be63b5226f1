"""The seam for engines: what makes a notebook's containers, and what it cannot do.

`app.serve()` gets one engine, for the life of the host kernel. `session.py` calls it on
the host kernel's one thread: nothing here may block for more than some milliseconds,
except creating and starting a container. What takes longer is a job (`prepare`), or is
looked at again (`connect`, `poll`).

    Engine.check                 before anything is begun
    Engine.prepare               the image: a job that has to end first, or Ready
    Ready.create                 a container
    KernelSandbox.start          its program; connect() until that answers; poll() once
                                 fileno() is readable
    Engine.commit, build, run    jobs that a cell waits for, beside its container

An engine need not share a file system, descriptors or pids with this host: what crosses
this seam are values, byte streams (`transport.backend.Backend`), and descriptors of the
host kernel's own process. tests/kernel/test_engines.py holds that on two engines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from cellhold.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cellhold.linux.hostpath import Identity
    from cellhold.spec.lifecycle import State
    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold.spec.usage import Usage
    from cellhold_kernel.files.hand_out import Moment, Report
    from cellhold_kernel.files.plan import Stay
    from cellhold_kernel.gate.granted import GrantedBuild, GrantedCommit, GrantedContainer, GrantedPull, GrantedRun
    from cellhold_kernel.gate.images import Names
    from cellhold_kernel.gate.request import Held
    from cellhold_kernel.jobs.build_context import BuildContext
    from cellhold_kernel.jobs.inspection import Look
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.protocol.messages import Message, Signer
    from cellhold_kernel.transport.backend import Backend


class Feature(StrEnum):
    """What an engine may lack.

    Whatever needs it is refused then, with the engine's reason.
    """

    PAUSE = "pause"  # %container pause, unpause; guard=pause
    RESUME = "resume"  # a container that is stopped is kept, and started again with its files: %container stop, kill
    UPDATE = "update"  # %limits key=value
    USAGE = "usage"  # what a container uses is measured
    NETWORK = "network"  # how a container is connected; %network
    COMMIT = "commit"  # %container commit
    BUILD = "build"  # %%dockerfile
    RUN = "run"  # %%run
    LAYERS = "layers"  # of the image, and what was written on top of them
    PACKAGES = "packages"  # more of them in a container that runs: %pip install
    FILES = "files"  # what cells write goes out into the notebook's folder: mount=new, %keep, %files
    TRACE = "trace"  # how the container was made


def require(feature: Feature, missing: Mapping[Feature, str], action: str) -> None:
    """Raise NotSupported with the engine's reason where it lacks the feature.

    missing: the reasons. action: what cannot be done then: "change limits".
    """
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

    granted: what the gate has granted. key, signature_scheme: of the messages, the same
    on both sides. arguments: for an ipykernel. instead_of: ids of containers that this
    one takes the place of. fetch: returns the permission to pull the image; raises what
    the gate raises. done: the job of this preparation that has just ended. protected:
    directories that no file goes into. comes_again: whether the notebook is identified
    by its file.
    """

    granted: GrantedContainer
    key: str
    signature_scheme: str
    arguments: tuple[str, ...]
    instead_of: tuple[str, ...]
    fetch: Callable[[], GrantedPull]
    done: Job | None = None
    protected: frozenset[Identity] = frozenset()
    comes_again: bool = True


class Engine(Protocol):
    """Makes a notebook's containers.

    missing: the reason, for each feature that it lacks.
    """

    name: str
    missing: Mapping[Feature, str]

    def check(self, spec: Spec) -> None:
        """Raise what create() would, as far as it is known before anything is pulled."""

    def prepare(self, preparation: Preparation) -> Job | Ready:
        """Return the next job that has to end before the container can be made, or Ready.

        Raises CellholdError: there is no such image, or no kernel for it.
        """

    def install(self, granted: GrantedContainer, sandbox: KernelSandbox) -> Job:
        """Begin to have the granted packages in a container that runs.

        They are there when the job has ended.

        Raises NotSupported where its kernel cannot have them without a fresh container,
        CellholdError.
        """

    def commit(self, granted: GrantedCommit) -> Job:
        """Begin to make an image of a container.

        Called only where Feature.COMMIT is not missing.
        """

    def build(self, granted: GrantedBuild, context: BuildContext) -> Job:
        """Begin to build an image.

        context: the files that it may copy. Called only where Feature.BUILD is not
        missing.
        """

    def run(self, granted: GrantedRun) -> Job:
        """Begin to run a container beside the notebook's own.

        Called only where Feature.RUN is not missing.
        """

    def clear_abandoned(self) -> None:
        """Remove what killed host kernels left.

        Called while the first cell kernel comes up, when there is time.
        """

    def image_names(self, owner: str) -> Names:
        """Return the names of images for a notebook.

        owner: Spec.owner. Raises SetupFailed.
        """

    def has_names(self, image: str) -> bool:
        """Return whether image_names() matters to what `image` means."""

    def containers(self, owner: str, *, without: Sequence[str]) -> tuple[Held, ...]:
        """Return the containers of a notebook, except those with the ids in `without`.

        Raises CellholdError.
        """

    def counting(self, owner: str) -> AbstractContextManager[None]:
        """Return a lock: while it is held, nobody else changes what the notebook has."""


class Ready(ABC):
    """A container whose image is there, and has a kernel."""

    @abstractmethod
    def create(self, *, instead_of: Sequence[str]) -> KernelSandbox:
        """Create the container, without starting it.

        instead_of: ids of the containers that it takes the place of by now.
        Raises CellholdError, OSError.
        """


class Output(Protocol):
    """The last that the container's program wrote to its standard output and error."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to drain()."""

    def drain(self) -> bool:
        """Read a share of what waits; False where nothing waits."""

    def last(self, lines: int) -> list[str]:
        """Return the last lines, without what a terminal would obey."""


class LastWords(Protocol):
    """Messages of a cell kernel that the host kernel had not received when it ended."""

    def hear(self, message: Message) -> None:
        """Record that a message of its iopub was received."""

    def messages(self, signer: Signer, header_of: Callable[[str], Mapping[str, object]]) -> Iterator[Message]:
        """Return the messages that were not received, in their order.

        header_of: returns the header of the request with an id; for "" that of the cell
        that runs.
        """


class WrittenFiles(Protocol):
    """What one run of a container has written into the notebook's folder.

    The relay calls it on the host kernel's thread. begin() and finish() do not block;
    the others may, for seconds. The local engine's is files/hand_out.py.
    """

    @property
    def is_inside(self) -> bool:
        """Whether nothing goes out."""

    @property
    def is_busy(self) -> bool:
        """Whether begin() is not finished."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when finish() has something to say."""

    def begin(self, moment: Moment, *, names: Collection[bytes] | None = None) -> Report | None:
        """Hand out; None: it goes on, and finish() tells. Raises OSError."""

    def finish(self) -> Report:
        """Return what came of begin(). Raises OSError."""

    def run(self, moment: Moment) -> Report:
        """Hand out, however long it takes. Raises OSError."""

    def differences(self) -> Report:
        """Return what differs from the folder. Raises OSError."""

    def lost(self) -> Sequence[Stay]:
        """Return what goes with the container."""


class Sandbox(Protocol):
    """A container, as the panel, the magics and controls.py read and control it.

    Nothing here needs the cell kernel.
    """

    @property
    def id(self) -> str:
        """The engine's identifier for it."""

    @property
    def state(self) -> State:
        """Its present state."""

    @property
    def spec(self) -> Spec:
        """The spec it was made of, with the limits that hold."""

    def usage(self, *, is_repeated: bool = False) -> Usage:
        """Return what it has used so far; None in a field means "not measured".

        is_repeated: the caller asks several times a second.
        """

    def inspect(self, topic: Topic) -> Mapping[str, Any]:
        """Return the facts of a topic.

        Raises NotSupported where the engine lacks it, CellholdError, and OSError where
        the container is being removed.
        """

    def look(self, what: str, *words: str) -> Look:
        """Begin to look into its layers, or at what it has written.

        what, words: as of jobs/inspection.py. Raises NotSupported, NotAllowed.
        """

    def pause(self) -> None:
        """Freeze all processes."""

    def unpause(self) -> None:
        """Thaw all processes."""

    def kill(self, number: int = ...) -> None:
        """Send a signal to its program; SIGKILL, the default, ends all processes."""


class KernelSandbox(Sandbox, Protocol):
    """A container with a kernel in it.

    output, last_words: of the present run.
    """

    @property
    def output(self) -> Output:
        """The output of its program."""

    @property
    def last_words(self) -> LastWords | None:
        """The messages that were not received; None where they are not kept."""

    @property
    def files(self) -> WrittenFiles | None:
        """What the present run writes into the notebook's folder.

        None where there is none, or nobody can see it.
        """

    @property
    def scratch(self) -> Path:
        """A directory of this host for messages too large to be held."""

    @property
    def interrupts_by_signal(self) -> bool:
        """Whether its kernel is interrupted by SIGINT, and not by a message."""

    def start(self) -> None:
        """Start its program, for the first time or again after rest().

        Returns once the start is ordered. Raises CellholdError, OSError.
        """

    def connect(self) -> Backend | None:
        """Connect to the cell kernel's sockets; return None if it is not up yet.

        Raises CellholdError where it cannot be connected to.
        """

    def fileno(self) -> int:
        """Return a descriptor that is readable when this run has ended."""

    def poll(self) -> Outcome | None:
        """Return the outcome of this run; None as long as it runs."""

    def update(self, limits: Limits) -> None:
        """Change limits while it runs. If it raises CellholdError nothing has changed."""

    def restrict(self, policy: str) -> None:
        """Change the egress policy while it runs. Raises as update()."""

    def rest(self) -> None:
        """Release what belongs to a run that has ended, so that it can be started again."""

    def remove(self) -> None:
        """Remove the container, running or not. Removing it twice is not an error."""
