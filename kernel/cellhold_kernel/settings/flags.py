"""A notebook's limits as flags of Cellhold's commands: they hold for what a process of its own runs for the notebook, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.spec.limits import Limits


def of(limits: Limits) -> Iterator[str]:
    """All that a notebook can say (config.py), as cellhold.cli.options reads it."""
    for flag, value in (
        ("--memory", limits.memory_bytes),
        ("--memory-swap", limits.memory_swap_bytes),
        ("--cpus", limits.cpus),
        ("--cpuset-cpus", limits.cpuset),
        ("--disk", limits.disk_bytes),
        ("--time", limits.seconds),
    ):
        if value is not None:
            yield f"{flag}={value}"
    yield f"--pids-limit={-1 if limits.pids is None else limits.pids}"
