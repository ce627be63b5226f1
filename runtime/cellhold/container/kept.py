"""KeptContainer: a detached container while a process makes or starts it.

Detached (detached.py) and the restart policy (restart_policy.py) make or reopen one,
start it, and let go of it; from then on its monitor owns it, or nobody.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from cellhold import image, network
from cellhold.container import monitor
from cellhold.container.container import Container
from cellhold.container.monitor import Attached, MonitorProcess
from cellhold.container.resources import Resources
from cellhold.container.start import OwnLauncher
from cellhold.image.model import Image
from cellhold.rootfs import sources
from cellhold.spec.lifecycle import State
from cellhold.spec.usage import Usage
from cellhold.store import spec_codec

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from cellhold.init.health import Check
    from cellhold.spec.spec import Health
    from cellhold.store.home import Home
    from cellhold.store.record import Record

_KILL_SECONDS = 10.0  # that killing a container without a program takes at most


class KeptContainer(Container):
    """A container that outlives its maker.

    keep() makes a new container so; reopen() takes one that does not run, to start it.
    """

    @classmethod
    def reopen(cls, record: Record, lock: int, home: Home) -> Self:
        """Take a container that is kept and does not run.

        lock: on its directory; owned by this object from now on.

        Raises SetupFailed, NotSupported (a limit that this host cannot enforce any
        more).
        """
        try:
            spec = sources.open_sources(spec_codec.from_json(record.spec))
            chosen = Image(name=record.image, stacks=image.stacks_of(record, home), env={})
        except BaseException:
            os.close(lock)
            raise
        made = cls(spec, home, chosen, lambda report: Resources.reopened(record, lock, spec, home, report=report))
        state = State(record.state)
        made.state = State.STOPPED if state is State.RESTARTING else state  # it is us who start it again
        return made

    def keep(self, *, auto_remove: bool = False) -> None:
        """Let the container outlive this process, until it is removed.

        As `docker create` does. auto_remove: until its end. It is started by
        start_kept(); close() lets go of it.
        """
        self.spec = replace(self.spec, env={**self.image.env, **self.spec.env})  # the image may be another one by then
        with self._home.written():
            self._resources.keep(self.spec, auto_remove=auto_remove)

    def close(self) -> None:
        """Let go of a container that was not started."""
        self._release()

    def start_kept(self, *, attach: bool = False, once: bool = False) -> Attached | None:
        """Start its program under a monitor, and let go of it.

        This object cannot be used any more afterwards.

        attach: return what monitor.attach() returns, from the first byte on. once: its
        standard input ends with the attached client's.

        Raises what start() does; then the container is as it was before.
        """
        with _MonitorLauncher(self, self._resources, attach=attach, once=once) as launcher:
            run = self._start(launcher)
            attached = launcher.attached
            if attached is not None and run.channel.terminal >= 0:
                attached = Attached(attached.socket, os.dup(run.channel.terminal))
            launcher.let_go()
            self._close_run()
            self._resources.hand_over()
            self._close_sources()
        return attached

    @contextmanager
    def assembled(self) -> Iterator[socket.socket]:
        """Assemble the container without starting its program.

        Yields the socket through which PID 1 is asked (exec.py). The record is not
        changed. Raises what start() does.
        """
        self._resources.storage.prepare_restart()
        attempt = self._attempt(OwnLauncher(None, None, None), self._open_network(network.NONE), Usage())
        attempt.plan["args"] = []
        channel = attempt.run().channel
        try:
            yield channel.socket
        finally:
            self._resources.cgroup.kill()
            while (message := channel.receive(_KILL_SECONDS)) is not None and message[0] not in ("ended", "lost"):
                pass
            channel.close()


class _MonitorLauncher:
    """A monitor for one container, a new one for each attempt.

    It is ended when this is closed, unless it was let go of.
    """

    stdio: tuple[int | None, ...] = ()  # the program's are pipes of the monitor's

    def __init__(self, container: KeptContainer, resources: Resources, *, attach: bool, once: bool) -> None:
        self._container, self._resources, self._attach, self._once = container, resources, attach, once
        self._closing = ExitStack()
        self.attached: Attached | None = None

    def begin(self) -> tuple[Sequence[int | None], socket.socket]:
        """Start a monitor, as start.Launcher.begin() says."""
        spec = self._container.spec
        self._monitor = self._closing.enter_context(
            MonitorProcess(
                self._resources.id,
                self._resources.home,
                lock=self._resources.lock,
                stdin=spec.stdin,
                terminal=spec.terminal,
                check=_encode_check(spec.health),
            )
        )
        if self._attach:
            self.attached = monitor.attach(self._resources.directory, once=self._once)
        return self._monitor.stdio, self._monitor.control

    def let_go(self) -> None:
        """Leave the container to its monitor."""
        self._monitor.let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()


def _encode_check(health: Health | None) -> Check | None:
    """Encode a healthcheck as the monitor reads it."""
    if health is None or not health.args:
        return None
    return {
        "args": list(health.args),
        "interval": health.interval_seconds,
        "timeout": health.timeout_seconds,
        "start_period": health.start_seconds,
        "retries": health.retries,
    }
