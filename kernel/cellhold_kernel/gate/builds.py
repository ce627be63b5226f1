"""An image that a cell builds: %%dockerfile. Each image it uses is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.build import dockerfile, stages
from cellhold.image.platform import Platform
from cellhold.spec.image_names import is_oci
from cellhold_kernel.gate import build_flags, containers
from cellhold_kernel.gate.granted import GrantedBuild
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from cellhold.build.stages import Plan
    from cellhold_kernel.gate.images import Images
    from cellhold_kernel.gate.request import BuildRequest
    from cellhold_kernel.settings.policy import Policy
    from cellhold_kernel.settings.settings import Trust

_SHOWN = 80


def grant(request: BuildRequest, _trust: Trust, policy: Policy) -> GrantedBuild:
    """Grant a build; the notebook's limits hold for each step.

    Raises InvalidSpec for flags or a Dockerfile that cannot be parsed, NotAllowed.
    """
    build_flags.check(request.flags)
    images = request.images(policy)
    name = images.claim(request.name, aim=f"build {escape(request.name, most=_SHOWN)}")
    build_args = dict(_pairs(request, "--build-arg"))
    target = next(iter(build_flags.values(request.flags, "--target")[-1:]), None)
    platform = next(iter(build_flags.values(request.flags, "--platform")[-1:]), None)
    wanted = Platform.parse(platform) if platform else Platform.host()
    _check_images(stages.plan(dockerfile.read(request.dockerfile, "Dockerfile"), build_args, wanted, target), images)
    notebook = containers.grant_settings(request, request.settings, policy, role=containers.Role.GUEST)
    return GrantedBuild(
        name=name,
        asked=request.name,
        images=images,
        dockerfile=request.dockerfile,
        build_args=build_args,
        labels=dict(_pairs(request, "--label")),
        target=target,
        platform=platform,
        cache="--no-cache" not in request.flags,
        pull="--pull" in request.flags,
        limits=notebook.spec.limits,
        claim=notebook.claim,
        folder=notebook.folder,
    )


def _pairs(request: BuildRequest, flag: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (text.partition("=") for text in build_flags.values(request.flags, flag))]


def _check_images(plan: Plan, images: Images) -> None:
    """Raise NotAllowed for an image of the Dockerfile that the policy does not allow.

    Images named by ONBUILD triggers of a base are not known yet: the build checks each
    (build/building.py).
    """
    for stage in plan.stages:
        if stage.base_stage is None and stage.base != stages.SCRATCH:
            images.resolve(stage.base)
        for instruction in stage.instructions:
            name = instruction.flag("from")
            if name is not None and name not in stage.copies_from and is_oci(name):
                images.resolve(name)
