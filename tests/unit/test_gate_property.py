"""Whatever is asked, by whomever, under whatever policy: nothing that the gate grants passes a ceiling.

asking.py draws what is asked. The oracle below knows numbers and lists as they were drawn, and nothing of how the gate reads and
compares them.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asking import EGRESSES, MARK, MIB, UNITS, WAYS, machines, mounting, others, requests
from cellhold.errors import CellholdError, NotAllowed
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.claim import Claim
from cellhold_kernel.gate.request import (
    BuildRequest,
    ChangeRequest,
    CommitRequest,
    ContainerRequest,
    LookRequest,
    PullRequest,
    RunRequest,
)
from cellhold_kernel.settings.settings import Trust

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asking import Machine
    from cellhold.spec.limits import Limits
    from cellhold.spec.spec import Spec
    from cellhold_kernel.gate.granted import GrantedBuild, GrantedRun
    from cellhold_kernel.gate.request import Held, Request
    from cellhold_kernel.settings.policy import Policy

SAFE = set("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE".split())
SUMMED = ("memory", "cpus", "pids", "disk", "net-ingress", "net-egress")


def most(ceilings: Mapping[str, int], key: str) -> float:
    """What the policy allows of it, in the limits' unit."""
    bounds = [ceilings[name] for name in ({"memory", "memory-swap"} if key == "memory" else {key}) if name in ceilings]
    return min(bounds, default=math.inf) * UNITS[key][1]


def of(limits: Limits, key: str) -> float:
    value = getattr(limits, UNITS[key][2])
    return math.inf if value is None else value


def of_both(limits: Limits) -> float:
    """Memory and swap; who says nothing of swap has none."""
    both = limits.memory_swap_bytes
    return of(limits, "memory") if both is None else math.inf if both < 0 else both


def check_limits(limits: Limits, beside: Sequence[Held], machine: Machine, *, has_network: bool) -> None:
    for key in SUMMED:
        if key.startswith("net") and not has_network:
            continue
        counted = [one for one in beside if (key == "disk" or one.is_alive) and (one.has_network or not key.startswith("net"))]
        total = of(limits, key) + sum(of(one.limits, key) for one in counted)
        if most(machine.ceilings, key) < math.inf:
            assert total <= most(machine.ceilings, key), key
    both = limits.memory_swap_bytes
    swap = most(machine.ceilings, "memory-swap") if "memory-swap" in machine.ceilings else most(machine.ceilings, "memory")
    assert both is None or (both != -1 and both <= swap) or swap == math.inf
    assert swap == math.inf or of_both(limits) + sum(of_both(one.limits) for one in beside if one.is_alive) <= swap
    assert of(limits, "time") <= most(machine.ceilings, "time") or "time" not in machine.ceilings


def check_spec(spec: Spec, machine: Machine, *, trusts: Mapping[str, Trust]) -> None:
    """What the container is shown, and where it can write. trusts: of who has asked for the mounts."""
    policy = machine.policy
    assert policy.images is None or spec.image in policy.images or spec.image.startswith("localhost/nb/a1/")
    assert not spec.image.startswith("/") or trusts["image"] is Trust.HOST or spec.image in (policy.images or ())
    word = spec.network.partition(":")[0]
    assert word in policy.networks if policy.networks is not None else word not in ("host", "container")
    if word not in ("none", "host", "container"):
        rank = EGRESSES.index(spec.egress) if spec.egress in EGRESSES else 2
        assert rank <= EGRESSES.index(policy.egress)
    assert all(port.address == "127.0.0.1" for port in spec.ports)
    for mount in spec.mounts:
        if mount.kind == "tmpfs":
            bound = mount.size_bytes or spec.limits.memory_bytes
            assert bound is not None or trusts["tmpfs"] is Trust.HOST
            assert bound is None or bound <= most(machine.ceilings, "memory")
            continue
        source = str(mount.source)
        names = [entry for entry in policy.volumes or () if entry.partition(":")[0] == source]
        is_writable = mount.kind != "overlay" and not mount.read_only
        is_named = any(
            not is_writable or entry.endswith(":rw") or (not source.startswith("/") and not entry.endswith(":ro")) for entry in names
        )
        assert policy.volumes is None or is_named
        assert mount.kind == "volume" or trusts["volume"] is Trust.HOST or is_named
        assert not is_writable or "disk" not in machine.ceilings or is_named or trusts["volume"] is Trust.HOST
    if spec.storage == "tmpfs" and trusts["storage"] is not Trust.HOST:
        assert spec.limits.memory_bytes is not None or spec.limits.disk_bytes is not None
    assert not spec.devices
    assert not spec.image_volumes or spec.limits.disk_bytes is None


def check_metadata(asked: Request[Any], limits: Limits, machine: Machine) -> None:
    """What stands in the metadata has lowered, if anything: what was said before it, or the policy's default, is not passed."""
    for key, word in asked.settings.said.items():
        if word.trust is not Trust.METADATA or key not in UNITS or UNITS[key][2] == "cell" or key == "memory-swap":
            continue
        text = word.beneath.text if word.beneath is not None else machine.defaults.get(key)
        if text is not None and text != "none":
            assert of(limits, key) <= int("".join(letter for letter in text if letter.isdigit())) * UNITS[key][1], key


def check_claim(claim: Claim | None, limits: Limits, now: Sequence[Held], machine: Machine, *, has_network: bool) -> None:
    """Whatever there is beside it when it is made, and in which process: it is within the ceilings then, or not made."""
    policy = machine.policy
    assert (claim is None) == (not machine.ceilings and policy.containers is None)
    if claim is None:
        return
    claim = Claim(**json.loads(json.dumps(claim.write())))
    try:
        found = claim.within(limits, now)
    except NotAllowed:
        return
    check_limits(found, now, machine, has_network=has_network)
    assert policy.containers is None or len(now) < policy.containers


