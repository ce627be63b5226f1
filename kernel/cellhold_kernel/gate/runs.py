"""A container of a cell's own: %%run, with docker's flags."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cellhold.cli import options
from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.linux.capabilities import DEFAULT
from cellhold.spec.fields import BY_KEY
from cellhold.spec.networks import BRIDGE
from cellhold_kernel.gate import containers, environment, mounts, networks, run_flags
from cellhold_kernel.gate.granted import GrantedRun
from cellhold_kernel.settings.settings import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.spec.limits import Limits
    from cellhold.spec.spec import Spec
    from cellhold_kernel.gate.request import RunRequest
    from cellhold_kernel.settings.policy import Policy
    from cellhold_kernel.settings.settings import Trust

_NOT_INHERITED = frozenset({"volume", "tmpfs", "ports", "env"})  # of the notebook's container


def grant(request: RunRequest, trust: Trust, policy: Policy) -> GrantedRun:
    """Grant a container of a cell's own.

    The notebook's limits hold unless a flag sets another, the ceilings in any case.
    Raises InvalidSpec, NotAllowed.
    """
    run_flags.check(request.flags)
    if detached := bool(request.flags.get("detach")):
        _check_detached(request.flags, policy)
    elif request.flags.get("restart"):
        raise InvalidSpec("cannot use --restart without -d: the cell waits for one exit", hint="%%run -d --restart ...")
    words = _words(request)
    settings = request.settings.over("", words, trust=trust)
    settings = replace(settings, said={key: said for key, said in settings.said.items() if key not in _NOT_INHERITED})
    container = containers.grant_settings(request, settings, policy, new=words, role=containers.Role.GUEST)
    within = container.spec
    asked = _spec(request, network=within.network)
    _check_spec(asked, within.limits, trust, policy)
    mounts.check_tmpfs(asked.mounts, within.limits, policy, trust)
    script = not request.command and asked.entrypoint is None
    spec = replace(
        asked,
        image=within.image,
        entrypoint=() if script else asked.entrypoint,
        args=("sh", "-c", request.lines) if script else asked.args,
        limits=replace(within.limits, rlimits=asked.limits.rlimits),
        mounts=asked.mounts,
        egress=within.egress,
        storage=within.storage,
        owner=within.owner,
        image_volumes=within.image_volumes,
    )
    return GrantedRun(
        spec=spec,
        lines=request.lines,
        pull=str(request.flags.get("pull", "missing")),
        detached=detached,
        removes_itself=detached and bool(request.flags.get("rm")),
        claim=container.claim,
    )


def _check_detached(flags: Mapping[str, Any], policy: Policy) -> None:
    if not policy.detached:
        raise policy.above("%%run -d", "detached", "false")
    if restart := flags.get("restart"):
        if flags.get("rm"):
            raise InvalidSpec(f"cannot use --restart {restart} with --rm: it is removed when it ends")
        if "time" in policy.limits:
            raise policy.above(f"--restart {restart}", "time", policy.limits["time"])


def _words(request: RunRequest) -> dict[str, str]:
    """Return key -> text of the flags that a notebook has keys for."""
    rows = ((run_flags.FLAGS[name].key, str(value)) for name, value in request.flags.items())
    words = {key: text for key, text in rows if key is not None}
    for key in words.keys() & BY_KEY.keys():
        if BY_KEY[key].words.get(words[key], words[key]) is None:  # docker's word for no limit
            words[key] = UNLIMITED
    return {**words, "image": request.image, "mount": "none"}


def _spec(request: RunRequest, *, network: str) -> Spec:
    """Return the spec of the other flags; those with keys come from `containers`."""
    parser = argparse.ArgumentParser(add_help=False)
    options.add(parser)
    keys = {name for name, flag in run_flags.FLAGS.items() if flag.key is not None}
    given = {name: value for name, value in request.flags.items() if name not in keys}
    arguments = argparse.Namespace(**vars(parser.parse_args([])))
    arguments.__dict__.update(given, network=network, interactive=False, command=[request.image, *request.command])
    return options.spec(arguments)


def _check_spec(spec: Spec, limits: Limits, trust: Trust, policy: Policy) -> None:
    for entry in spec.mounts:
        if entry.kind in ("bind", "overlay"):
            raise NotAllowed(
                f"cannot use volume={entry.source}:{entry.target} with %%run: a cell cannot show the host's directories",
                hint=f"a volume keeps files: -v NAME:{entry.target}",
            )
    mounts.check_volumes([entry for entry in spec.mounts if entry.kind == "volume"], policy, trust)
    networks.check_ports(spec.ports, trust)
    environment.check(spec.env, policy)
    if spec.aliases and spec.network == BRIDGE:
        raise NotAllowed(
            f"cannot use --network-alias {spec.aliases[0]} on {BRIDGE}: everybody shares that network",
            hint="cellhold network create NAME makes a network of your own, where names are yours",
        )
    if spec.shm_bytes is not None:
        mounts.check_memory("--shm-size", spec.shm_bytes, limits, policy, trust)
    allowed = set(DEFAULT) | set(policy.capabilities)
    if beyond := sorted((spec.capabilities or frozenset()) - allowed):
        name = beyond[0].removeprefix("CAP_")
        names = tuple(name.removeprefix("CAP_") for name in policy.capabilities)
        raise policy.above(f"--cap-add {name}", "capabilities", names)
