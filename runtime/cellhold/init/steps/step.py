"""A step of a container's making: what it does, its words, and its system calls.

The launcher and PID 1 perform steps; `--trace` and the panel read their words and their
system calls (cellhold.container.trace and .syscalls), in the process that asked for the
container. All three are arguments of one object, so none can be forgotten.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Generic, TypeVar

    from cellhold.init.plan import Plan

    State = TypeVar("State")

    class _PerformedOn(Generic[State]): ...

else:
    State = None

    class _PerformedOn:
        def __class_getitem__(cls, _state: object) -> type:
            return cls


class Step(_PerformedOn[State]):
    """One row of a table of contents.

    name: "subject.what", told when it fails. perform: does it to the state that the
    steps of its table share; raises OSError. describe: its words, for people. syscalls:
    its calls in their order, as strace(1) would print them; descriptors are shown as
    what they are of. Both are pure functions of the plan.
    """

    __slots__ = ("describe", "name", "perform", "syscalls")

    def __init__(
        self,
        name: str,
        perform: Callable[[State], object],
        describe: Callable[[Plan], str],
        syscalls: Callable[[Plan], Iterable[str]],
    ) -> None:
        self.name = name
        self.perform = perform
        self.describe = describe
        self.syscalls = syscalls


class StepFailed(Exception):
    """A step raised; the reason is its __cause__."""

    def __init__(self, step: str, reason: Exception) -> None:
        """step: its name."""
        super().__init__(step)
        self.step = step
        self.reason = reason


def perform(steps: Iterable[Step[State]], state: State) -> list[tuple[str, float, float]]:
    """Perform the steps in order and return (name, start, seconds) of each.

    Times are of CLOCK_MONOTONIC. Raises StepFailed.
    """
    timings = []
    for step in steps:
        start = time.monotonic()
        try:
            step.perform(state)
        except Exception as error:
            raise StepFailed(step.name, error) from error
        timings.append((step.name, start, time.monotonic() - start))
    return timings


def format_failure(reason: BaseException) -> tuple[int, str]:
    """Format why a step failed: an errno, 0 where it has none, and a text."""
    if isinstance(reason, OSError):
        return reason.errno or 0, reason.strerror or str(reason)
    return 0, f"{type(reason).__name__}: {reason}"


def format_flags(bits: int, module: object, prefix: str) -> str:
    """Format flags by the names of a module's constants: "CLONE_NEWNS|CLONE_NEWPID"."""
    return "|".join(name for name, flag in vars(module).items() if name.startswith(prefix) and bits & flag) or "0"
