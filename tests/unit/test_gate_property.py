"""Whatever is asked, by whomever, under whatever policy: nothing that the gate grants passes a ceiling.

The oracle below knows numbers and lists as they were generated, and nothing of how the gate reads and compares them.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellhold.errors import CellholdError
from cellhold.spec.limits import Limits
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import (
    BuildRequest,
    ChangeRequest,
    CommitRequest,
    ContainerRequest,
    EgressRequest,
    Held,
    LookRequest,
    PullRequest,
    RunRequest,
)
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.settings.settings import Settings, Trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.spec.spec import Spec
    from cellhold_kernel.gate.request import (
        Request,
    )

os.environ["GATE_MARK"] = "of this machine"
MARK = "GATE_MARK"
MIB = 1 << 20
SAFE = set("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE".split())
AMOUNTS = st.integers(8, 64)
UNITS = {  # key -> how a number is written, the number in the limits' unit, and the field
    "memory": ("{}m", MIB, "memory_bytes"),
    "memory-swap": ("{}m", MIB, "memory_swap_bytes"),
    "cpus": ("{}", 1, "cpus"),
    "pids": ("{}", 1, "pids"),
    "disk": ("{}m", MIB, "disk_bytes"),
    "time": ("{}s", 1, "seconds"),
    "net-ingress": ("{}mbit", 10**6, "ingress_bits"),
    "net-egress": ("{}mbit", 10**6, "egress_bits"),
    "cell-time": ("{}s", 1, "cell"),
    "output": ("{}m", MIB, "cell"),
}
SUMMED = ("memory", "cpus", "pids", "disk", "net-ingress", "net-egress")
FLAGS = {
    "memory": "memory", "memory-swap": "memory_swap", "cpus": "cpus", "pids": "pids_limit", "disk": "disk", "time": "time",
    "net-ingress": "net_ingress", "net-egress": "net_egress",
}  # fmt: skip
IMAGES = ("host", "busybox", "lab/py:1", "python:3.12", "/srv/root")
NETWORKS = ("none", "bridge", "lab", "host", "container:web")
EGRESSES = ("none", "internet", "all")
VOLUMES = ("notes:/n", "notes:/n:ro", "other:/o", "/srv/data:/d:ro", "/srv/data:/d", "/etc:/e:O", "/v")
TMPFS = ("/t", "/t:size=16m", "/t:size=100m")
CAPABILITIES = ("CHOWN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE")
WAYS = ("none", "ro", "rw")
NEEDS_A_NETWORK = ("ports", "egress", "net-ingress", "net-egress")
NOT_A_CELLS = ("env_file", "device", "privileged", "rootfs", "ulimit")


@st.composite
def words(draw: st.DrawFn) -> dict[str, str]:
    """What somebody says of a container."""
    said = {key: draw(AMOUNTS) for key in draw(st.sets(st.sampled_from(sorted(UNITS)), max_size=4))}
    texts = {key: "none" if amount == 64 else UNITS[key][0].format(amount) for key, amount in said.items()}
    others: dict[str, st.SearchStrategy[str]] = {
        "image": st.sampled_from(IMAGES),
        "network": st.sampled_from(NETWORKS),
        "egress": st.sampled_from([*EGRESSES, "allow=example.org"]),
        "ports": st.sampled_from(["8000:80", "80", "22:22"]),
        "mount": st.sampled_from(WAYS),
        "storage": st.sampled_from(["disk", "tmpfs"]),
        "volume": st.sampled_from(VOLUMES),
        "tmpfs": st.sampled_from(TMPFS),
    }
    texts.update({key: draw(others[key]) for key in draw(st.sets(st.sampled_from(sorted(others)), max_size=3))})
    if texts.get("network") not in ("bridge", "lab") and draw(st.integers(0, 4)):  # else all of it would mean nothing
        texts = {key: text for key, text in texts.items() if key not in NEEDS_A_NETWORK}
    if "memory" not in texts and draw(st.integers(0, 4)):
        texts.pop("memory-swap", None)
    return texts


@dataclass
class Machine:
    """A policy, and the numbers that it was made of."""

    policy: Policy
    ceilings: dict[str, int]
    defaults: dict[str, str]


def optional(what: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | what


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    ceilings = {key: draw(st.integers(30, 200)) for key in draw(st.sets(st.sampled_from(sorted(UNITS)), max_size=5))}
    plain = st.sampled_from(["memory", "cpus", "pids", "disk", "time"])
    defaults = {key: UNITS[key][0].format(draw(AMOUNTS)) for key in draw(st.sets(plain, max_size=2))}
    policy = Policy(
        path=Path("/etc/p.toml"),
        defaults=defaults,
        limits={key: UNITS[key][0].format(amount) for key, amount in ceilings.items()},
        mount=draw(optional(st.sampled_from(WAYS))),
        egress=draw(st.sampled_from(EGRESSES)),
        images=draw(optional(st.lists(st.sampled_from([*IMAGES, "demo"]), min_size=4, max_size=6).map(tuple))),
        networks=draw(optional(st.lists(st.sampled_from(["none", "bridge", "lab", "host", "container"]), min_size=3).map(tuple))),
        volumes=draw(optional(st.lists(st.sampled_from(["notes", "notes:ro", "/srv/data", "/srv/data:rw"])).map(tuple))),
        detached=draw(st.booleans()),
        capabilities=tuple(f"CAP_{name}" for name in draw(st.sets(st.sampled_from(CAPABILITIES[1:])))),
        containers=draw(optional(st.integers(1, 5))),
    )
    return Machine(policy, ceilings, defaults)


@st.composite
def others(draw: st.DrawFn) -> tuple[Held, ...]:
    """What the notebook has already."""
    held = []
    for number in range(draw(st.integers(0, 2))):
        limits = Limits(
            memory_bytes=draw(AMOUNTS) * MIB,
            cpus=float(draw(AMOUNTS)),
            pids=draw(optional(AMOUNTS)),
            disk_bytes=draw(AMOUNTS) * MIB,
            ingress_bits=draw(AMOUNTS) * 10**6,
            egress_bits=draw(optional(AMOUNTS.map(lambda amount: amount * 10**6))),
        )
        held.append(Held(name=f"c{number}", limits=limits, is_alive=draw(st.booleans()), has_network=draw(st.booleans())))
    return tuple(held)


@st.composite
def flags(draw: st.DrawFn) -> dict[str, Any]:
    """Of %%run."""
    said: dict[str, Any] = {}
    for key in draw(st.sets(st.sampled_from(sorted(FLAGS)), max_size=3)):
        said[FLAGS[key]] = UNITS[key][0].format(draw(AMOUNTS))
    others: dict[str, st.SearchStrategy[Any]] = {
        "detach": st.just(True),
        "rm": st.just(True),
        "env": st.lists(st.sampled_from(["A=1", MARK, f"{MARK}=2", "HOME"]), max_size=2),
        "env_file": st.just(["/proc/self/environ"]),
        "cap_add": st.lists(st.sampled_from(CAPABILITIES), max_size=2),
        "volume": st.lists(st.sampled_from(VOLUMES), max_size=2),
        "mount": st.lists(
            st.sampled_from(["type=bind,source=/etc,target=/e", "type=volume,source=notes,target=/m", "target=/m"]), max_size=1
        ),
        "tmpfs": st.lists(st.sampled_from(TMPFS), max_size=1),
        "shm_size": st.sampled_from(["16m", "100m"]),
        "publish": st.lists(st.sampled_from(["80", "0.0.0.0:80:80", "8000:80", "22:22"]), max_size=1),
        "network": st.sampled_from(NETWORKS),
        "egress": st.sampled_from(EGRESSES),
        "storage": st.just("tmpfs"),
        "device": st.just(["/dev/fuse"]),
        "privileged": st.just(True),
        "restart": st.sampled_from(["always", "on-failure:3"]),
        "name": st.sampled_from(["web", "python.org"]),
        "ulimit": st.just(["rtprio=99"]),
        "rootfs": st.just("/"),
    }
    said.update({name: draw(others[name]) for name in draw(st.sets(st.sampled_from(sorted(others)), max_size=3))})
    if draw(st.integers(0, 4)):
        said = {name: value for name, value in said.items() if name not in NOT_A_CELLS}
    return said


@st.composite
def requests(draw: st.DrawFn) -> Request[Any]:
    said = Settings().over("kernel.json", draw(words()))
    if not draw(st.integers(0, 2)):
        said = said.over("metadata", draw(words()), trust=Trust.METADATA)
    if not draw(st.integers(0, 2)):
        said = said.over("an earlier cell", draw(words()), trust=Trust.CELL)
    common: dict[str, Any] = {"settings": said, "owner": "a1", "beside": draw(others())}
    image, base, source = (draw(st.sampled_from(images)) for images in (IMAGES, IMAGES[:4], IMAGES[1:4]))
    kinds: list[st.SearchStrategy[Request[Any]]] = [
        st.builds(ContainerRequest, words=words(), **{key: st.just(value) for key, value in common.items()}),
        st.builds(ChangeRequest, words=words(), **{key: st.just(value) for key, value in common.items()}),
        st.just(EgressRequest(egress=draw(st.sampled_from(EGRESSES)), **common)),
        st.builds(RunRequest, flags=flags(), image=st.just(image), **{key: st.just(value) for key, value in common.items()}),
        st.just(
            BuildRequest(
                name=draw(st.sampled_from(["demo", "python:3.12", "lab/py:1"])),
                flags=tuple(
                    draw(st.lists(st.sampled_from(["--build-arg=A=1", f"--build-arg={MARK}", "--pull", "--secret=x"]), max_size=1))
                ),
                dockerfile=f"FROM {base}\nARG {MARK}\nCOPY --from={source} /a /b\n",
                **common,
            )
        ),
        st.just(CommitRequest(container="ab12", name=draw(st.sampled_from(["demo", "python:3.12"])), **common)),
        st.just(PullRequest(image=image, **common)),
        st.just(LookRequest(image=image, **common)),
    ]
    return draw(st.one_of(kinds))


# --------------------------------------------------------------------------------------------------- the oracle


def most(ceilings: Mapping[str, int], key: str) -> float:
    """What the policy allows of it, in the limits' unit."""
    bounds = [ceilings[name] for name in ({"memory", "memory-swap"} if key == "memory" else {key}) if name in ceilings]
    return min(bounds, default=math.inf) * UNITS[key][1]


