"""The descriptors of cell kernels on the loop: their end, output and sockets."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.transport.backend import Backend
    from cellhold_kernel.transport.loop import Loop


class Watch:
    """Watches the cell kernels of one session."""

    def __init__(self, loop: Loop) -> None:
        """Watch none yet."""
        self._loop = loop

    def add(self, kernel: CellKernel, ended: Callable[[CellKernel], None]) -> None:
        """Read the output of a run, and call `ended` when it has ended."""
        self._loop.add(kernel.life, partial(ended, kernel))
        self._loop.add(kernel.output.fileno(), partial(self._drain_output, kernel))

    def add_sockets(self, received: Callable[[CellKernel, str], None], kernel: CellKernel, backend: Backend) -> None:
        """Call `received` with the channel when one of its sockets is readable."""
        for channel, socket in backend.sockets.items():
            self._loop.add(socket, partial(received, kernel, channel))

    def _drain_output(self, kernel: CellKernel) -> None:
        if not kernel.output.drain():
            self._loop.remove(kernel.output.fileno())

    def remove(self, kernel: CellKernel) -> None:
        """Watch it no more."""
        self._loop.remove(kernel.life)
        self._loop.remove(kernel.output.fileno())
        for socket in kernel.backend.sockets.values() if kernel.backend is not None else ():
            self._loop.remove(socket)
