"""A stopped container that is started again, within the current policy.

It was made under the policy of its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellhold.spec.networks import is_own
from cellhold_kernel.gate import containers, networks
from cellhold_kernel.gate.ceilings import Ceilings
from cellhold_kernel.gate.granted import GrantedResume
from cellhold_kernel.gate.request import Held
from cellhold_kernel.settings.workspace import TARGET

if TYPE_CHECKING:
    from cellhold_kernel.gate.request import ResumeRequest
    from cellhold_kernel.settings.policy import Policy
    from cellhold_kernel.settings.settings import Trust


def resume(request: ResumeRequest, _trust: Trust, policy: Policy) -> GrantedResume:
    """Grant the container as it is. Raises NotAllowed if the policy forbids it now.

    Its settings are checked as for a fresh one. What was not set it got from the policy
    of its time: that is compared with the current one.
    """
    spec = request.spec
    granted = containers.grant_settings(request, request.settings, policy)
    has_network = is_own(spec.network)
    values: dict[str, Any] = {"network": spec.network, **({"egress": spec.egress} if has_network else {})}
    networks.check(values, policy)
    networks.complete(values, policy)
    if "image" not in request.settings.said:
        request.images(policy).resolve(spec.image)
    if granted.folder == "none" and any(entry.kind == "overlay" and entry.target == TARGET for entry in spec.mounts):
        raise policy.above("mount=ro", "mount", "none")
    own = Held(name="the notebook's stopped container", limits=spec.limits, is_main=True, is_stopped=True, has_network=has_network)
    Ceilings(policy, request.beside).check_made(own)
    return GrantedResume(cell_limits=granted.cell_limits)
