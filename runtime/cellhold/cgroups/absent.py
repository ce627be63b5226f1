"""No group at all: what a user gets to whom no cgroup was delegated. Only for containers that asked for no limit of one.

The default of pids= is a courtesy to the host and is let go; whatever was asked for is refused, never dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.cgroups import files, refusals
from cellhold.cgroups.base import Join, Usage
from cellhold.errors import NotSupported

if TYPE_CHECKING:
    from cellhold.cgroups.base import View
    from cellhold.spec.limits import Limits

_DELEGATE = (
    "leave it out; or run as root; or on a host with cgroup v2 in a group delegated to you (systemd-run --user --scope -p Delegate=yes ...)"
)


class Absent:
    """Stands where a group would be; `reason` is why there is none."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    @classmethod
    def in_place_of(cls, limits: Limits, error: NotSupported) -> Absent:
        """In place of a group that could not be made because of `error`; raises NotSupported if one of `limits` needs it."""
        reason = str(error)
        for limit in refusals.requested(limits).values():
            if reason.startswith("cannot enforce"):
                raise error
            raise NotSupported(
                f"cannot enforce {limit}: no control group can be made ({reason.rpartition(': ')[2]})", hint=_DELEGATE
            ) from error
        return cls(reason)

    def join(self) -> Join:
        """Nothing to join."""
        return Join()

    def views(self) -> tuple[View, ...]:
        """Nothing to show."""
        return ()

    def update(self, limits: Limits) -> None:
        """Raise NotSupported for each limit of a group."""
        self.in_place_of(limits, NotSupported(self._reason))

    def usage(self, _read: files.Read = files.read) -> Usage:
        """Nobody counts."""
        return Usage()

    def freeze(self) -> None:
        """Raise NotSupported."""
        raise NotSupported("cannot pause: that takes a control group, and none can be made", hint=_DELEGATE.partition("; or ")[2])

    def thaw(self) -> None:
        """Nothing is frozen."""

    def is_frozen(self) -> bool:
        """Nothing is."""
        return False

    def kill(self) -> None:
        """The processes end with PID 1 of their namespace, and that one with its launcher."""

    def remove(self) -> None:
        """There is nothing."""

    def describe(self) -> tuple[str, ...]:
        """What is not limited, and why."""
        return (f"none ({self._reason}): processes are not counted or limited",)