def of(limits: Limits, key: str) -> float:
    value = getattr(limits, UNITS[key][2])
    return math.inf if value is None else value


def check_limits(limits: Limits, asked: Request[Any], machine: Machine, *, has_network: bool) -> None:
    for key in SUMMED:
        if key.startswith("net") and not has_network:
            continue
        counted = [one for one in asked.beside if (key == "disk" or one.is_alive) and (one.has_network or not key.startswith("net"))]
        total = of(limits, key) + sum(of(one.limits, key) for one in counted)
        if most(machine.ceilings, key) < math.inf:
            assert total <= most(machine.ceilings, key), key
    both = limits.memory_swap_bytes
    swap = most(machine.ceilings, "memory-swap") if "memory-swap" in machine.ceilings else most(machine.ceilings, "memory")
    assert both is None or (both != -1 and both <= swap) or swap == math.inf
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


def answer(asked: Request[Any], trust: Trust, policy: Policy) -> tuple[Any, str | None]:
    """What is granted, or why nothing is."""
    try:
        return authorize(asked, trust, policy), None
    except CellholdError as error:
        return None, str(error)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(requests(), st.sampled_from([Trust.CELL, Trust.CELL, Trust.CELL, *Trust]), machines())
def test_nothing_that_is_granted_passes_a_ceiling(asked: Request[Any], trust: Trust, machine: Machine) -> None:
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
        check_limits(limits, asked, machine, has_network=network in ("bridge", "lab"))
        if not asked.words:
            check_metadata(asked, limits, machine)
        cell = granted.cell_limits
        assert "cell-time" not in machine.ceilings or cell.seconds <= machine.ceilings["cell-time"]
        assert "output" not in machine.ceilings or cell.output_bytes <= machine.ceilings["output"] * MIB
    if isinstance(asked, ContainerRequest):
        check_spec(granted.spec, machine, trusts=trusts)
        assert policy.containers is None or len(asked.beside) < policy.containers
        assert policy.mount is None or WAYS.index(granted.folder or policy.mount) <= WAYS.index(policy.mount)
        if granted.folder == "rw":
            assert asked.settings.over("", asked.words, trust=trust).trust("mount") >= Trust.CELL or "mount" in asked.settings.said
    if isinstance(asked, RunRequest):
        spec = granted.spec
        check_limits(spec.limits, asked, machine, has_network=spec.network in ("bridge", "lab"))
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
    if isinstance(asked, BuildRequest):
        check_limits(granted.limits, asked, machine, has_network=False)
        assert policy.images is None or asked.name in policy.images
        assert granted.name.startswith("localhost/nb/a1/")
        assert "of this machine" not in granted.build_args.values()
        assert policy.images is None or all(line.split()[1] in policy.images for line in asked.dockerfile.splitlines()[:1])
        assert policy.mount is None or WAYS.index(granted.folder or policy.mount) <= WAYS.index(policy.mount)
    if isinstance(asked, PullRequest | LookRequest):
        assert policy.images is None or asked.image in policy.images
    if isinstance(asked, CommitRequest):
        assert policy.images is None or asked.name in policy.images
        assert granted.name.startswith("localhost/nb/a1/")


