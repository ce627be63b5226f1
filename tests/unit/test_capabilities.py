"""Names and numbers of capabilities."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellhold.errors import InvalidSpec
from cellhold.linux import capabilities


def test_the_numbers_are_the_kernels() -> None:
    assert len(capabilities.NAMES) == 41
    assert capabilities.NUMBERS["CAP_CHOWN"] == 0
    assert capabilities.NUMBERS["CAP_SYS_ADMIN"] == 21
    assert capabilities.NUMBERS["CAP_SETFCAP"] == 31
    assert capabilities.NUMBERS["CAP_CHECKPOINT_RESTORE"] == 40


def test_this_kernel_has_none_that_the_table_lacks() -> None:
    assert int(Path("/proc/sys/kernel/cap_last_cap").read_text()) <= 40


def test_the_default_is_dockers_without_raw_sockets() -> None:
    dockers = 0xA80425FB
    assert capabilities.mask(capabilities.DEFAULT) == dockers & ~(1 << capabilities.NUMBERS["CAP_NET_RAW"])


def test_a_mask_has_one_bit_a_name() -> None:
    assert capabilities.mask(()) == 0
    assert capabilities.mask(["CAP_CHOWN", "CAP_KILL", "CAP_CHOWN"]) == 0b100001
    assert capabilities.mask(capabilities.NAMES) == (1 << 41) - 1


@pytest.mark.parametrize(
    ("wrong", "meant"), [("CAP_SYS_ADMN", "CAP_SYS_ADMIN"), ("sys_admin", "CAP_SYS_ADMIN"), ("NET_RAW", "CAP_NET_RAW")]
)
def test_a_wrong_name_is_refused_with_the_one_that_was_meant(wrong: str, meant: str) -> None:
    with pytest.raises(InvalidSpec, match="Linux has no such capability") as caught:
        capabilities.mask([wrong])
    assert caught.value.hint == f"did you mean {meant}?"
