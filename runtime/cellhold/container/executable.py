"""exec() of a container, the same for Container and Detached.

They differ in how PID 1 is reached, which is all that they add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from cellhold.container.exec import ExecSession
    from cellhold.spec.spec import Spec


class Entrance(NamedTuple):
    """A container that runs, seen from a process that starts one more process in it.

    name, spec: the container's. socket: leads to its launcher or monitor.
    """

    name: str
    spec: Spec
    socket: socket.socket


class Executable(Protocol):
    """A container in which processes can be started."""

    def exec(  # noqa: PLR0913  # docker's flags
        self,
        *args: str,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        terminal: bool = False,
    ) -> ExecSession:
        """Start one more process in the container; return once it is exec'd.

        Blocks for a minute at most.

        stdin, stdout, stderr: descriptors; None is /dev/null. env: added to the
        program's own. cwd, user: None = the program's. terminal: it gets a terminal
        instead of the descriptors.

        Raises NotAllowed unless the container runs, CommandNotRun (126, 127),
        SetupFailed, InvalidSpec, NotSupported (a file as a descriptor, without root).
        """
        from cellhold.container.exec import exec_process, process_request  # noqa: PLC0415  # few containers need it
        from cellhold.rootfs import exposure  # noqa: PLC0415  # as above

        stdio = (stdin, stdout, stderr)
        with self._entrance() as entrance:
            process = process_request(args, env=env, cwd=cwd, user=user, terminal=terminal)
            exposure.check_entering(entrance.spec, stdio, entrance.name)
            return exec_process(entrance.socket, process, stdio, name=entrance.name)

    def _entrance(self) -> AbstractContextManager[Entrance]:
        """Yield the way to PID 1. Raises NotAllowed unless the container runs."""
