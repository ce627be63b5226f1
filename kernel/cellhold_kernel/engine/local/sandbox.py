"""A container of this host, with a kernel in it or without (engine.base.Sandbox)."""

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
    """A Container or a Detached, read and controlled."""

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
        """Its present state."""
        return self._container.state

    @property
    def spec(self) -> Spec:
        """The spec it was made of, with the limits that hold."""
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
        """Close the files that usage() keeps open. Closing them twice is not an error."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def inspect(self, topic: Topic) -> Mapping[str, Any]:
        """Return the facts of a topic.

        Raises CellholdError, and OSError where the container is being removed.
        """
        return inspection.inspect(self._container, topic)

    def look(self, what: str, *words: str) -> Look:
        """Begin to look into its layers, or at what it has written.

        Raises NotAllowed where its root is not an image.
        """
        from cellhold_kernel.jobs.inspection import Look  # noqa: PLC0415  # for the panel alone

        if what == _WRITTEN:
            return Look(what, self.id)
        if not is_oci(self.spec.image):
            raise NotAllowed("only an image has layers to look into")
        return Look(what, self.spec.image, *words)

    def pause(self) -> None:
        """Freeze all processes."""
        self._container.pause()

    def unpause(self) -> None:
        """Thaw all processes."""
        self._container.unpause()

    def kill(self, *number: signal.Signals | int) -> None:
        """Send a signal to its program; SIGKILL, the default, ends all processes."""
        self._container.kill(*number)
