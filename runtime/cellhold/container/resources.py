"""What a container has on the host, acquired and released together.

Its directory and record, its ids, its group, its writable layer. Made by container.py
and kept.py. The directory comes first and goes last: while it exists, a sweep finds the
rest by its name.
"""

from __future__ import annotations

import atexit
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from cellhold import cgroups, network, storage
from cellhold.cgroups.absent import Absent
from cellhold.cgroups.devices import Device
from cellhold.cgroups.refusals import check_processors
from cellhold.container import exit_status, launcher
from cellhold.errors import CellholdError, NotSupported, SetupFailed
from cellhold.rootfs import tmpfs, volumes
from cellhold.rootfs.plan import source
from cellhold.spec import fields, tracing
from cellhold.store import durable, ids, locks, spec_codec, subids
from cellhold.store.record import OWN, Record, birth, changing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cellhold.image.model import Image
    from cellhold.spec.lifecycle import State
    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold.storage import Storage
    from cellhold.store.home import Home
    from cellhold.store.subids import Ids


class Resources:
    """What one container has on the host: acquired together, released together.

    id, directory, record, home: where it is in the store. lock: on the directory, a
    descriptor. ids: of its user namespace. cgroup, limits: its group, and the limits
    that hold. storage: its writable layer. report: is called with each step of
    acquiring them.

    Ownership has three phases, and `_undo` holds what remove() releases in each:

        owned        by this process: everything, the last acquired first (__init__)
        kept         by nobody; this process may start it: the group and the lock, the
                     rest stays (keep(), reopened())
        handed over  to its monitor, or left to the parent in a forked child: nothing
                     (hand_over(), abandon())
    """

    ids: Ids
    storage: Storage

    def __init__(self, spec: Spec, image: Image, home: Home, *, report: Callable[[tracing.Step], None]) -> None:
        """Acquire everything, or nothing: a failure is undone, and raised.

        Raises NotSupported for a limit that this host cannot enforce, InvalidSpec for a
        value that it does not have.
        """
        self.report, self.home, self._undo = report, home, ExitStack()
        self._try(lambda: self._make(spec, image, home))

    @classmethod
    def reopened(cls, record: Record, lock: int, spec: Spec, home: Home, *, report: Callable[[tracing.Step], None]) -> Self:
        """Acquire those of a kept container that does not run; make its group anew.

        lock: on its directory, owned by this object from now on. Raises as __init__
        does; what the container has stays.
        """
        self = cls.__new__(cls)
        self.report, self.home, self._undo = report, home, ExitStack()
        self._try(lambda: self._reopen(record, lock, spec, home))
        return self

    def _try(self, make: Callable[[], None]) -> None:
        try:
            make()
        except BaseException as error:
            try:
                self._undo.close()
            except OSError as second:
                error.add_note(f"while clearing up: {second}")
            raise
        _owned.add(self)

    def _make(self, spec: Spec, image: Image, home: Home) -> None:
        with self._step("store.create") as words:
            self.id = self._make_directory(home)
            self.record = Record(
                id=self.id,
                name=spec.name or self.id,
                image=spec.image,
                args=list(spec.args),
                created=time.time(),
                image_id="" if image.id is None else str(image.id),
                layers=[str(chain) for chain in image.chain_ids],
                overlays=[stack.target for stack in image.stacks],
                volumes=volumes.names(spec),
                rootfs=[] if spec.rootfs is None else list(spec.rootfs.identity),
                network=spec.network,
                networks=[spec.network] if network.is_own(spec.network) else [],
            )
            if spec.owner:
                me = os.getpid()
                self.record.maker = [me, birth(me) or 0]
                self.record.spec = {"owner": spec.owner, "network": spec.network, "limits": spec_codec.limits_to_json(spec.limits)}
            if self.record.networks:
                self._undo.callback(network.release, self.id, home)
            self.record.write(self.directory)
            words.append(str(self.directory))
        with self._step("ids.claim") as words:
            self.ids = self._claim_ids(home)
            words.append(self.ids.describe())
        self._make_group(spec)
        with self._step("storage.create") as words:
            self.storage = self._storage(len(image.stacks), spec, home)
            self._undo.callback(self.storage.remove)
            words.append(self.storage.describe())

    def _reopen(self, record: Record, lock: int, spec: Spec, home: Home) -> None:
        self.lock = lock
        self._undo.callback(os.close, lock)
        self.id, self.record, self.directory = record.id, record, home.container(record.id)
        if subids.is_rootless():
            self.ids = subids.delegation().ids
        elif (base := ids.claimed_by(home.ids, self.id)) is not None or (base := self._restored(home)) is not None:
            self.ids = subids.own(base)
        else:
            raise SetupFailed(
                f"cannot start container {record.name}: its range of ids is lost",
                step="ids.claim",
                hint=f"remove it: cellhold rm {record.name}",
            )
        self._make_group(spec)
        self.storage = self._storage(len(record.overlays), spec, home)

    def _restored(self, home: Home) -> int | None:
        """Return the first of its ids if the claim on them was lost and could be restored.

        None if another container has them by now.
        """
        base = self.record.base
        return base if base is not None and ids.restore(home.ids, base, self.id) else None

    def _make_group(self, spec: Spec) -> None:
        with self._step("cgroup.create") as words:
            devices = tuple(Device.node(source(one), one.access) for one in spec.devices)
            self.cgroup, self.limits = make_group(self.id, spec.limits, devices)
            self._undo.callback(self.cgroup.remove)
            words.extend(self.cgroup.describe())

    def _storage(self, overlays: int, spec: Spec, home: Home) -> Storage:
        return storage.create(
            self.directory / "storage",
            overlays=overlays + sum(entry.kind == "overlay" for entry in spec.mounts),
            owner=self.ids.owner,
            limit_bytes=tmpfs.sizes(spec).layer if spec.storage == "tmpfs" else spec.limits.disk_bytes,
            kind=spec.storage,
            templates=home.templates,
        )

    def _claim_ids(self, home: Home) -> Ids:
        """Claim a range of ids.

        Without root it is the user's, which all containers of a user share.
        """
        if subids.is_rootless():
            return subids.delegation().ids
        base = ids.claim(home.ids, self.id)
        self._undo.callback(ids.release, home.ids, base)
        return subids.own(base)

    def _make_directory(self, home: Home) -> str:
        """Make a directory whose name is a new id; return the id."""
        self.directory, self.lock = locks.own_directory(home.containers)
        self._undo.callback(self._remove_directory)
        return self.directory.name

    def _remove_directory(self) -> None:
        try:
            for name in (OWN, "own.new"):
                with suppress(FileNotFoundError):
                    os.unlink(self.directory / name)
            with suppress(FileNotFoundError):
                self.directory.rmdir()
        except OSError:  # what of it could not be removed says by its name that it is nobody's
            with suppress(OSError):
                durable.remove(self.directory)
            raise
        finally:
            os.close(self.lock)

    @property
    def is_lasting(self) -> bool:
        """Whether what it writes must survive a power cut."""
        return self.record.kept and not self.record.auto_remove

    def write(self, state: State, pid: int | None, outcome: Outcome | None, limits: Limits) -> None:
        """Bring the record up to date."""
        if self.record.kept:  # others may have changed it meanwhile
            with changing(self.directory) as record:
                self.record = record
                self._write(state, pid, outcome, limits)
        else:
            self._write(state, pid, outcome, limits)
            if self.record.spec:
                self.record.spec["limits"] = spec_codec.limits_to_json(limits)
            self.record.write(self.directory)

    def _write(self, state: State, pid: int | None, outcome: Outcome | None, limits: Limits) -> None:
        if pid is not None and pid != self.record.pid:
            self.record.started, self.record.born = time.time(), birth(pid)
        self.record.state, self.record.pid = state, pid
        self.record.limits = fields.amounts(limits)
        if outcome is not None:
            exit_status.write(self.record, outcome)
            self.record.finished = time.time()

    def keep(self, spec: Spec, *, auto_remove: bool) -> None:
        """Make the container nobody's.

        From now on remove() releases only the group and the lock.
        """
        self.record.kept, self.record.spec, self.record.auto_remove = True, spec_codec.to_json(spec), auto_remove
        self.record.limits = fields.amounts(self.limits)
        rootless = subids.is_rootless()
        self.record.base = None if rootless else self.ids.base
        self.record.write(self.directory)
        durable.sync(self.directory.parent)
        self.storage.settle()
        if not rootless:
            ids.settle(self.home.ids, self.ids.base)
        with suppress(FileNotFoundError):
            os.unlink(self.directory / OWN)
        self._undo.pop_all()
        self._undo.callback(os.close, self.lock)
        self._undo.callback(self.cgroup.remove)

    def hand_over(self) -> None:
        """Give up ownership without releasing anything.

        The monitor and the keeper own it from now on.
        """
        self._undo.pop_all()
        os.close(self.lock)
        _owned.discard(self)

    def remove(self) -> None:
        """Release what this process owns. Does nothing the second time."""
        try:
            self._undo.close()
        finally:
            _owned.discard(self)

    def abandon(self) -> None:
        """Give up ownership in a forked child.

        A lock that is kept here would keep the container from being swept when the
        parent has died.
        """
        self._undo.pop_all()
        os.close(self.lock)

    @contextmanager
    def _step(self, name: str) -> Iterator[list[str]]:
        """Time a step; the list it yields collects the words of its detail."""
        start = time.monotonic()
        words: list[str] = []
        yield words
        self.report(tracing.Step(name, "; ".join(words), start, time.monotonic() - start))


