"""Block devices of I/O limits: from a device node's path to "major:minor".

Also why some devices are refused.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cellhold.spec.limits import IoLimit

SYS_BLOCK = Path("/sys/dev/block")
_WHICH = "name a disk, such as /dev/sda; `lsblk` lists them"
RATES = ("read_bps", "write_bps", "read_iops", "write_iops")


def resolve(limits: Iterable[IoLimit]) -> dict[str, IoLimit]:
    """Return each device's number ("254:0") with its limits, merged per device.

    Raises InvalidSpec for anything that is not a disk.
    """
    found: dict[str, IoLimit] = {}
    for limit in limits:
        rates = {rate: getattr(limit, rate) for rate in RATES if getattr(limit, rate) is not None}
        for rate, value in rates.items():
            if value < 1:
                raise InvalidSpec(f"cannot use {rate}={value} on {limit.device}: not above 0", hint="leave it out for no limit")
        number = whole_disk(device_number(limit.device), limit.device)
        found[number] = replace(found.get(number, limit), **rates)
    return found


def device_number(device: str) -> str:
    """Return the "major:minor" of a block device's node.

    Raises InvalidSpec for anything else.
    """
    try:
        node = Path(device).stat()
    except OSError as error:
        raise InvalidSpec(f"cannot limit io on {device}: {error.strerror}", hint=_WHICH) from error
    if not stat.S_ISBLK(node.st_mode):
        raise InvalidSpec(f"cannot limit io on {device}: not a block device", hint=_WHICH)
    return f"{os.major(node.st_rdev)}:{os.minor(node.st_rdev)}"


def whole_disk(number: str, device: str, *, sys_block: Path = SYS_BLOCK) -> str:
    """Return `number` if it is a whole disk.

    Raises InvalidSpec for a partition (both versions throttle whole disks only: ENODEV)
    and for a node without a disk. A partition is not mapped to its disk: a limit on
    /dev/sda would apply to every other partition as well, which nobody asked for.
    """
    entry = sys_block / number
    if not entry.exists():
        raise InvalidSpec(f"cannot limit io on {device}: this host has no block device {number}")
    if (entry / "partition").exists():
        disk = entry.resolve().parent.name
        raise InvalidSpec(f"cannot limit io on {device}: it is a partition; the kernel limits whole disks only", hint=f"limit /dev/{disk}")
    return number
