"""Why a container is gone, and what to do about it, in words for its user."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import CellholdError
from cellhold.spec import units
from cellhold.spec.outcome import Why
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold.spec.outcome import Outcome
    from cellhold_kernel.engine.cell_kernel import CellKernel

GRACE_SECONDS = 5.0  # between the interrupt of a cell and the end of its container
_SHOWN_LINES = 6
_NAMES = {
    Why.MEMORY: "MemoryLimitExceeded",
    Why.TIME: "TimeLimitExceeded",
    Why.KILLED: "ContainerKilled",
    Why.LOST: "ContainerLost",
}


def fresh(lost: str = "") -> str:
    """Return what became of the container. lost: files, as wording.lost() says it."""
    return f"the container was replaced by a fresh one and its variables{lost} are gone"


def as_answer(error: CellholdError | OSError) -> CellholdError:
    """Return the error that answers a cell; an OSError becomes a CellholdError.

    What the host refuses is an answer as well: a cell that gets none waits for ever.
    """
    if isinstance(error, CellholdError):
        return error
    where = f"{escape(str(error.filename))}: " if error.filename else ""
    return CellholdError(f"cannot do what was asked: {where}{error.strerror or escape(str(error))}")


class Diagnosis(NamedTuple):
    """The name of an error, its sentence, and what to try."""

    name: str
    sentence: str
    hint: str

    @property
    def lines(self) -> list[str]:
        """The lines of a traceback."""
        return [f"{self.name}: {self.sentence}", f"hint: {self.hint}"]


def is_survived(outcome: Outcome) -> bool:
    """Return whether the notebook goes on after this end.

    Otherwise the program ended by itself, and the kernel ends as ipykernel would.
    """
    return outcome.why in _NAMES


def of_end(outcome: Outcome, *, cell: int | None, lost: str = "") -> Diagnosis:
    """Return what the user is told of a container's end.

    cell: the number of the cell that ran, None between cells. lost: as of fresh().
    """
    sentence = f"the container was {outcome.sentence()}"
    if cell is not None:
        sentence = f"cell {cell} was {outcome.sentence().replace(': it reached', ': the container reached')}"
    more = ""
    if outcome.why is Why.MEMORY:
        sentence += names(outcome.oom_victims[-1:])  # the last one; children may have died before it
    if outcome.why is Why.MEMORY and outcome.memory_limit_bytes:
        more = f"; %container memory={units.doubled(outcome.memory_limit_bytes)} raises the limit"
    if outcome.why is Why.TIME and outcome.time_limit_seconds:
        more = f"; %container time={outcome.time_limit_seconds * 2:g}s raises the limit"
    return Diagnosis(_NAMES[outcome.why], sentence, fresh(lost) + more)


def of_overdue(reached: Diagnosis, *, lost: str = "") -> Diagnosis:
    """Return what the user is told of a cell that did not stop at one of its limits.

    It was interrupted there, and its container was killed because it went on.
    """
    sentence = f"{reached.sentence}, went on {GRACE_SECONDS:g} s after an interrupt, and was killed"
    return Diagnosis(reached.name, sentence, f"{fresh(lost)}; {reached.hint}")


def of_past(told: Diagnosis) -> Diagnosis:
    """Return the note for the first cell after such an end.

    It is shown once: whoever runs all cells may not have looked at the one that failed.
    """
    return Diagnosis("note", told.sentence, fresh())


def of_stillbirth(kernel: CellKernel, outcome: Outcome) -> CellholdError:
    """Return the error for a container that ended before its cell kernel answered."""
    sentence = f"cannot start a cell kernel in image {kernel.spec.image}: {outcome.sentence()} before it was ready"
    if outcome.why is Why.MEMORY:
        return CellholdError(sentence, hint="a Python kernel needs about 60 MiB for itself: %container memory=256m")
    if outcome.why is Why.TIME:
        return CellholdError(sentence, hint="%container time=10m")
    return CellholdError(sentence, hint=last_words(kernel))


def last_words(kernel: CellKernel) -> str | None:
    """Return the last output of the cell kernel, as a hint; None if there is none."""
    while kernel.output.drain():
        pass
    lines = kernel.output.last(_SHOWN_LINES)
    return "it wrote: " + "\n  ".join(lines) if lines else None


def names(victims: Sequence[str]) -> str:
    """Format the names of killed processes: " (python3, dd)", "" where none is known."""
    return f" ({', '.join(dict.fromkeys(victims))})" if victims else ""
