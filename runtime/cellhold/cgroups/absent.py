"""A stand-in for users without a delegated cgroup.

Only for containers that asked for no limit that needs one. The default of pids= is a
courtesy to the host and is dropped; a limit that was asked for is refused, never
dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.cgroups import files, refusals
from cellhold.cgroups.base import Join
from cellhold.errors import NotSupported
from cellhold.spec.usage import Usage

if TYPE_CHECKING:
    from cellhold.cgroups.base import View
    from cellhold.spec.limits import Limits

_DELEGATE = (
    "leave it out; or run as root; or on a host with cgroup v2 in a group delegated to you (systemd-run --user --scope -p Delegate=yes ...)"
)


class Absent:
    """A stand-in for a group; `reason` is why there is none."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    @classmethod
    def in_place_of(cls, limits: Limits, error: NotSupported) -> Absent:
        """Return a stand-in for a group that could not be made because of `error`.

        Raises NotSupported if one of `limits` needs a group.
        """
        reason = str(error)
        for limit in refusals.requested(limits).values():
            if reason.startswith("cannot enforce"):
                raise error
            raise NotSupported(
                f"cannot enforce {limit}: no control group can be made ({reason.rpartition(': ')[2]})", hint=_DELEGATE
            ) from error
        return cls(reason)

    def join(self) -> Join:
        """Return an empty Join."""
        return Join()

    def views(self) -> tuple[View, ...]:
        """Return no views."""
        return ()

    def update(self, limits: Limits) -> None:
        """Raise NotSupported for each limit that needs a group."""
        self.in_place_of(limits, NotSupported(self._reason))

    def usage(self, _read: files.Read = files.read) -> Usage:
        """Return no figures: nothing is counted."""
        return Usage()

    def freeze(self) -> None:
        """Raise NotSupported."""
        raise NotSupported("cannot pause: that takes a control group, and none can be made", hint=_DELEGATE.partition("; or ")[2])

    def thaw(self) -> None:
        """Do nothing: no process is frozen."""

    def is_frozen(self) -> bool:
        """Return False."""
        return False

    def kill(self) -> None:
        """Do nothing: the processes end with PID 1, and PID 1 with its launcher."""

    def remove(self) -> None:
        """Do nothing."""

    def describe(self) -> tuple[str, ...]:
        """Say what is not limited, and why."""
        return (f"none ({self._reason}): processes are not counted or limited",)
