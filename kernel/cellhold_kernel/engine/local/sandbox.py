"""A container of this host as the panel, the magics and controls.py have it, with a kernel in it or without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellhold.errors import NotAllowed
from cellhold.spec.image_names import is_oci
from cellhold_kernel.engine.local import inspection

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping

    from cellhold.cgroups import Kept
    from cellhold.spec.lifecycle import State
    from cellhold.spec.spec import Spec
    from cellhold.spec.usage import Usage
    from cellhold_kernel.engine.base import Topic
    from cellhold_kernel.engine.local.container import InspectedContainer
    from cellhold_kernel.jobs.inspection import Look

_WRITTEN = "written"


class LocalSandbox:
    """A Container or a Detached of this host (engine.base.Sandbox)."""

    def __init__(self, container: InspectedContainer) -> None:
        """container: it belongs to the caller."""
        self._container = container
        self._kept: Kept | None = None

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits."""
        return self._container.id

    @property
    def state(self) -> State:
        """What it is now."""
        return self._container.state

    @property
    def spec(self) -> Spec:
        """What it was made of, with the limits that hold."""
        return self._container.spec

    def usage(self, *, is_repeated: bool = False) -> Usage:
        """Return what it has used so far. is_repeated: the cgroup's files are kept open."""
        if not is_repeated:
            return self._container.usage()
        if self._kept is None:
            from cellhold.cgroups import Kept  # noqa: PLC0415  # for the panel alone

            self._kept = Kept()
        return self._container.usage(self._kept.read)

    def release(self) -> None:
        """Close what usage() keeps open. Twice is no error."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def inspect(self, topic: Topic) -> Mapping[str, Any]:
        """Return what there is to know. Raises CellholdError, OSError where it is just going away."""
        return inspection.inspect(self._container, topic)

    def look(self, what: str, *words: str) -> Look:
        """Begin to look into its layers, or at what it has written. Raises NotAllowed where its root is not an image."""
        from cellhold_kernel.jobs.inspection import Look  # noqa: PLC0415  # for the panel alone

        if what == _WRITTEN:
            return Look(what, self.id)
        if not is_oci(self.spec.image):
            raise NotAllowed("only an image has layers to look into")
        return Look(what, self.spec.image, *words)

    def pause(self) -> None:
        """Freeze every process where it is."""
        self._container.pause()

    def unpause(self) -> None:
        """Let them go on."""
        self._container.unpause()

    def kill(self, *number: signal.Signals | int) -> None:
        """Send its program a signal; SIGKILL, when none is given, ends every process of it."""
        self._container.kill(*number)
