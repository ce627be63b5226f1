"""What a notebook's container sees of the host, and where it may write, within the policy.

What is written there counts: to the writable layer, whose limit is `disk`; to memory, for a tmpfs;
or it is a place that the policy names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import NotAllowed
from cellhold.spec import units
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.settings import UNLIMITED, Trust
from cellhold_kernel.settings.workspace import WAYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold.spec.limits import Limits
    from cellhold.spec.spec import Mount
    from cellhold_kernel.settings.policy import Policy

_SHOWN = 200


def folder(way: str | None, policy: Policy, trust: Trust) -> str | None:
    """The way of showing the notebook's folder; None where nobody said anything and nothing is capped.

    trust: of whoever said it. Raises NotAllowed.
    """
    if way is None:
        return "none" if policy.mount == "none" else None
    if policy.mount is not None and WAYS.index(way) > WAYS.index(policy.mount):
        raise policy.above(f"mount={way}", "mount", policy.mount)
    if way == "rw" and policy.mount is None and trust < Trust.HOST and (ceiling := _disk(policy)):
        raise _unbounded("mount=rw", ceiling, policy, hint=f'mount = "rw" in {policy.path}, [ceilings], allows it')
    return way


def check_volumes(mounts: Sequence[Mount], policy: Policy, trust: Trust, *, said: str = "") -> None:
    """Raise NotAllowed for a volume or directory that is not to be had.

    trust: of whoever asks; said: what he wrote, for the hint.
    """
    for mount in mounts:
        way = "ro" if mount.read_only else "O" if mount.kind == "overlay" else "rw"
        asked = f"volume={escape(f'{mount.source}:{mount.target}:{way}', most=_SHOWN)}"
        is_named = policy.names_volume(mount)
        if policy.volumes is not None and not is_named:
            raise policy.above(asked, "volumes", policy.volumes)
        if mount.kind != "volume" and trust < Trust.HOST and not is_named:
            text = said or f"{mount.source}:{mount.target}"
            raise not_the_notebooks(f"volume={text}", f"--volume {text}", "volumes", policy)
        if way == "rw" and trust < Trust.HOST and not is_named and (ceiling := _disk(policy)):
            hint = f"{escape(mount.source or '', most=_SHOWN) or 'NAME'}:{mount.target}:ro, or a name in volumes of {policy.path}"
            raise _unbounded(asked, ceiling, policy, hint=hint)


def check_tmpfs(mounts: Sequence[Mount], limits: Limits, policy: Policy, trust: Trust) -> None:
    """Raise NotAllowed for a tmpfs that nothing would bound; where there is a memory limit, one without a size has a part of it.

    Its pages are memory and count as that, but for whom there is no memory limit.
    """
    for mount in (entry for entry in mounts if entry.kind == "tmpfs"):
        check_memory(f"tmpfs={mount.target}", mount.size_bytes, limits, policy, trust)


def check_memory(asked: str, size: int | None, limits: Limits, policy: Policy, trust: Trust) -> None:
    """Raise NotAllowed for a tmpfs of that size (None: as large as may be) that memory does not bound."""
    most = limits.memory_bytes
    if size is not None and most is not None and size > most and (trust < Trust.HOST or "memory" in policy.limits):
        raise NotAllowed(
            f"cannot use {asked} of {units.size(size)}: it is memory, of which the container has {units.size(most)}",
            hint="a smaller size, or more memory",
        )
    if size is None and most is None and trust < Trust.HOST:
        raise NotAllowed(f"cannot use {asked}: it is memory, and nothing bounds it", hint="say a size, or a memory limit: memory=512m")


def check_storage(storage: str, limits: Limits, policy: Policy, trust: Trust) -> None:
    """The same of a writable layer in memory, which `disk` bounds as well."""
    if storage == "tmpfs" and limits.disk_bytes is None:
        check_memory("storage=tmpfs", None, limits, policy, trust)


def not_the_notebooks(asked: str, flag: str, ceiling: str, policy: Policy) -> NotAllowed:
    """The error for a directory of the host."""
    return NotAllowed(
        f"cannot use {escape(asked, most=_SHOWN)}: a notebook cannot take a directory of the host by itself",
        hint=f"make a kernel that has it: cellhold kernel install --name mine {escape(flag, most=_SHOWN)};"
        f" or name it in {ceiling} of {policy.path}",
    )


def _disk(policy: Policy) -> str | None:
    """The ceiling of what may be written to disk."""
    text = policy.limits.get("disk")
    return None if text == UNLIMITED else text


def _unbounded(asked: str, ceiling: str, policy: Policy, *, hint: str) -> NotAllowed:
    return NotAllowed(
        f"cannot use {asked}: what is written there is not held below the ceiling disk = {ceiling} of {policy.path}",
        hint=hint,
    )