@st.composite
def mounting(draw: st.DrawFn) -> tuple[Request[Any], Machine]:
    """A request that is about mounts, tmpfs and networks alone, so that many are granted."""
    ceilings = dict.fromkeys(draw(st.sets(st.sampled_from(["memory", "disk"]))), 64)
    policy = Policy(
        path=Path("/etc/p.toml"),
        limits={key: UNITS[key][0].format(amount) for key, amount in ceilings.items()},
        volumes=draw(optional(st.lists(st.sampled_from(["notes", "notes:ro", "other", "/srv/data", "/srv/data:rw"])).map(tuple))),
        networks=draw(optional(st.just(("none", "lab")))),
        egress=draw(st.sampled_from(EGRESSES)),
    )
    volumes = draw(st.lists(st.sampled_from(VOLUMES), max_size=2, unique_by=lambda text: text.split(":")[-2:][0]))
    network = draw(st.sampled_from(["none", "bridge", "lab"]))
    egress = draw(optional(st.sampled_from(EGRESSES))) if network != "none" else None
    base = Settings().over("kernel.json", {"memory": "32m", "disk": "32m"})
    said = {"network": network, **({"egress": egress} if egress else {})}
    if draw(st.booleans()):
        more = {"volume": " ".join(volumes), "tmpfs": draw(st.sampled_from(TMPFS))}
        return ContainerRequest(settings=base, owner="a1", words={**said, **more}), Machine(policy, ceilings, {})
    run = {**said, "volume": volumes, "tmpfs": [draw(st.sampled_from(TMPFS))], "shm_size": draw(st.sampled_from(["16m", "100m"]))}
    return RunRequest(settings=base, owner="a1", flags=run, image="busybox"), Machine(policy, ceilings, {})


@settings(max_examples=500, deadline=None)
@given(mounting())
def test_what_a_cell_is_shown_and_where_it_writes_is_within_the_policy(made: tuple[Request[Any], Machine]) -> None:
    asked, machine = made
    granted, refusal = answer(asked, Trust.CELL, machine.policy)
    if refusal is None:
        check_spec(granted.spec, machine, trusts=dict.fromkeys(("image", "volume", "tmpfs", "storage"), Trust.CELL))
        assert granted.spec.shm_bytes is None or granted.spec.shm_bytes <= 32 * MIB
