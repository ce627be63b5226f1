"""A group in cgroup v1: one directory in the hierarchy of each controller."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.cgroups import files, limits_v1, processes, refusals, usage
from cellhold.cgroups.base import Join, View
from cellhold.cgroups.writes import change, lines, perform
from cellhold.errors import CellholdError, NotSupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.cgroups.devices import Device
    from cellhold.cgroups.hierarchies import Hierarchy
    from cellhold.cgroups.writes import Write
    from cellhold.spec.limits import Limits
    from cellhold.spec.usage import Usage

ALWAYS = ("memory", "pids", "cpu", "cpuacct", "devices", "freezer")
_ON_REQUEST = ("cpuset", "io")  # each costs every container a mkdir, a join and a rmdir
_FREEZING = 10.0  # seconds; a process in an uninterruptible sleep stops only after it
_FREEZING_TO_KILL = 0.5  # without it, killing takes more than one round


class V1:
    """A group below cgroup v1 mounts.

    path: "cellhold/ab12"; mounts: controller -> hierarchy.
    """

    def __init__(self, path: str, mounts: Mapping[str, Hierarchy]) -> None:
        self.path = path
        self._mounts = mounts
        self._at: dict[str, str] = {}  # controller -> directory; those mounted together share one
        self._made: tuple[Write, ...] = ()

    @classmethod
    def create(cls, path: str, limits: Limits, mounts: Mapping[str, Hierarchy], devices: tuple[Device, ...] = ()) -> V1:
        """Make the group with its limits.

        devices: that it may use beside the harmless ones. Raises NotSupported for a
        limit whose controller is not mounted.
        """
        refusals.require(limits, mounts.keys())
        return cls.make(path, limits, mounts, devices=devices)

    @classmethod
    def make(
        cls,
        path: str,
        limits: Limits,
        mounts: Mapping[str, Hierarchy],
        *,
        controllers: tuple[str, ...] = ALWAYS,
        devices: tuple[Device, ...] = (),
    ) -> V1:
        """Make it in `controllers` and those that the limits need, as far as mounted."""
        group = cls(path, mounts)
        try:
            for controller in (*controllers, *_on_request(limits)):
                group._make(controller)
            group._made = tuple(limits_v1.plan(limits, group._at, limits_v1.Group(group._read, more=devices)))
            perform(group._made, group._at)
        except BaseException as error:
            processes.undo(group.remove, error)
            raise
        return group

    @classmethod
    def open(cls, path: str, mounts: Mapping[str, Hierarchy]) -> V1:
        """Open an existing group, in whichever hierarchies it exists."""
        group = cls(path, mounts)
        places = {controller: f"{hierarchy.mount}/{path}" for controller, hierarchy in mounts.items()}
        group._at = {controller: place for controller, place in places.items() if os.path.isdir(place)}
        return group

    @property
    def controllers(self) -> frozenset[str]:
        """The controllers that this host has in v1, of those that limit something."""
        return frozenset(self._mounts)

    @property
    def directories(self) -> tuple[str, ...]:
        """Its directories, each once."""
        return tuple(dict.fromkeys(self._at.values()))

    def join(self) -> Join:
        """Open a `tasks` file in each hierarchy."""
        opened: list[int] = []
        try:
            opened.extend(os.open(f"{directory}/tasks", os.O_WRONLY | os.O_CLOEXEC) for directory in self.directories)
        except BaseException:
            for descriptor in opened:
                os.close(descriptor)
            raise
        return Join(tasks=tuple(opened))

    def views(self) -> tuple[View, ...]:
        """Return one mount per hierarchy that has the group.

        In the others a container would see the whole host's.
        """
        used = dict.fromkeys(self._mounts[controller] for controller in self._at)
        return tuple(View(fstype="cgroup", option=hierarchy.option, directory=hierarchy.name) for hierarchy in used)

    def update(self, limits: Limits) -> None:
        """Set new limits, all or none."""
        refusals.require(limits, self.controllers)
        self.change(limits)

    def change(self, limits: Limits) -> None:
        """Set those of the limits whose controller is in v1, all or none."""
        before = dict(self._at)
        self._refuse_below_use(limits)
        try:
            for controller in _on_request(limits):
                self._make(controller)
            change(limits_v1.plan(limits, self._at, limits_v1.Group(self._read, is_living=True)), self._at)
            for controller in self._at.keys() - before.keys():
                processes.move_all(before.values(), self._at[controller])
        except BaseException:
            added = [self._at.pop(controller) for controller in self._at.keys() - before.keys()]
            with suppress(OSError, CellholdError):
                processes.remove_all(added, patience=0)
            raise

    def usage(self, read: files.Read = files.read) -> Usage:
        """Read the counters."""
        return usage.v1(lambda controller, file: read(f"{self._at[controller]}/{file}") if controller in self._at else None)

    def freeze(self) -> None:
        """Freeze, and repeat until the whole group is frozen.

        A fork under way makes the kernel stop half-way (FREEZING).
        """
        if "freezer" not in self._at:
            raise NotSupported(f"cannot pause {self.path}: this host has no freezer controller for it")
        try:
            is_frozen = processes.wait_until(self._frozen, seconds=_FREEZING)
        except OSError as error:
            if error.errno not in files.REMOVED:
                raise
            raise refusals.gone(self.path) from error
        if not is_frozen:
            self.thaw()
            raise CellholdError(f"cannot pause {self.path}: a process of it did not stop within {_FREEZING:g} s", hint="try again")

    def thaw(self) -> None:
        """Let the processes continue; do nothing without a freezer."""
        if "freezer" in self._at:
            with files.unless_removed():
                files.write(f"{self._at['freezer']}/freezer.state", "THAWED")

    def is_frozen(self) -> bool:
        """Return what the freezer says; False without one."""
        return self._read("freezer", "freezer.state") == "FROZEN"

    def kill(self) -> None:
        """Send SIGKILL while frozen, so that nothing forks away, then thaw.

        A v1-frozen process does not die before it is thawed.
        """
        frozen = False
        with files.unless_removed():
            frozen = "freezer" in self._at and processes.wait_until(self._frozen, seconds=_FREEZING_TO_KILL)
        try:
            processes.signal_all(self.directories)
        finally:
            self.thaw()
        if not frozen:
            processes.kill_all(self.directories)

    def remove(self) -> None:
        """Remove the directories; wait a little for dead processes to leave."""
        processes.remove_all(self.directories)

    def describe(self) -> tuple[str, ...]:
        """Return one line per file written."""
        return lines(self._made, {controller: f"{self._mounts[controller].name}/{self.path}" for controller in self._at})

    def _read(self, controller: str, file: str) -> str | None:
        return files.read(f"{self._at[controller]}/{file}") if controller in self._at else None

    def _make(self, controller: str) -> None:
        hierarchy = self._mounts.get(controller)
        if hierarchy is None or controller in self._at:
            return
        directory = f"{hierarchy.mount}/{self.path}"
        if directory not in self._at.values():
            try:
                files.make(hierarchy.mount, self.path)
            except OSError as error:
                raise refusals.not_made(f"{hierarchy.name}/{self.path}", error) from error
        self._at[controller] = directory
        if controller == "cpuset":
            _inherit(hierarchy.mount, self.path)

    def _refuse_below_use(self, limits: Limits) -> None:
        """Refuse a memory limit below present use before the kernel does (EBUSY).

        The kernel would first push the container's memory out to swap.
        """
        held = usage.held_bytes(self.usage())
        if limits.memory_bytes is not None and held > limits.memory_bytes:
            raise refusals.below_use(limits.memory_bytes, held)

    def _frozen(self) -> bool:
        files.write(f"{self._at['freezer']}/freezer.state", "FROZEN")
        return self._read("freezer", "freezer.state") == "FROZEN"


def _on_request(limits: Limits) -> list[str]:
    return [controller for controller in _ON_REQUEST if controller in refusals.requested(limits)]


def _inherit(mount: str, path: str) -> None:
    """Copy memory nodes and processors of a new v1 cpuset's parent, from the top.

    A new v1 cpuset has neither, and takes no process until it has.
    """
    at = mount
    for part in path.split("/"):
        parent, at = at, f"{at}/{part}"
        for file in ("cpuset.mems", "cpuset.cpus"):
            if not files.read(f"{at}/{file}"):
                files.write(f"{at}/{file}", files.read(f"{parent}/{file}") or "")
