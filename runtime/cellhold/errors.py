"""Every error that Cellhold raises on purpose, named by what the caller can do.

    CellholdError                 one clear sentence; `hint` says what to try
    ├── InvalidSpec               a value is wrong: change it        (also a ValueError)
    ├── NotSupported              this host cannot do it: `cellhold doctor` says why
    ├── ImageNotFound             no such image, directory or bundle
    ├── ContainerNotFound         no container of that name or id
    ├── VolumeNotFound            no volume of that name
    ├── NetworkNotFound           no network of that name
    ├── ImageRefused              a registry or an archive sent an invalid image:
    │                             nothing of it was kept
    ├── RegistryFailed            the registry cannot be reached, or refuses; `status`
    │                             is its HTTP status
    ├── NotAllowed                the container's state does not permit the action
    ├── Damaged                   a file of the store cannot be read: it stays, with all
    │                             that it stands for; --force removes it
    ├── SetupFailed               a step of making the container failed; `step` and
    │                             `errno` say which and why
    ├── CommandNotRun             the container was made, its program could not be
    │                             started; `status` is 126 or 127
    ├── CopyFailed                a file could not be copied to or from a container
    └── BuildFailed               a program of a build (RUN) failed; `status` is its
                                  exit status, `last` the last lines that it wrote

The text reads *cannot VERB OBJECT: REASON* and holds the refused value. System calls
that fail where nobody expected it stay plain OSErrors.
"""

from __future__ import annotations


class CellholdError(Exception):
    """Base of all errors.

    `str(error)` is one sentence, `hint` what to try (also a PEP 678 note, which
    tracebacks print).
    """

    def __init__(self, sentence: str, *, hint: str | None = None) -> None:
        super().__init__(sentence)
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")


class InvalidSpec(CellholdError, ValueError):
    """A value in the spec is wrong.

    The sentence names the key, the value and what would be right.
    """


class NotSupported(CellholdError):
    """This host cannot do what was asked.

    A limit that cannot be enforced is refused, never dropped.
    """


class ImageNotFound(CellholdError):
    """No image of that name, or no such directory or bundle."""


class ContainerNotFound(CellholdError):
    """No container of that name or id."""


class VolumeNotFound(CellholdError):
    """No volume of that name."""


class NetworkNotFound(CellholdError):
    """No network of that name."""


class ImageRefused(CellholdError):
    """Untrusted content is not what it claims to be, or exceeds the bounds.

    The store is as it was.
    """


class RegistryFailed(CellholdError):
    """A registry did not do what was asked.

    status: the HTTP status of its last answer, None if there was none.
    """

    def __init__(self, sentence: str, *, status: int | None = None, hint: str | None = None) -> None:
        super().__init__(sentence, hint=hint)
        self.status = status


class NotAllowed(CellholdError):
    """The container's present state does not permit the action.

    See the lifecycle table in `cellhold.spec.lifecycle`.
    """


class Damaged(CellholdError):
    """A file of the store cannot be read.

    What it stands for is removed only by its name and by force.
    """


class SetupFailed(CellholdError):
    """A step of making the container failed.

    step: name of the step, as `--trace` prints it ("rootfs.pivot"); errno: the system
    call's error number, or 0.
    """

    def __init__(self, sentence: str, *, step: str, errno: int = 0, hint: str | None = None) -> None:
        super().__init__(sentence, hint=hint)
        self.step = step
        self.errno = errno


class CommandNotRun(CellholdError):
    """The program could not be started.

    status: 127 (not found) or 126 (found, not executable), as in Docker and POSIX
    shells.
    """

    def __init__(self, sentence: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(sentence, hint=hint)
        self.status = status


class CopyFailed(CellholdError):
    """Something could not be copied into or out of a container.

    What was copied before it stays.
    """


class BuildFailed(CellholdError):
    """A step of a build failed.

    status: of its program; last: the last lines that it wrote, as hostile as the image
    is.
    """

    def __init__(self, sentence: str, *, status: int, last: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(sentence, hint=hint)
        self.status = status
        self.last = last
