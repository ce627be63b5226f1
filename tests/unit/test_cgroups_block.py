"""Which block devices can be limited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold.cgroups import block
from cellhold.errors import InvalidSpec
from cellhold.spec.limits import IoLimit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("device", "reason"), [("/dev/null", "not a block device"), ("/", "not a block"), ("/dev/nope", "No such file")])
def test_what_is_no_block_device_is_refused(device: str, reason: str) -> None:
    with pytest.raises(InvalidSpec, match=f"cannot limit io on {device}: {reason}"):
        block.resolve([IoLimit(device=device, read_bps=1)])


def test_a_partition_is_refused_and_its_disk_named(tmp_path: Path) -> None:
    partition = tmp_path / "devices/sda/sda1"
    partition.mkdir(parents=True)
    (partition / "partition").write_text("1\n")
    (tmp_path / "8:1").symlink_to(partition)
    (tmp_path / "8:0").symlink_to(partition.parent)
    assert block.whole_disk("8:0", "/dev/sda", sys_block=tmp_path) == "8:0"
    with pytest.raises(InvalidSpec, match="/dev/sda1: it is a partition") as caught:
        block.whole_disk("8:1", "/dev/sda1", sys_block=tmp_path)
    assert caught.value.hint == "limit /dev/sda"


def test_a_node_without_a_device_behind_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="no block device 99:9"):
        block.whole_disk("99:9", "/dev/made-up", sys_block=tmp_path)


def test_a_rate_of_zero_is_refused_for_the_kernel_would_take_it_as_no_limit() -> None:
    with pytest.raises(InvalidSpec, match="write_bps=0 on /dev/vda: not above 0"):
        block.resolve([IoLimit(device="/dev/vda", write_bps=0)])


def test_two_limits_on_one_disk_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "device_number", lambda _device: "8:0")
    monkeypatch.setattr(block, "whole_disk", lambda number, _device: number)
    limits = block.resolve([IoLimit(device="/dev/sda", read_bps=1), IoLimit(device="/dev/disk/by-id/x", write_iops=2)])
    assert list(limits) == ["8:0"]
    assert (limits["8:0"].read_bps, limits["8:0"].write_iops) == (1, 2)
