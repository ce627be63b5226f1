"""The capabilities of capabilities(7), and the set that a container gets.

A table of names and numbers: no system call is made here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# In the order of their numbers, linux/capability.h: CAP_CHOWN is 0,
# CAP_CHECKPOINT_RESTORE is 40.
NAMES = tuple(
    "CAP_" + word
    for word in (  # a table reads best as words
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST "
        "NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
        "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM "
        "BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

# Docker's fourteen without NET_RAW: raw sockets forge addresses of neighbours (ARP,
# IP), and ping works without them (net.ipv4.ping_group_range). MKNOD and AUDIT_WRITE
# stay although they reach nothing from inside a user namespace (mknod(2) refuses
# devices there, the audit socket answers EPERM): package managers and sshd look for
# them, and being asked costs nothing.
DEFAULT = frozenset(
    "CAP_" + word
    for word in (  # a table reads best as words
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
)


def mask(names: Iterable[str]) -> int:
    """Return the bits of `names` in the kernel's order (bit 0 is CAP_CHOWN).

    Raises InvalidSpec for an unknown name.
    """
    bits = 0
    for name in names:
        if name not in NUMBERS:
            raise _unknown(name)
        bits |= 1 << NUMBERS[name]
    return bits


def _unknown(name: str) -> Exception:
    """Return the error for an unknown name.

    The imports are here because the program that becomes the container loads this
    module.
    """
    from difflib import get_close_matches  # noqa: PLC0415

    from cellhold.errors import InvalidSpec  # noqa: PLC0415

    wanted = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
    close = get_close_matches(wanted, NAMES, n=1)
    hint = f"did you mean {close[0]}?" if close else "capabilities(7) lists them: CAP_CHOWN, CAP_KILL ..."
    return InvalidSpec(f"cannot grant capability {name[:40]!r}: Linux has no such capability", hint=hint)
