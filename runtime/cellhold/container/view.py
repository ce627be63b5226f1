"""What a container consists of and what can be read of it.

container.py adds the actions.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from cellhold import network
from cellhold.cgroups import files
from cellhold.container import inventory, start
from cellhold.container.resources import check_update
from cellhold.errors import NotAllowed, SetupFailed
from cellhold.linux.kmsg import oom_victims
from cellhold.rootfs import sources
from cellhold.spec import fields, tracing
from cellhold.spec.lifecycle import State
from cellhold.spec.spec import HOST
from cellhold.store import journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.cgroups.files import Read
    from cellhold.container.resources import Resources
    from cellhold.container.run import Run
    from cellhold.container.start import Launcher
    from cellhold.image.model import Image
    from cellhold.init.plan import Plan
    from cellhold.network import Connection, NetworkKind
    from cellhold.network.egress import Refused
    from cellhold.spec.limits import Limits
    from cellhold.spec.outcome import Outcome
    from cellhold.spec.spec import Spec
    from cellhold.spec.usage import Usage
    from cellhold.store.home import Home


class ContainerView:
    """A container's parts, what they report, and its record.

    For the attributes see Container.
    """

    def __init__(self, spec: Spec, home: Home, image: Image, acquire: Callable[[Callable[[tracing.Step], None]], Resources]) -> None:
        """Use create().

        acquire: acquires what the container has, and reports each step.
        """
        self.image = image
        self.state = State.CREATED
        self.outcome: Outcome | None = None
        self.timings: list[tracing.Step] = []
        self.pid: int | None = None
        self._home = home
        self._resources = acquire(self._report)
        self.spec = replace(spec, limits=self._resources.limits)
        self.id, self.name = self._resources.id, self._resources.record.name
        self.hostname = self.spec.hostname or (os.uname().nodename if self.spec.network == HOST else self.id)
        self._network = self._open_network(self.spec.network)
        self._run: Run | None = None
        self._plan: Plan | None = None  # of the last start
        self._layer = -1  # its writable layer, while somebody keeps it
        self._last_usage: Usage | None = None
        self._receiving = threading.RLock()

    def fileno(self) -> int:
        """Return a descriptor to poll: readable when poll() may have news.

        Raises NotAllowed unless it runs.
        """
        return self._running("watch").channel.socket.fileno()

    def terminal(self) -> int:
        """Return our end of its terminal, a descriptor that stays the container's.

        Raises NotAllowed unless it runs and has one.
        """
        return self._running("look at the terminal of").terminal()

    def signal_fd(self) -> int:
        """Return a pidfd of its PID 1, owned by the caller.

        For another process of the caller's to signal it (linux/pidfd.py) while it runs.

        Raises NotAllowed unless it runs.
        """
        return self._running("signal").signal_fd()

    def exchange(self) -> list[int]:
        """Return the directory of the spec's exchange (O_PATH), then ends of its pipes.

        The reading ends. All descriptors are owned by the caller. Hostile code can
        write there, to the pipes as well. Raises NotAllowed unless it runs and has one.
        """
        return self._running("look at the exchange of").exchange()

    def update(self, limits: Limits) -> None:
        """Set new limits while it runs.

        Raises InvalidSpec (memory below present use), NotAllowed (it was removed) or
        NotSupported (cellhold.spec.fields says which limits are fixed when it is made,
        or started).
        """
        if self.state is State.REMOVED:
            raise NotAllowed(f"cannot update container {self.name}: it was removed")
        started = self.state in (State.RUNNING, State.PAUSED)
        spec = replace(self.spec, limits=limits)
        check_update(self.spec.limits, limits, name=self.name, is_alive=started)
        self._resources.cgroup.update(limits)
        self.spec = spec
        self._try_write_record()

    def calls(self) -> dict[str, tuple[str, ...]]:
        """Return the system calls of its last start by step, as strace(1) prints them.

        Empty before the first start.
        """
        from cellhold.container.syscalls import list_syscalls  # noqa: PLC0415  # imported when somebody asks, not at every start

        return {} if self._plan is None else {**list_syscalls(self._plan), **self._network.syscalls()}

    def usage(self, read: Read = files.read) -> Usage:
        """Return what it has used; after its end, what it had used then.

        read: cgroups.Kept().read for a caller that asks over and over.
        """
        return self._last_usage or self._resources.cgroup.usage(read)

    def connections(self) -> list[Connection]:
        """Return how it is connected, with traffic; the first network's first.

        Empty unless it runs.
        """
        return self._network.connections(self.pid)

    def refused(self) -> list[Refused]:
        """Return what its egress policy refused, the most frequent first.

        Raises NotAllowed if it is on no network.
        """
        return self._network.refused()

    def restrict(self, policy: str) -> None:
        """Set another egress policy; existing connections stay.

        Raises InvalidSpec, NotAllowed if it is on no network.
        """
        self._network.restrict(policy)
        self.spec = replace(self.spec, egress=policy)

    def oom_victims(self, last: int) -> tuple[str, ...]:
        """Return the names of the last processes killed at the memory limit.

        last: how many; fewer if the host does not report them.
        """
        return tuple(oom_victims(self.id)[-last:]) if last else ()

    def writable_layer(self) -> tuple[int, int]:
        """Return the free bytes and all bytes of its writable layer.

        Raises NotAllowed unless it runs; also without root, as nobody may look into PID
        1 then.
        """
        return inventory.writable_layer(self.pid or 0, self.name)

    def upper(self, target: str) -> int:
        """Open the upper directory of the overlay at `target`: what was written there.

        The descriptor is the caller's own. Only while what start() got as `keep` is
        open. Raises NotAllowed where there is no such overlay, or the layer cannot be
        seen from outside (a tmpfs, without root).
        """
        targets = [] if self._plan is None else [overlay["target"] for overlay in self._plan["overlays"]]
        try:
            return os.open(
                f"{targets.index(target)}/upper", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._layer
            )
        except (OSError, ValueError) as error:
            raise NotAllowed(f"cannot see what container {self.name} writes to {target}") from error

    def describe(self) -> dict[str, str]:
        """Describe the container for people."""
        return {
            "id": self.id,
            "name": self.name,
            "image": self.image.name,
            "state": str(self.state),
            "limits": fields.format_limits(self.spec.limits),
            "network": self.spec.network,
            "storage": self._resources.storage.describe(),
            "ids": self._resources.ids.describe(),
        }

    def _running(self, verb: str) -> Run:
        """Return the present run.

        Raises NotAllowed unless it runs.
        """
        if self._run is None:
            raise NotAllowed(f"cannot {verb} container {self.name}: it does not run")
        return self._run

    def _attempt(self, launcher: Launcher, through: NetworkKind, before: Usage) -> start.StartAttempt:
        return start.StartAttempt(
            self._resources, through, launcher, spec=self.spec, image=self.image, hostname=self.hostname, name=self.name, before=before
        )

    def _open_network(self, word: str) -> NetworkKind:
        return network.open(word, self._home, container=self.id, name=self.name, report=self._report)

    def _report(self, step: tracing.Step) -> None:
        self.timings.append(step)
        tracing.emit(step)

    def _tell_others(self, action: str, **more: object) -> None:
        journal.append(self._home.root, action, self._resources.record, **more)

    def _release(self) -> None:
        """Release what it has, and keep no descriptor of the host's.

        This object may be looked at for long.
        """
        self._close_run()
        self._resources.remove()
        self._close_sources()

    def _close_sources(self) -> None:
        self.spec = sources.let_go(self.spec)
        self.image = replace(self.image, stacks=())

    def _close_run(self) -> None:
        if self._run is not None:
            self._run.channel.close()
            self._run = None

    def _try_write_record(self) -> None:
        """Write down what has been done, for other processes to see.

        A disk that is full, or read-only, does not undo it.
        """
        with suppress(SetupFailed):
            self._write_record()

    def _write_record(self) -> None:
        with self._home.written():
            self._resources.write(self.state, self.pid, self.outcome, self.spec.limits)
