"""What the gate grants to a notebook, as the unit tests ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import ContainerRequest
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.settings.settings import Trust

if TYPE_CHECKING:
    from cellhold.spec.spec import Spec
    from cellhold_kernel.gate.granted import GrantedContainer
    from cellhold_kernel.settings.settings import CellLimits, Settings
    from cellhold_kernel.settings.workspace import Workspace


def container(settings: Settings, policy: Policy | None = None, **facts: Any) -> GrantedContainer:
    """Grant a container of these settings; facts: fields of a ContainerRequest."""
    return authorize(ContainerRequest(settings=settings, **facts), Trust.METADATA, policy or Policy())


def spec(settings: Settings, policy: Policy | None = None, workspace: Workspace | None = None, **facts: Any) -> Spec:
    """Return its spec, with the notebook's folder."""
    granted = container(settings, policy, **facts)
    return (granted if workspace is None else granted.with_folder(workspace.mounts(granted.folder))).spec


def cell_limits(settings: Settings, policy: Policy | None = None) -> CellLimits:
    """Return its limits of each cell."""
    return container(settings, policy).cell_limits
