"""Requests of all kinds against policies of all kinds, as hypothesis draws them; a policy comes with the numbers that it was made of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from cellhold.spec.limits import Limits
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
    from cellhold_kernel.gate.request import Request

os.environ["GATE_MARK"] = "of this machine"
MARK = "GATE_MARK"
MIB = 1 << 20
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
WAYS = ("none", "ro", "new", "rw")
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
        memory = draw(AMOUNTS) * MIB
        limits = Limits(
            memory_bytes=memory,
            memory_swap_bytes=draw(optional(st.just(-1) | AMOUNTS.map((memory // MIB).__add__).map(MIB.__mul__))),
            cpus=float(draw(AMOUNTS)),
            pids=draw(optional(AMOUNTS)),
            disk_bytes=draw(AMOUNTS) * MIB,
            ingress_bits=draw(AMOUNTS) * 10**6,
            egress_bits=draw(optional(AMOUNTS.map(lambda amount: amount * 10**6))),
        )
        is_main = not number and draw(st.booleans())
        is_stopped = is_main and draw(st.booleans())  # it may be started again
        is_alive, has_network = is_stopped or draw(st.booleans()), draw(st.booleans())
        held.append(
            Held(name=f"c{number}", limits=limits, is_main=is_main, is_stopped=is_stopped, is_alive=is_alive, has_network=has_network)
        )
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
