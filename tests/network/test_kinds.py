"""The contract of the kinds of network: what holds for none, shared, bridge and user-mode alike. In namespaces of the tests' own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import network_contract
from boxes import command, environment, eventually
from outside import world
from people import furnish, person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "bridge-networks")

_KINDS = {"none": "NoNetwork", "host": "SharedNetwork", "container:other": "SharedNetwork", "bridge": "BridgeNetwork"}
_ROOTLESS = frozenset({"kinds.usermode", "slirp", "pasta", "forwarding", "usermode_process"})
_BRIDGE = frozenset({"kinds.bridge", "dns", "firewall", "veth"})
# What each kind has no use for, and must not load.
_FOREIGN = {
    "NoNetwork": _ROOTLESS | _BRIDGE | {"kinds.shared"},
    "SharedNetwork": _ROOTLESS | _BRIDGE,
    "BridgeNetwork": (_ROOTLESS - {"usermode_process"}) | {"kinds.shared"},
    "UserModeNetwork": _BRIDGE | {"kinds.shared"},
}
# As udev has it everywhere; on some machines only root may open it.
_AS_IT = (
    "mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && "
    'exec setpriv --reuid="$1" --regid="$2" --clear-groups -- env -i "${@:3}"'
)


@pytest.fixture(scope="module", autouse=True)
def outside() -> Iterator[None]:
    with world():
        yield


def holds(seen: dict[str, Any], kind: str) -> None:
    """The contract. kind: the class that was chosen."""
    is_own = kind in ("BridgeNetwork", "UserModeNetwork")
    count = int(is_own)
    assert (seen["kind"], seen["different"]) == (kind, [])
    assert _FOREIGN[kind].isdisjoint(seen["modules"])
    assert seen["untaken"] == [[], [], {}]
    assert seen["plan"] == {"NoNetwork": None, "SharedNetwork": "shared"}.get(kind, "wired")
    assert (seen["handed"], seen["closed"]) == (0 if kind == "NoNetwork" else 1, True)
    assert seen["error"] == ("SetupFailed" if is_own else None)  # where nobody hands a namespace out, nobody can be connected
    assert (seen["left"], seen["after"]) == ([], [])
    assert seen["running"] == {
        "leases": count,
        "connected": [True] * count,
        "agree": True,
        "steps": ["network.lease", "network.connect"][: 2 * count],
        "calls": is_own,
        "refused": [] if is_own else "NotAllowed",
        "restricted": None if is_own else "NotAllowed",
        "policies": ["internet"] * count,
        "names": ["second"] * count,
        "ended": [],
    }


@pytest.mark.parametrize("word", _KINDS)
def test_a_kind_keeps_the_contract_and_is_the_only_one_that_is_imported(word: str, busybox_root: Path) -> None:
    if word.startswith("container:"):
        assert command("run", "-d", "--name", "other", "--network", "none", "host", "sleep", "100000").returncode == 0
    try:
        words = [sys.executable, str(network_contract.__file__), word, str(busybox_root)]
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, env=environment())
        assert ran.returncode == 0, ran.stderr
        seen = json.loads(ran.stdout)
    finally:
        if word.startswith("container:"):
            assert command("rm", "-f", "other").returncode == 0
    holds(seen, _KINDS[word])
    assert seen["libraries"] == (["pyroute2"] if word == "bridge" else [])
    if word == "none":
        assert seen["modules"] == ["kinds", "kinds.base", "kinds.none"]


@pytest.mark.requires("rootless", "subordinate-ids", "rootless-network")
@pytest.mark.parametrize("word", ["slirp4netns", "pasta"])
def test_a_kind_without_root_keeps_the_contract(word: str, busybox_root: Path) -> None:
    with person("k", subordinate=True) as who:
        furnish(who, busybox_root)
        script = who.place / "contract.py"
        shutil.copy(network_contract.__file__, script)
        variables = [f"{name}={value}" for name, value in who.as_it()["env"].items()]
        words = [str(who.uid), str(who.gid), *variables, who.python, str(script), word, str(who.place / "image")]
        ran = subprocess.run(
            ["unshare", "--mount", "bash", "-c", _AS_IT, "bash", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=who.place,
        )
        assert ran.returncode == 0, ran.stderr
        holds(json.loads(ran.stdout), "UserModeNetwork")
        assert eventually(lambda: not who.processes())
        assert os.listdir(who.store / "networks/bridge/leases") == []
