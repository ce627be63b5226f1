"""A group in cgroup v2: one directory, with the controllers its parents pass on."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from cellhold.cgroups import counters, devices, files, limits_v2, places, processes, refusals, usage
from cellhold.cgroups.base import Join, View
from cellhold.cgroups.writes import change, lines, perform
from cellhold.errors import CellholdError, NotSupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.cgroups.writes import Write
    from cellhold.spec.limits import Limits
    from cellhold.spec.usage import Usage

_ALWAYS = frozenset({"memory", "pids", "cpu"})  # for the counters, with or without limits
_ON_REQUEST = frozenset({"cpuset", "io"})
_FREEZING = 10.0  # seconds; a process in an uninterruptible sleep stops only after it
_PRESSURE_SECONDS = 2.0  # the kernel updates its averages no more often (PSI_FREQ), and reading them is the slowest


class V2:
    """A group below a cgroup v2 mount.

    path: "cellhold/ab12"; name: the mount's directory below the root ("" = the root).
    may_change_root: whether controllers may be enabled in the mount's own
    cgroup.subtree_control. Not in the hybrid layout: somebody else decided which
    controllers live there.
    """

    def __init__(self, path: str, mount: str, *, name: str = "", may_change_root: bool = True) -> None:
        self.path = path
        self.directory = f"{mount}/{path}"
        self._mount = mount
        self._name = name
        self._may_change_root = may_change_root
        self.controllers: frozenset[str] = frozenset()
        self._made: tuple[Write, ...] = ()
        self._devices = ""
        self._waits: dict[str, float] = {}
        self._waits_due = 0.0

    @classmethod
    def create(cls, path: str, limits: Limits, mount: str, *, name: str = "", more: tuple[devices.Device, ...] = ()) -> V2:
        """Make the group with its limits.

        more: devices that it may use beside the harmless ones. Raises NotSupported for
        a limit whose controller the parents do not pass on.
        """
        group = cls(path, mount, name=name)
        group.make(limits)
        try:
            refusals.require(limits, group.controllers)
            group.set(limits)
            group.confine(more)
        except BaseException as error:
            processes.undo(group.remove, error)
            raise
        return group

    @classmethod
    def open(cls, path: str, mount: str, *, name: str = "", may_change_root: bool = True) -> V2:
        """Open an existing group."""
        group = cls(path, mount, name=name, may_change_root=may_change_root)
        group.controllers = group._present()
        return group

    def make(self, limits: Limits) -> None:
        """Make the directory and enable the available controllers; set no limits yet."""
        try:
            files.make(self._mount, self.path)
        except OSError as error:
            raise refusals.not_made(f"{self._name}/{self.path}".lstrip("/"), error) from error
        self._enable(limits)

    def set(self, limits: Limits) -> None:
        """Write the limits of a new group, as far as its controllers permit."""
        self._made = tuple(limits_v2.plan(limits, self.controllers, limits_v2.Group(self._read)))
        perform(self._made, self._at())

    def confine(self, more: tuple[devices.Device, ...] = ()) -> None:
        """Let a BPF program refuse devices, if we may load one; v1 does it otherwise."""
        self._devices = devices.confine(self.directory, more)

    def join(self) -> Join:
        """Open the directory, for clone3(CLONE_INTO_CGROUP).

        With openat() also for its cgroup.procs.
        """
        return Join(into=os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def views(self) -> tuple[View, ...]:
        """Return the one tree."""
        return (View(fstype="cgroup2", option="", directory=self._name),)

    def update(self, limits: Limits) -> None:
        """Set new limits, all or none."""
        self._enable(limits)
        refusals.require(limits, self.controllers)
        self.change(limits)

    def change(self, limits: Limits) -> None:
        """Set those of the limits whose controller is here, all or none."""
        self._enable(limits)
        writes = limits_v2.plan(limits, self.controllers, limits_v2.Group(self._read, is_living=True))
        self._make_room(limits)
        try:
            change(writes, self._at())
        finally:
            if "memory" in self.controllers:
                files.write(f"{self.directory}/memory.high", "max")

    def usage(self, read: files.Read = files.read) -> Usage:
        """Read the counters; those of a controller that is not here are None."""
        now = time.monotonic()
        if now >= self._waits_due:
            self._waits, self._waits_due = usage.pressure(lambda file: read(f"{self.directory}/{file}")), now + _PRESSURE_SECONDS
        return usage.v2(partial(self._counted, read), self._waits)

    @property
    def can_freeze(self) -> bool:
        """Whether this kernel has cgroup.freeze (5.2)."""
        return os.path.exists(f"{self.directory}/cgroup.freeze")  # os, not pathlib: part of every start

    def freeze(self) -> None:
        """Freeze, and wait until cgroup.events says that the whole group is."""
        try:
            files.write(f"{self.directory}/cgroup.freeze", "1")
        except OSError as error:
            if error.errno not in files.REMOVED:
                raise
            if self.can_freeze or not os.path.isdir(self.directory):
                raise refusals.gone(self.path) from error
            raise NotSupported(f"cannot pause {self.path}: this kernel has no cgroup.freeze (Linux 5.2)") from error
        if not processes.wait_until(lambda: counters.keyed(self._read("cgroup.events"), "frozen") == 1, seconds=_FREEZING):
            self.thaw()
            raise CellholdError(f"cannot pause {self.path}: a process of it did not stop within {_FREEZING:g} s", hint="try again")

    def thaw(self) -> None:
        """Let the processes continue."""
        with files.unless_removed():
            files.write(f"{self.directory}/cgroup.freeze", "0")

    def is_frozen(self) -> bool:
        """Return what cgroup.events says."""
        return counters.keyed(self._read("cgroup.events"), "frozen") == 1

    def kill(self) -> None:
        """Kill with one write since Linux 5.14; before, send SIGKILL to each process.

        A v2-frozen process dies of it.
        """
        try:
            files.write(f"{self.directory}/cgroup.kill", "1")
        except OSError as error:
            if error.errno not in files.REMOVED:
                raise
            processes.kill_all((self.directory,))

    def remove(self) -> None:
        """Remove the directory; wait a little for dead processes to leave."""
        processes.remove_all((self.directory,))

    def describe(self) -> tuple[str, ...]:
        """Return one line per file written."""
        place = f"{self._name}/{self.path}".lstrip("/")
        confined = (f"{place}, devices = {self._devices}",) if self._devices else ()
        return (*lines(self._made, dict.fromkeys(self.controllers, place)), *confined)

    def _at(self) -> Mapping[str, str]:
        return dict.fromkeys(self.controllers, self.directory)

    def _read(self, file: str) -> str | None:
        return files.read(f"{self.directory}/{file}")

    def _counted(self, read: files.Read, file: str) -> str | None:
        """Read a file of counters.

        The processor's are always there, others only with their controller: these are
        not tried in vain.
        """
        controller = file.partition(".")[0]
        return read(f"{self.directory}/{file}") if controller == "cpu" or controller in self.controllers else None

    def _present(self) -> frozenset[str]:
        return frozenset((self._read("cgroup.controllers") or "").split())

    def _enable(self, limits: Limits) -> None:
        """Enable the wanted controllers in the parents.

        A controller that one of them refuses is missing from `controllers` afterwards.
        One write per controller: the kernel accepts all of a write or nothing. Levels
        that pass it on already are left alone, so a tree delegated to an ordinary user
        needs no rights above its own top.
        """
        wanted = _ALWAYS | (_ON_REQUEST & refusals.requested(limits).keys())
        if self.controllers >= wanted:
            return
        self.controllers = self._present()
        if self.controllers >= wanted:
            return
        level = self._mount
        for number, part in enumerate(self.path.split("/")):
            if number or self._may_change_root:
                offered = frozenset((files.read(f"{level}/cgroup.controllers") or "").split())
                if not wanted & offered:
                    return  # nothing to pass on from here down
                passed = frozenset((files.read(f"{level}/cgroup.subtree_control") or "").split())
                if missing := sorted((wanted & offered) - passed):
                    _pass_on(level, missing)
            level = f"{level}/{part}"
        self.controllers = self._present()

    def _make_room(self, limits: Limits) -> None:
        """Refuse memory below present use.

        A write to memory.max would kill; memory.high makes the kernel take back what it
        can.
        """
        if "memory" not in self.controllers or limits.memory_bytes is None:
            return
        files.write(f"{self.directory}/memory.high", str(limits.memory_bytes))
        held = usage.held_bytes(self.usage())
        if held > limits.memory_bytes:
            files.write(f"{self.directory}/memory.high", "max")
            raise refusals.below_use(limits.memory_bytes, held)


def _pass_on(level: str, controllers: list[str]) -> None:
    """Enable controllers for the groups below `level`.

    One that the kernel refuses (EACCES: not ours) is reported to the user by `require`.
    Processes directly in that group move into a leaf first, because the kernel wants
    none beside groups with controllers (cgroups(7), "no internal processes"): it
    refuses memory and io, and accepts cpu and pids, but then the groups below are good
    for threads only. The root of all groups, the one without a cgroup.type, is exempt.
    """
    if os.path.exists(f"{level}/cgroup.type") and files.read(f"{level}/cgroup.procs"):
        with suppress(OSError):
            processes.vacate(level, f"{level}/{places.LEAF}")
    for controller in controllers:
        with suppress(OSError):
            files.write(f"{level}/cgroup.subtree_control", f"+{controller}")
