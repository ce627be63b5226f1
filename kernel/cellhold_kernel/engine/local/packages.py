"""A notebook's packages in its container.

Which layer they are, and how programs inside find them.

The layer is mounted read-only at TARGET. An ipykernel puts it in front of the image's
own packages by itself, once its own modules are loaded, so that no version of a
notebook's can break it (transport/inside/packages.py); there it also comes to programs
that a cell starts. Other kernels get PYTHONPATH.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cellhold import image
from cellhold.errors import CellholdError, NotSupported
from cellhold.linux import hostpath
from cellhold.spec.spec import Mount
from cellhold.store.home import open_home
from cellhold_kernel.images.packages import sets, target
from cellhold_kernel.images.packages.target import site_packages
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.transport.exchange import PACKAGES

if TYPE_CHECKING:
    from cellhold.spec.spec import Spec
    from cellhold_kernel.engine.local.kernel_sandbox import LocalKernelSandbox
    from cellhold_kernel.engine.local.program import InsideProgram, ShellProgram
    from cellhold_kernel.gate.granted import GrantedContainer
    from cellhold_kernel.images.packages.sets import PackageLayer, Wanted
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.settings.requirements import PackageSet

TARGET = PACKAGES


class HeldLayer:
    """A layer that a container has.

    Until it is closed, garbage collection leaves it alone.
    """

    def __init__(self, layer: PackageLayer, wanted: Wanted) -> None:
        """Hold it. Raises OSError where it has just gone."""
        self.path = layer.path
        self.site = f"{TARGET}/{site_packages(wanted.target)}"
        self._chain = layer.chain
        self._lock = open_home().layers.hold(layer.chain)

    def add(self, spec: Spec, *, has_ipykernel: bool) -> Spec:
        """Return the spec with the layer mounted."""
        held = hostpath.opened(str(self.path))
        mounts = (*spec.mounts, Mount(kind="bind", source=str(self.path), target=TARGET, read_only=True, opened=held))
        env = spec.env if has_ipykernel else {"PYTHONPATH": self.site, **spec.env}
        return replace(spec, mounts=mounts, env=env)

    def describe(self) -> dict[str, Any]:
        """Return its row among a container's layers (engine.base.Topic.LAYERS)."""
        names = escape(", ".join(sets.requested_names(self.path)), most=200)
        size = open_home().layers.facts(self._chain).size_bytes
        return {"name": self._chain.short, "size": size, "text": f"packages: {names}", "shared": "read-only"}

    def close(self) -> None:
        """Let go of it. Twice is no error."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def wanted_for(packages: PackageSet, program: InsideProgram | ShellProgram, spec: Spec) -> Wanted:
    """Return the set for the Python of the program.

    Raises NotSupported where packages cannot be had for it.
    """
    is_host = spec.image == "host" or len(image.for_spec(spec, open_home()).stacks) > 1
    python = target.of_this_host() if is_host else target.of_image(program.python, spec.image)
    return sets.Wanted(packages=packages, target=python, owner=packages.owner)


def find(wanted: Wanted) -> HeldLayer | None:
    """Return the layer, held; None where it is not here."""
    found = sets.find(wanted, open_home())
    try:
        return None if found is None else HeldLayer(found, wanted)
    except OSError:
        return None


def install(granted: GrantedContainer, sandbox: LocalKernelSandbox) -> Job:
    """Begin to have a set made, and mounted in a container that runs.

    Raises NotSupported, CellholdError, OSError.
    """
    from cellhold.container import live_mount  # noqa: PLC0415  # for cells with %pip
    from cellhold_kernel.jobs.packages import Packaging  # noqa: PLC0415

    assert granted.packages is not None  # noqa: S101  # for mypy: who has none does not ask
    names = ", ".join(one.text for one in granted.packages.wanted)
    hint = f'%container packages="{names}" makes a fresh container with them, without the variables'
    if not sandbox.is_logged:
        raise NotSupported("cannot install packages while this kernel runs: it is not an ipykernel that looks for them", hint=hint)
    try:
        live_mount.check()
    except NotSupported as error:
        raise NotSupported(str(error), hint=hint) from None
    wanted = wanted_for(granted.packages, sandbox.program, granted.spec)
    pid = sandbox.container.pid
    if pid is None:
        raise CellholdError("cannot install packages: the container has ended")
    namespaces = live_mount.namespaces(pid)
    try:
        if sandbox.poll() is not None:
            raise CellholdError("cannot install packages: the container has ended")
        job = Packaging(granted, wanted.target, namespaces=namespaces)
    finally:
        for fd in namespaces:
            os.close(fd)
    job.on_end = (lambda: sandbox.take_packages(find(wanted)),)
    return job
