"""plan(): the filter as a list of frozen rules.

It is pure, so that the tests, the cache's key and the compiler all read the same list.
"""

from __future__ import annotations

from errno import E2BIG, ENOPROTOOPT, ENOSYS, EPERM
from typing import NamedTuple

from cellhold.seccomp.profile import (
    ABSENT,
    ALLOWED,
    BY_MACHINE,
    LARGE_XATTRS,
    NEW_NAMESPACES,
    PERSONALITIES,
    REFUSED,
    SOCKET_FILTERS,
    WITH_CAPABILITY,
    WITH_SET_IDS,
    Argument,
)

ALLOW = 0


class Rule(NamedTuple):
    """What happens to calls of these names if all conditions hold.

    answer: 0 (ALLOW) lets the kernel perform it, else the errno to fail with.
    """

    names: tuple[str, ...]
    answer: int
    conditions: tuple[Argument, ...] = ()


class Plan(NamedTuple):
    """Two lists of rules.

    `refuse` is checked first and may only refuse; `allow` decides the rest, and what it
    does not name gets EPERM. newest: every name that the profile knows, with or without
    a capability; a call newer than all of them gets ENOSYS, so that libc falls back to
    an older one.
    """

    machine: str
    refuse: tuple[Rule, ...]
    allow: tuple[Rule, ...]
    known: tuple[str, ...]


def plan(capabilities: frozenset[str], machine: str, *, set_ids: bool = True) -> Plan:
    """Return the rules for a container.

    capabilities: such as "CAP_CHOWN"; machine: as of uname -m. set_ids: whether it may
    make set-user-id and set-group-id files. If not, openat2 does not exist for it: its
    mode lies in memory.
    """
    always = " ".join((*ALLOWED.values(), BY_MACHINE.get(machine, "")))
    given = " ".join(WITH_CAPABILITY[name] for name in sorted(capabilities & WITH_CAPABILITY.keys()))
    allow = [Rule(_names(f"{always} {given}"), ALLOW)]
    allow += [Rule(("personality",), ALLOW, (Argument(0, value),)) for value in PERSONALITIES]
    if "CAP_SYS_ADMIN" not in capabilities:
        allow.append(Rule(("clone",), ALLOW, (Argument(0, 0, NEW_NAMESPACES),)))
        # Its flags lie in memory, where no filter can see them; on ENOSYS libc uses
        # clone.
        allow.append(Rule(("clone3",), ENOSYS))
    refuse = [Rule(tuple(ABSENT), ENOSYS), *(Rule((name,), EPERM, (condition,)) for name, condition in REFUSED)]
    refuse += [Rule((name,), E2BIG, (condition,)) for name, condition in LARGE_XATTRS]
    # As a kernel without them: libpcap looks at each packet itself then.
    refuse += [Rule(("setsockopt",), ENOPROTOOPT, conditions) for conditions in SOCKET_FILTERS]
    if not set_ids:
        refuse += [Rule(("openat2",), ENOSYS), *(Rule((name,), EPERM, conditions) for name, conditions in WITH_SET_IDS)]
    return Plan(machine, tuple(refuse), tuple(allow), _names(" ".join((always, *WITH_CAPABILITY.values()))))


def _names(words: str) -> tuple[str, ...]:
    return tuple(sorted(set(words.split())))
