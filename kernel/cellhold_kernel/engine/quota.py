"""What a notebook has: names of images, and containers that the ceilings count.

The gate gets it with each request; deciding is not the business of this module
(gate/ceilings.py).
"""

from __future__ import annotations

from contextlib import nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from cellhold.spec.networks import is_own
from cellhold_kernel.gate.images import Names
from cellhold_kernel.gate.request import ContainerRequest, Held
from cellhold_kernel.settings import lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from cellhold_kernel.engine.base import Engine
    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.settings.policy import Policy
    from cellhold_kernel.settings.settings import Settings
    from cellhold_kernel.settings.sources import Sources

_HOST = "host"


class OwnContainers(Protocol):
    """The host kernel's own containers, of which one stays (session.py)."""

    coming: CellKernel | None
    current: CellKernel | None
    stopped: CellKernel | None


class Quota:
    """What one notebook has. Called on the host kernel's one thread."""

    def __init__(self, engine: Engine, owner: str, policy: Callable[[], Policy], own: OwnContainers) -> None:
        """owner: the notebook (Spec.owner). policy: returns the machine's, as it is now."""
        self._engine = engine
        self._owner = owner
        self._policy = policy
        self._own = own

    def names(self) -> Names:
        """Return what images are called for the notebook. Raises SetupFailed."""
        return self._engine.image_names(self._owner)

    def request_fields(self, settings: Settings, rules: Policy, words: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
        """Return what every request about the notebook's own container contains.

        words: key -> text of the present request, on top of `settings`. Names of images
        are left out for the host image, which does not need them.
        """
        image = words.get("image") or settings.texts().get("image") or rules.defaults.get("image", _HOST)
        names = self.names() if self._engine.has_names(image) else Names()
        return {"settings": settings, "owner": self._owner, "names": names, "beside": self.others()}

    def container_request(
        self, sources: Sources, settings: Settings, rules: Policy, words: Mapping[str, str], *, is_upgrade: bool = False
    ) -> ContainerRequest:
        """Return the request for a container with `words` on top of `settings`.

        sources: of the session. is_upgrade: its packages may get newer versions.
        """
        packages = lock.package_fields(sources.notebook, sources.workspace, settings, words)
        return ContainerRequest(**self.request_fields(settings, rules, words), words=words, is_upgrade=is_upgrade, **packages)

    def own_ids(self) -> tuple[str, ...]:
        """Return the ids of this host kernel's own containers."""
        own = (self._own.coming, self._own.current, self._own.stopped)
        return tuple(one.sandbox.id for one in own if one is not None)

    def others(self) -> tuple[Held, ...]:
        """Return the notebook's containers, except this host kernel's own.

        Returns none where no policy counts them.
        """
        if not self._is_counted():
            return ()
        held = self._engine.containers(self._owner, without=self.own_ids())
        return tuple(one for one in held if not one.is_ending)  # it is gone by then, or waited for (admission.py)

    def containers(self) -> tuple[Held, ...]:
        """Return all that the notebook has, this host kernel's own first.

        A stopped one counts as well: `%container start` lets it go on with all its
        limits.
        """
        running = self._own.coming or self._own.current
        own = running or self._own.stopped
        if own is None:
            return self.others()
        main = Held(
            id=own.sandbox.id,
            name="the notebook's container" if running is not None else "the notebook's stopped container",
            limits=own.spec.limits,
            is_main=True,
            is_stopped=running is None,
            has_network=is_own(own.spec.network),
        )
        return (main, *self.others())

    def lock(self) -> AbstractContextManager[None]:
        """Return a lock that is held while what the notebook has is counted, and changed."""
        if not self._is_counted():
            return nullcontext()
        return self._engine.counting(self._owner)

    def _is_counted(self) -> bool:
        rules = self._policy()
        return bool(rules.limits or rules.containers)