def check_run(asked: RunRequest, granted: GrantedRun, machine: Machine, trust: Trust, later: Sequence[Held]) -> None:
    policy = machine.policy
    spec = granted.spec
    assert policy.containers is None or len(asked.beside) < policy.containers
    check_claim(granted.claim, spec.limits, later, machine, has_network=spec.network in ("bridge", "lab"))
    check_limits(spec.limits, asked.beside, machine, has_network=spec.network in ("bridge", "lab"))
    inherited = {"storage": asked.settings.trust("storage")} if "storage" not in asked.flags else {}
    check_spec(spec, machine, trusts={**dict.fromkeys(("image", "volume", "tmpfs", "storage"), trust), **inherited})
    assert all(mount.kind in ("volume", "tmpfs") for mount in spec.mounts)
    assert spec.shm_bytes is None or spec.shm_bytes <= most(machine.ceilings, "memory")
    assert {name.removeprefix("CAP_") for name in spec.capabilities or ()} <= SAFE | {name[4:] for name in policy.capabilities}
    assert policy.detached or not granted.detached
    assert "of this machine" not in spec.env.values()
    assert spec.env.keys() <= {"A", MARK}
    assert spec.owner == "a1"
    assert spec.name != "python.org"
    assert (spec.limits.io, dict(spec.limits.rlimits), spec.groups) == ((), {}, ())


def check_build(asked: BuildRequest, granted: GrantedBuild, machine: Machine, later: Sequence[Held]) -> None:
    policy = machine.policy
    assert policy.containers is None or len(asked.beside) < policy.containers
    check_claim(granted.claim, granted.limits, later, machine, has_network=False)
    check_limits(granted.limits, asked.beside, machine, has_network=False)
    assert policy.images is None or asked.name in policy.images
    assert granted.name.startswith("localhost/nb/a1/")
    assert "of this machine" not in granted.build_args.values()
    assert policy.images is None or all(line.split()[1] in policy.images for line in asked.dockerfile.splitlines()[:1])
    assert policy.mount is None or WAYS.index(granted.folder or policy.mount) <= WAYS.index(policy.mount)


def answer(asked: Request[Any], trust: Trust, policy: Policy) -> tuple[Any, str | None]:
    """What is granted, or why nothing is."""
    try:
        return authorize(asked, trust, policy), None
    except CellholdError as error:
        return None, str(error)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(requests(), st.sampled_from([Trust.CELL, Trust.CELL, Trust.CELL, *Trust]), machines(), others())
def test_nothing_that_is_granted_passes_a_ceiling(asked: Request[Any], trust: Trust, machine: Machine, later: tuple[Held, ...]) -> None:
    """later: what the notebook has beside it when it is made."""
    policy = machine.policy
    granted, refusal = answer(asked, trust, policy)
    if refusal is not None:
        assert refusal.startswith("cannot ")
        assert "\n" not in refusal
        return
    assert trust >= Trust.CELL or isinstance(asked, ContainerRequest)
    if isinstance(asked, ContainerRequest | ChangeRequest):
        said = asked.settings.over("", asked.words, trust=trust).said
        trusts = {key: said[key].trust if key in said else Trust.HOST for key in ("image", "volume", "tmpfs", "storage")}
        limits = granted.limits if isinstance(asked, ChangeRequest) else granted.spec.limits
        network = granted.spec.network if isinstance(asked, ContainerRequest) else said["network"].text if "network" in said else "none"
        check_limits(limits, asked.beside, machine, has_network=network in ("bridge", "lab"))
        if not asked.words:
            check_metadata(asked, limits, machine)
        cell = granted.cell_limits
        assert "cell-time" not in machine.ceilings or cell.seconds <= machine.ceilings["cell-time"]
        assert "output" not in machine.ceilings or cell.output_bytes <= machine.ceilings["output"] * MIB
    if isinstance(asked, ContainerRequest):
        check_spec(granted.spec, machine, trusts=trusts)
        check_claim(granted.claim, limits, later, machine, has_network=network in ("bridge", "lab"))
        assert policy.containers is None or len(asked.beside) < policy.containers
        assert policy.mount is None or WAYS.index(granted.folder or policy.mount) <= WAYS.index(policy.mount)
        if granted.folder == "rw":
            assert asked.settings.over("", asked.words, trust=trust).trust("mount") >= Trust.CELL or "mount" in asked.settings.said
    if isinstance(asked, RunRequest):
        check_run(asked, granted, machine, trust, later)
    if isinstance(asked, BuildRequest):
        check_build(asked, granted, machine, later)
    if isinstance(asked, PullRequest | LookRequest):
        assert policy.images is None or asked.image in policy.images
    if isinstance(asked, CommitRequest):
        assert policy.images is None or asked.name in policy.images
        assert granted.name.startswith("localhost/nb/a1/")


@settings(max_examples=500, deadline=None)
@given(mounting())
def test_what_a_cell_is_shown_and_where_it_writes_is_within_the_policy(made: tuple[Request[Any], Machine]) -> None:
    asked, machine = made
    granted, refusal = answer(asked, Trust.CELL, machine.policy)
    if refusal is None:
        check_spec(granted.spec, machine, trusts=dict.fromkeys(("image", "volume", "tmpfs", "storage"), Trust.CELL))
        assert granted.spec.shm_bytes is None or granted.spec.shm_bytes <= 32 * MIB
