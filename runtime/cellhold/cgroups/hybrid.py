"""A group in both versions at once.

Limits are set where their controllers are, and v2 does what v1 does badly or not at
all: v2 kills in one write, freezes what forks, counts processor time without a
controller and knows pressure; so v1's freezer and cpuacct hierarchies are left out when
it can, which saves every container two groups.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from cellhold.cgroups import files, processes, refusals
from cellhold.cgroups.base import Join
from cellhold.cgroups.v1 import ALWAYS, V1
from cellhold.cgroups.v2 import V2
from cellhold.spec.usage import Usage

if TYPE_CHECKING:
    from cellhold.cgroups.base import View
    from cellhold.cgroups.devices import Device
    from cellhold.cgroups.hierarchies import Hierarchies
    from cellhold.spec.limits import Limits

_BETTER_IN_V2 = frozenset({"freezer", "cpuacct"})


class Hybrid:
    """The v1 group and the v2 group of one name; a process has to be in both."""

    def __init__(self, v1: V1, v2: V2) -> None:
        self._v1 = v1
        self._v2 = v2

    @classmethod
    def create(cls, path: str, limits: Limits, hierarchies: Hierarchies, devices: tuple[Device, ...] = ()) -> Hybrid:
        """Make both; if one cannot be made, remove the other.

        devices: that it may use beside the harmless ones.
        """
        v2 = V2(path, hierarchies.unified or "", name=hierarchies.unified_name, may_change_root=False)
        v2.make(limits)
        try:
            refusals.require(limits, v2.controllers | hierarchies.v1.keys())
            v2.set(limits)
            needed = tuple(name for name in ALWAYS if name not in _BETTER_IN_V2) if v2.can_freeze else ALWAYS
            if "devices" not in hierarchies.v1:
                v2.confine(devices)
            v1 = V1.make(path, limits, hierarchies.v1, controllers=needed, devices=devices)
        except BaseException as error:
            processes.undo(v2.remove, error)
            raise
        return cls(v1, v2)

    @classmethod
    def open(cls, path: str, hierarchies: Hierarchies) -> Hybrid:
        """Open existing groups, one or both."""
        v2 = V2.open(path, hierarchies.unified or "", name=hierarchies.unified_name, may_change_root=False)
        return cls(V1.open(path, hierarchies.v1), v2)

    @property
    def directories(self) -> tuple[str, ...]:
        """Its directories in both versions."""
        return (*self._v1.directories, self._v2.directory)

    def join(self) -> Join:
        """Open v1's files and v2's directory: a process needs all of them."""
        into = self._v2.join().into
        try:
            return Join(tasks=self._v1.join().tasks, into=into)
        except BaseException:
            os.close(into)
            raise

    def views(self) -> tuple[View, ...]:
        """Return v1's trees, and v2's beside them."""
        return (*self._v1.views(), *self._v2.views())

    def update(self, limits: Limits) -> None:
        """Set each limit in the version that has its controller."""
        refusals.require(limits, self._v1.controllers | self._v2.controllers)
        self._v1.change(limits)
        self._v2.change(limits)

    def usage(self, read: files.Read = files.read) -> Usage:
        """Return v1's counters, and v2's for what v1 does not count."""
        first, second = self._v1.usage(read), self._v2.usage(read)
        gaps = {field.name: getattr(second, field.name) for field in fields(Usage) if getattr(first, field.name) is None}
        return replace(first, **{**gaps, "oom_kills": first.oom_kills + second.oom_kills})

    def freeze(self) -> None:
        """Freeze by v2 if the kernel can, else by v1."""
        (self._v2 if self._v2.can_freeze else self._v1).freeze()

    def thaw(self) -> None:
        """Thaw in both versions: after a crash nobody knows which one froze it."""
        self._v2.thaw()
        self._v1.thaw()

    def is_frozen(self) -> bool:
        """Return whether it is frozen in either version."""
        return self._v2.is_frozen() or self._v1.is_frozen()

    def kill(self) -> None:
        """Kill by v2, and in v1 any process that joined only that after a failure."""
        self._v2.kill()
        self._v1.kill()

    def remove(self) -> None:
        """Remove both, the second also if the first cannot be removed."""
        try:
            self._v1.remove()
        finally:
            self._v2.remove()

    def describe(self) -> tuple[str, ...]:
        """Return one line per file written."""
        return (*self._v2.describe(), *self._v1.describe())
