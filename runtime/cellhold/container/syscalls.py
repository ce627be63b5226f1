"""The system calls behind the steps of a container's start, as strace(1) prints.

For the panel and Container.calls(). Each step lists its own (init/steps), from the plan
that it performs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.init.steps import ALL_STEPS

if TYPE_CHECKING:
    from cellhold.init.plan import Plan

_MOST = 40  # lines of one step


def list_syscalls(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the calls of every step by its name, in order; at most 40 of a step."""
    return {step.name: _cut([*step.syscalls(plan)]) for step in ALL_STEPS}


def _cut(lines: list[str]) -> tuple[str, ...]:
    return (*lines[:_MOST], f"... and {len(lines) - _MOST} more") if len(lines) > _MOST else tuple(lines)
