"""How much a container may use: frozen values, checked when they are made.

Units are in the names; None means no limit.

Nothing here asks the host: whether it can enforce a limit is checked by the code that
enforces it (and refuses if it cannot).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

BYTES_MAXIMUM = 1 << 60
MEMORY_MINIMUM = 6 << 20  # docker's: below it a container cannot start
BITS_MINIMUM = 8000  # a full-sized packet takes 1.5 s
SHARES_MINIMUM, SHARES_DEFAULT, SHARES_MAXIMUM = 2, 1024, 262144  # docker's, of cgroup v1
CPUS_MINIMUM = 0.01  # the kernel's smallest quota, 1 ms of 100 ms
PIDS_DEFAULT = 2048  # podman's: a fork bomb ends there
_CPUSET = re.compile(r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class IoLimit:
    """Block I/O per second on one device node ("/dev/vda").

    Bytes or operations, read or written; None = no limit.
    """

    device: str
    read_bps: int | None = None
    write_bps: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a container may use.

    memory_bytes: memory with page cache. memory_swap_bytes: memory plus swap (Docker's
    meaning), None = no swap beyond the memory limit, -1 = as much as the host has.
    reservation_bytes: memory that is reclaimed last when the host runs out. cpus:
    processors' worth of time per second. cpu_shares: weight of its processor time
    against others', whose default is 1024. cpuset: the processors it may run on
    ("0-1,4"). pids: processes and threads. disk_bytes: what it may write to its own
    layer. seconds: wall time of one run. ingress_bits, egress_bits: per second, over
    its network. rlimits: name without RLIMIT_ ("nofile") -> (soft, hard), lowered to
    the host's limits.
    """

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None
    reservation_bytes: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    cpuset: str | None = None
    pids: int | None = PIDS_DEFAULT
    disk_bytes: int | None = None
    seconds: float | None = None
    ingress_bits: int | None = None
    egress_bits: int | None = None
    io: tuple[IoLimit, ...] = ()
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Raise InvalidSpec for values that no host could enforce."""
        self._check_memory()
        self._check_processors()
        self._check_others()

    def _check_memory(self) -> None:
        if self.memory_bytes is not None and self.memory_bytes < MEMORY_MINIMUM:
            raise InvalidSpec(f"cannot use memory={self.memory_bytes}: the smallest limit is 6m (6 MiB)", hint="memory=64m, for example")
        if (most := max(self.memory_bytes or 0, self.memory_swap_bytes or 0)) > BYTES_MAXIMUM:  # the kernel's parsers wrap round
            raise InvalidSpec(f"cannot use memory={most}: more than any machine has", hint="leave it out for no limit")
        if self.memory_swap_bytes is not None and self.memory_swap_bytes != -1:
            if self.memory_bytes is None:
                raise InvalidSpec("cannot use memory-swap without memory: it is the sum of memory and swap", hint="add memory=512m")
            if self.memory_swap_bytes < self.memory_bytes:
                raise InvalidSpec(
                    f"cannot use memory-swap={self.memory_swap_bytes}: memory and swap together are at least memory={self.memory_bytes}"
                )

        if self.reservation_bytes is not None and not 0 <= self.reservation_bytes <= (self.memory_bytes or BYTES_MAXIMUM):
            raise InvalidSpec(
                f"cannot use memory-reservation={self.reservation_bytes}: it is above the memory limit",
                hint="reserve no more than --memory",
            )

    def _check_processors(self) -> None:
        if self.cpus is not None and not CPUS_MINIMUM <= self.cpus < math.inf:
            raise InvalidSpec(f"cannot use cpus={self.cpus:g}: the smallest share is 0.01 of a processor", hint="cpus=0.5, for example")
        if self.cpu_shares is not None and not SHARES_MINIMUM <= self.cpu_shares <= SHARES_MAXIMUM:
            raise InvalidSpec(
                f"cannot use cpu-shares={self.cpu_shares}: a weight is from {SHARES_MINIMUM} to {SHARES_MAXIMUM}",
                hint=f"{SHARES_DEFAULT} is what others have",
            )
        if self.cpuset is not None and not _CPUSET.fullmatch(self.cpuset):
            raise InvalidSpec(f"cannot use cpuset={self.cpuset}: not a list of processors", hint="write 0, 0-3 or 0,2")

    def _check_others(self) -> None:
        if self.pids is not None and self.pids < 1:
            raise InvalidSpec(f"cannot use pids={self.pids}: a container has at least one process", hint="pids=64, for example")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise InvalidSpec(f"cannot use time={self.seconds:g}: not a time above 0", hint="time=30s, for example")
        if self.disk_bytes is not None and self.disk_bytes < 1 << 20:
            raise InvalidSpec(f"cannot use disk={self.disk_bytes}: the smallest writable layer is 1m (1 MiB)", hint="disk=1g, for example")
        for key, bits in (("net-ingress", self.ingress_bits), ("net-egress", self.egress_bits)):
            if bits is not None and not BITS_MINIMUM <= bits <= BYTES_MAXIMUM:
                raise InvalidSpec(f"cannot use {key}={bits}: the least is 8kbit (8000 bits per second)", hint=f"{key}=10mbit, for example")
        for name, (soft, hard) in self.rlimits.items():
            if soft > hard >= 0:
                raise InvalidSpec(f"cannot use ulimit={name}={soft}:{hard}: the soft limit is above the hard one")
