"""A container for a notebook: from settings to a spec within the policy."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from cellhold.errors import InvalidSpec
from cellhold.spec.image_names import is_oci
from cellhold.spec.networks import NONE, is_own
from cellhold.spec.spec import Spec
from cellhold_kernel.gate import environment, metadata, mounts, networks, packages
from cellhold_kernel.gate.ceilings import Ceilings
from cellhold_kernel.gate.claim import Claim
from cellhold_kernel.gate.granted import GrantedChange, GrantedContainer, GrantedEgress
from cellhold_kernel.settings.settings import KEYS, CellLimits, Kind, Settings, Trust, understood

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold_kernel.gate.request import ChangeRequest, ContainerRequest, EgressRequest, Request
    from cellhold_kernel.settings.policy import Policy
    from cellhold_kernel.settings.settings import Said

_HOST = "host"


class Role(Enum):
    """Which container of a notebook it is."""

    OWN = 0  # a new one for its cells
    RUNNING = 1  # the one for its cells, which runs already
    GUEST = 2  # another one beside that: %%run, %%dockerfile


def grant(request: ContainerRequest, trust: Trust, policy: Policy) -> GrantedContainer:
    """Grant the notebook's container.

    trust: of the request's words; the settings have a trust of their own. Raises
    InvalidSpec, NotAllowed.
    """
    settings = request.settings.over(request.source, request.words, trust=trust)
    granted = grant_settings(request, settings, policy, new=request.words)
    return replace(granted, packages=packages.grant(request, _values(_with_defaults(settings, policy)), policy))


def change(request: ChangeRequest, trust: Trust, policy: Policy) -> GrantedChange:
    """Grant other limits for the running container. Raises InvalidSpec, NotAllowed."""
    settings = request.settings.over("", request.words, trust=trust)
    granted = grant_settings(request, settings, policy, role=Role.RUNNING)
    return GrantedChange(settings=settings, limits=granted.spec.limits, cell_limits=granted.cell_limits)


def restrict(request: EgressRequest, trust: Trust, policy: Policy) -> GrantedEgress:
    """Grant another egress policy for the running container.

    Raises InvalidSpec, NotAllowed.
    """
    settings = request.settings.over("", {"egress": request.egress}, trust=trust)
    granted = grant_settings(request, settings, policy, role=Role.RUNNING)
    return GrantedEgress(settings=settings, egress=str(granted.spec.egress))


def grant_settings(
    request: Request[Any],
    settings: Settings,
    policy: Policy,
    *,
    new: Mapping[str, str] | None = None,
    role: Role = Role.OWN,
) -> GrantedContainer:
    """Return the container that the settings describe, within the policy.

    new: the words of this request, which reset settings that no longer apply.
    Raises InvalidSpec with key, value and remedy, or NotAllowed.
    """
    said = _with_defaults(settings, policy)
    values = _values(said)
    own = is_own(str(values.get("network", NONE)))
    if not own:
        _forget_network(values, settings, new or {})
    ceilings = Ceilings(policy, request.beside)
    if role is not Role.RUNNING:
        ceilings.check_number()
    inherited = said.keys() - (new or {}).keys() if role is Role.GUEST else ()
    leave_out = () if own else networks.ITS_KEYS
    ceilings.apply(values, said, leave_out=leave_out, inherited=inherited)
    networks.complete(values, policy)
    spec = replace(Spec(), **_fields(Kind.SPEC, values)).with_limits(**_fields(Kind.LIMIT, values))
    way = mounts.folder(values.get("mount"), policy, settings.trust("mount"))
    image = _image(request, spec.image, policy, settings.trust("image"))
    networks.check(values, policy)
    networks.check_ports(spec.ports, settings.trust("ports"))
    volumes = values.get("volume", ())
    if volumes:
        mounts.check_volumes(volumes, policy, settings.trust("volume"), said=said["volume"].text)
    mounts.check_storage(spec.storage, spec.limits, policy, settings.trust("storage"))
    environment.check(spec.env, policy)
    tmpfs = values.get("tmpfs", ())
    mounts.check_tmpfs(tmpfs, spec.limits, policy, settings.trust("tmpfs"))
    without = _values(_with_defaults(settings.without_metadata(), policy))
    networks.complete(without, replace(policy, egress="all"))
    metadata.check(settings, values, without)
    return GrantedContainer(
        settings=settings,
        spec=replace(
            spec,
            image=image,
            env=spec.env if role is Role.GUEST else environment.passed(settings.environment.passed, policy) | dict(spec.env),
            mounts=(*volumes, *tmpfs),
            owner=request.owner,
            image_volumes=spec.limits.disk_bytes is None,  # else what is written there would not be counted
        ),
        cell_limits=_cell_limits(values),
        folder=way,
        locale=environment.passed(settings.environment.locale, policy),
        image_trust=settings.trust("image"),
        claim=Claim.of(policy, said, request.beside, leave_out=tuple(leave_out), inherited=tuple(inherited)),
    )


def _with_defaults(settings: Settings, policy: Policy) -> Mapping[str, Said]:
    """Return all settings, with the policy's defaults below them."""
    return {**Settings().over(str(policy.path), policy.defaults).said, **settings.said}


def _values(said: Mapping[str, Said]) -> dict[str, Any]:
    return {key: understood(key, word.text, word.source) for key, word in said.items()}


def _fields(kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
    return {KEYS[key].field: value for key, value in values.items() if KEYS[key].kind is kind}


def _forget_network(values: dict[str, Any], settings: Settings, new: Mapping[str, str]) -> None:
    """Drop settings of a network that the container does not have.

    Only those of a default or of an earlier line; what this request sets itself stays.
    """
    for key in networks.ITS_KEYS:
        is_default = key not in settings.said
        if is_default or ("network" in new and key not in new):
            values.pop(key, None)


def _cell_limits(values: Mapping[str, Any]) -> CellLimits:
    if values.get("memory-guard") and values.get("memory") is None:
        raise InvalidSpec("cannot use memory-guard: there is no memory limit to guard", hint="memory=512m memory-guard=90%")
    return CellLimits(**_fields(Kind.CELL, values))


def _image(request: Request[Any], text: str, policy: Policy, trust: Trust) -> str:
    """Return the image's name on this machine.

    Raises NotAllowed for an image that the policy does not allow, and for a directory
    that a notebook cannot take by itself.
    """
    name = request.images(policy).resolve(text)
    if not is_oci(name) and name != _HOST and trust < Trust.HOST and not policy.names_image(name):
        raise mounts.not_the_notebooks(f"image={text}", f"--image {text}", "images", policy)
    return name