def make_group(name: str, limits: Limits, devices: tuple[Device, ...] = ()) -> tuple[cgroups.Cgroup, Limits]:
    """Make the container's group; return it, and the limits that hold.

    Without root, if no group was delegated, a container that asks for no limit goes
    without.

    Raises NotSupported, InvalidSpec, SetupFailed.
    """
    check_processors(limits)
    try:
        return cgroups.create(name, limits, devices=devices), limits
    except NotSupported as error:
        if not subids.is_rootless():
            raise
        return Absent.in_place_of(limits, error), replace(limits, pids=None)


def check_update(present: Limits, wanted: Limits, *, name: str, is_alive: bool) -> None:
    """Raise for limits of container `name` that cannot be changed.

    is_alive: whether it runs.

    Raises NotSupported for what is fixed, InvalidSpec for more processors than there
    are.
    """
    check_processors(wanted)
    if (fixed := fields.find_fixed(present, wanted, is_alive=is_alive)) is not None:
        raise NotSupported(
            f"cannot update {fixed.name}={fixed.value(wanted)} of container {name}: it cannot be changed any more",
            hint="make a new container with that limit",
        )


_owned: set[Resources] = set()


def _give_up() -> None:
    """Remove at the end of the process what nobody removed.

    Its launcher could not, since we still hold the locks.
    """
    if _owned:
        launcher.shutdown()
    for resources in tuple(_owned):
        with suppress(OSError, CellholdError):
            resources.remove()


def _after_fork() -> None:
    for resources in _owned:
        resources.abandon()
    _owned.clear()


atexit.register(_give_up)
os.register_at_fork(after_in_child=_after_fork)
