"""Resource limits (setrlimit(2)) of a container's program, within the host's."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

from cellhold.errors import InvalidSpec
from cellhold.init import shares
from cellhold.store import subids

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNLIMITED = 1 << 63


def effective(wanted: Mapping[str, tuple[int, int]]) -> tuple[tuple[int, int, int], ...]:
    """Return (resource, soft, hard) of setrlimit(2): the requested ones, clamped.

    Without root, a share of the others, which are the user's, too.
    """
    wanted_ones = clamp(wanted)
    taken = {number for number, _soft, _hard in wanted_ones}
    own = (one for one in shares.rlimits() if one[0] not in taken) if subids.is_rootless() else ()
    return (*wanted_ones, *own)


def clamp(rlimits: Mapping[str, tuple[int, int]]) -> tuple[tuple[int, int, int], ...]:
    """Return (resource, soft, hard) of setrlimit(2), at most the host's hard limits.

    Raising those needs CAP_SYS_RESOURCE. Raises InvalidSpec for a name that
    setrlimit(2) does not know.
    """
    clamped = []
    for name, wanted in rlimits.items():
        number: Any = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise InvalidSpec(f"cannot use ulimit={name}: not a resource of setrlimit(2)", hint="nofile, nproc, core, stack ...")
        most = resource.getrlimit(number)[1]
        soft, hard = (cut(value, most) for value in wanted)
        clamped.append((number, min(soft, hard) if hard >= 0 else soft, hard))
    return tuple(clamped)


def beyond_host(rlimits: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Return one sentence per resource limit that clamp() lowers.

    For the user who asked for more.
    """
    granted = {number: hard for number, _soft, hard in clamp(rlimits)}
    sentences = []
    for name, (_soft, wanted) in rlimits.items():
        hard = granted[getattr(resource, f"RLIMIT_{name.upper()}")]
        if hard != resource.RLIM_INFINITY and (wanted > hard or wanted < 0):
            requested = "unlimited" if wanted < 0 else str(wanted)
            sentences.append(f"ulimit {name}={requested} is lowered to {hard}, our hard limit on this host (getrlimit(2))")
    return tuple(sentences)


def cut(value: int, most: int) -> int:
    """Return `value`, at most `most`.

    -1 (RLIM_INFINITY) and values that a signed number cannot hold mean no limit.
    """
    if not 0 <= value < _UNLIMITED:
        return most
    return value if most == resource.RLIM_INFINITY else min(value, most)
