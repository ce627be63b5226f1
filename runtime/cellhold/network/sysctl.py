"""Values of sysctl(8) of this thread's network namespace."""

from __future__ import annotations

import os
from contextlib import suppress

ROOT = "/proc/sys/net"
_LONGEST = 64


def read(path: str) -> str | None:
    """Return a value; None for one that the kernel does not have.

    path: below /proc/sys/net.
    """
    with suppress(FileNotFoundError), open(f"{ROOT}/{path}", encoding="ascii") as file:
        return file.read().strip()
    return None


def write(path: str, value: str) -> None:
    """Write a value, unless it is that already. Raises OSError."""
    fd = os.open(f"{ROOT}/{path}", os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.read(fd, _LONGEST).strip() != value.encode():
            os.pwrite(fd, value.encode(), 0)
    finally:
        os.close(fd)


def has_ipv6() -> bool:
    """Whether this host speaks IPv6."""
    return all(read(f"ipv6/conf/{which}/disable_ipv6") == "0" for which in ("all", "default"))
