"""The engine of this host: the runtime's containers, and images of its store."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold import image
from cellhold.errors import CellholdError
from cellhold.image import host
from cellhold.spec.image_names import is_oci
from cellhold.store.home import open_home
from cellhold_kernel.engine.base import Ready
from cellhold_kernel.engine.local import socket_directory
from cellhold_kernel.engine.local.kernel_sandbox import LocalKernelSandbox
from cellhold_kernel.engine.local.program import LayerMissing, program_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from cellhold.spec.spec import Spec
    from cellhold_kernel.engine.base import Feature, KernelSandbox, Preparation
    from cellhold_kernel.engine.local.container import LocalContainer
    from cellhold_kernel.engine.local.packages import HeldLayer
    from cellhold_kernel.engine.local.program import Program
    from cellhold_kernel.gate.granted import GrantedBuild, GrantedCommit, GrantedContainer, GrantedRun
    from cellhold_kernel.gate.images import Names
    from cellhold_kernel.gate.request import Held
    from cellhold_kernel.jobs.build_context import BuildContext
    from cellhold_kernel.jobs.job import Job


class LocalEngine:
    """Makes containers on this host (engine.base.Engine); it lacks no feature."""

    name = "local"
    missing: Mapping[Feature, str] = MappingProxyType({})

    def __init__(self, create: Callable[[Spec], LocalContainer]) -> None:
        """Open what the host image needs.

        create: Container.create, or a stand-in for it. Called before anything of the
        notebook's is looked at.
        """
        self._create = create
        with suppress(CellholdError, OSError):  # the first container says so
            host.hold_prefixes()

    def check(self, spec: Spec) -> None:
        """Raise before a pull what create() would say of the spec's user and network.

        An image that is here is used at once, and create() says so itself.
        Raises NotSupported, NetworkNotFound, NotAllowed, InvalidSpec.
        """
        if image.is_here(spec.image):
            return
        from cellhold import network  # noqa: PLC0415  # as of Pull
        from cellhold.container import start  # noqa: PLC0415
        from cellhold.store.home import open_home  # noqa: PLC0415

        start.check(spec)
        network.check(spec, open_home())

    def prepare(self, preparation: Preparation) -> Job | LocalReady:
        """Return the pull of the image or the job that adds a kernel to it, or Ready.

        Raises CellholdError.
        """
        granted = preparation.granted
        if not image.is_here(granted.spec.image):
            from cellhold_kernel.jobs.pull import Pull  # noqa: PLC0415  # imported when an image is missing, not at every start

            return Pull(preparation.fetch())
        program = program_for(granted.spec, preparation.arguments, wanted=granted.kernel)
        if not isinstance(program, LayerMissing):
            return self._prepare_packages(preparation, program)
        from cellhold_kernel.jobs.kernel_layer import Layering  # noqa: PLC0415  # as above

        if isinstance(preparation.done, Layering):
            raise CellholdError(f"cannot use image={granted.spec.image}: its kernel layer is gone again")
        return Layering(granted, instead_of=preparation.instead_of)

    def _prepare_packages(self, preparation: Preparation, program: Program) -> Job | LocalReady:
        """Have the notebook's packages made if they are not here."""
        granted, layer = preparation.granted, None
        if granted.packages is not None:
            from cellhold_kernel.engine.local import packages  # noqa: PLC0415  # for notebooks with packages
            from cellhold_kernel.jobs.packages import Packaging  # noqa: PLC0415

            wanted = packages.wanted_for(granted.packages, program, granted.spec)
            layer = packages.find(wanted)
            if layer is None:
                if isinstance(preparation.done, Packaging):
                    raise CellholdError("cannot use the notebook's packages: their layer is gone again")
                return Packaging(granted, wanted.target)
        return LocalReady(preparation=_with_locale(preparation), program=program, make=self._create, packages=layer)

    def install(self, granted: GrantedContainer, sandbox: KernelSandbox) -> Job:
        """Have the layer mounted in the container, over the one that it has.

        Raises NotSupported, CellholdError, OSError.
        """
        from cellhold_kernel.engine.local import packages  # noqa: PLC0415  # for notebooks with packages

        assert isinstance(sandbox, LocalKernelSandbox)  # noqa: S101  # for mypy: this engine made it
        return packages.install(granted, sandbox)

    def commit(self, granted: GrantedCommit) -> Job:
        """Begin to make an image of a container."""
        from cellhold_kernel.jobs.commit import Commit  # noqa: PLC0415  # imported for the cell that commits

        return Commit(granted)

    def build(self, granted: GrantedBuild, context: BuildContext) -> Job:
        """Begin to build an image."""
        from cellhold_kernel.jobs.build import Build  # noqa: PLC0415  # as above

        return Build(granted, context)

    def run(self, granted: GrantedRun) -> Job:
        """Begin to run a container beside the notebook's own."""
        from cellhold_kernel.jobs.run import Run  # noqa: PLC0415  # as above

        return Run(granted)

    def clear_abandoned(self) -> None:
        """Remove the directories that killed host kernels left."""
        socket_directory.clear_abandoned()

    def image_names(self, owner: str) -> Names:
        """Return the names of images for a notebook. Raises SetupFailed."""
        from cellhold_kernel.gate import inventory  # noqa: PLC0415  # the host image does without, at every start

        return inventory.image_names(owner)

    def has_names(self, image_name: str) -> bool:
        """Return whether it is one of the store's, not the host image or a directory."""
        return is_oci(image_name)

    def containers(self, owner: str, *, without: Sequence[str]) -> tuple[Held, ...]:
        """Return the containers of a notebook, except those with the ids in `without`."""
        from cellhold_kernel.gate import inventory  # noqa: PLC0415  # as above

        return tuple(inventory.containers(owner, without=without))

    def counting(self, owner: str) -> AbstractContextManager[None]:
        """Return a lock: while it is held, nobody else changes what the notebook has."""
        from cellhold_kernel.gate import admission  # noqa: PLC0415  # as above

        return admission.counting(owner)


def _with_locale(preparation: Preparation) -> Preparation:
    """Return it with this machine's TZ and LANG, where the image has none of its own."""
    granted = preparation.granted
    own = granted.spec.env if granted.spec.image == "host" else {**image.for_spec(granted.spec, open_home()).env, **granted.spec.env}
    more = {name: value for name, value in granted.locale.items() if name not in own}
    return replace(preparation, granted=replace(granted, spec=replace(granted.spec, env={**more, **granted.spec.env})))


@dataclass(frozen=True, kw_only=True)
class LocalReady(Ready):
    """An image that is here, and what is to run in it. make: Container.create."""

    preparation: Preparation
    program: Program
    make: Callable[[Spec], LocalContainer]
    packages: HeldLayer | None = None

    def create(self, *, instead_of: Sequence[str]) -> LocalKernelSandbox:
        """Create the container.

        Raises what Container.create() raises, NotAllowed at a ceiling of the policy,
        OSError.
        """
        return LocalKernelSandbox(self.preparation, self.program, create=partial(self._admit, tuple(instead_of)), packages=self.packages)

    def _admit(self, instead_of: tuple[str, ...], spec: Spec) -> LocalContainer:
        """Create a container, while what the notebook has is counted once more."""
        claim = self.preparation.granted.claim
        if claim is None:
            return self.make(spec)
        from cellhold_kernel.gate import admission  # noqa: PLC0415  # as above

        with admission.admitted(spec, claim, instead_of=instead_of) as counted:
            return self.make(counted)
