"""--cpu-shares, from the words to the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from boxes import run
from cellhold.cli import options
from cellhold.cli.command import parser
from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.spec.limits import Limits
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import ContainerRequest
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.settings.settings import Trust

if TYPE_CHECKING:
    from cellhold.spec.spec import Spec

SHOW = "cat /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/cpu.weight 2>/dev/null; exit 0"


@pytest.mark.requires("root", "cgroups", "cgroup-cpu", "overlayfs")
def test_a_container_sees_its_weight() -> None:
    spec = options.spec(parser().parse_args(["run", "--network", "none", "--cpu-shares", "512", "host", "sh", "-c", SHOW]))
    assert spec.limits == Limits(cpu_shares=512)
    assert run(spec).out.split() in (["512"], ["59"])


@pytest.mark.parametrize("wrong", ["0", "1", "262145", "half"])
def test_what_is_no_weight_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidSpec, match=f"cannot use cpu-shares={wrong}"):
        options.spec(parser().parse_args(["run", "--cpu-shares", wrong, "host", "true"]))


def test_a_cell_takes_less_than_others_and_no_more() -> None:
    def ask(shares: str, trust: Trust, policy: Policy) -> Spec:
        return authorize(ContainerRequest(words={"cpu-shares": shares}), trust, policy).spec

    assert ask("512", Trust.METADATA, Policy()).limits.cpu_shares == 512
    assert ask("2048", Trust.HOST, Policy()).limits.cpu_shares == 2048
    assert ask("2048", Trust.CELL, Policy(limits={"cpu-shares": "4096"})).limits.cpu_shares == 2048
    with pytest.raises(NotAllowed, match="cpu-shares=2048: above 1024 it takes processor time from everyone else"):
        ask("2048", Trust.CELL, Policy())
    with pytest.raises(NotAllowed, match="of the notebook's metadata"):
        ask("2048", Trust.METADATA, Policy(limits={"cpu-shares": "4096"}))
