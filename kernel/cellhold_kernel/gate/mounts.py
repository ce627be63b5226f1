"""What a notebook's container sees of the host, and where it may write.

Everything that it writes is bounded: in the writable layer by `disk`, in a tmpfs by
memory; or it is in a directory that the policy names.
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
    """Return how the notebook's folder is mounted (WAYS).

    None if it is not set and the policy does not forbid it. trust: of the setting's
    source. Raises NotAllowed.
    """
    if way is None:
        return "none" if policy.mount == "none" else None
    if policy.mount is not None and WAYS.index(way) > WAYS.index(policy.mount):
        raise policy.above(f"mount={way}", "mount", policy.mount)
    if way in ("new", "rw") and policy.mount is None and trust < Trust.HOST and (ceiling := _disk(policy)):
        raise _unbounded(f"mount={way}", ceiling, policy, hint=f'mount = "{way}" in {policy.path}, [ceilings], allows it')
    return way


def check_keep(policy: Policy, trust: Trust) -> None:
    """Raise NotAllowed where %keep is.

    It changes what was in the folder before, as mount=rw does.
    """
    if policy.mount is not None and policy.mount != "rw":
        raise policy.above("%keep", "mount", policy.mount)
    if policy.mount is None and trust < Trust.HOST and (ceiling := _disk(policy)):
        raise _unbounded("%keep", ceiling, policy, hint=f'mount = "rw" in {policy.path}, [ceilings], allows it')


def check_volumes(mounts: Sequence[Mount], policy: Policy, trust: Trust, *, said: str = "") -> None:
    """Raise NotAllowed for a volume or directory that the notebook must not have.

    trust: of the source of the request; said: the text as it was written, for the hint.
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
    """Raise NotAllowed for a tmpfs that nothing would bound.

    Its pages are charged to the container's memory. With a memory limit, a tmpfs
    without a size has a part of that; without one, nothing bounds it.
    """
    for mount in (entry for entry in mounts if entry.kind == "tmpfs"):
        check_memory(f"tmpfs={mount.target}", mount.size_bytes, limits, policy, trust)


def check_memory(asked: str, size: int | None, limits: Limits, policy: Policy, trust: Trust) -> None:
    """Raise NotAllowed for a tmpfs that the memory limit does not bound.

    size: in bytes, None for a tmpfs without a size.
    """
    most = limits.memory_bytes
    if size is not None and most is not None and size > most and (trust < Trust.HOST or "memory" in policy.limits):
        raise NotAllowed(
            f"cannot use {asked} of {units.size(size)}: it takes memory, and the container has {units.size(most)}",
            hint="a smaller size, or more memory",
        )
    if size is None and most is None and trust < Trust.HOST:
        raise NotAllowed(f"cannot use {asked}: it takes memory, and nothing bounds it", hint="set a size, or a memory limit: memory=512m")


def check_storage(storage: str, limits: Limits, policy: Policy, trust: Trust) -> None:
    """Raise NotAllowed for a writable layer in memory that nothing would bound.

    `disk` bounds it as well as memory.
    """
    if storage == "tmpfs" and limits.disk_bytes is None:
        check_memory("storage=tmpfs", None, limits, policy, trust)


def not_the_notebooks(asked: str, flag: str, ceiling: str, policy: Policy) -> NotAllowed:
    """Return the error for a directory of the host."""
    return NotAllowed(
        f"cannot use {escape(asked, most=_SHOWN)}: a notebook cannot take a directory of the host by itself",
        hint=f"make a kernel that has it: cellhold kernel install --name mine {escape(flag, most=_SHOWN)};"
        f" or name it in {ceiling} of {policy.path}",
    )


def _disk(policy: Policy) -> str | None:
    """Return the ceiling of what may be written to disk, None for no ceiling."""
    text = policy.limits.get("disk")
    return None if text == UNLIMITED else text


def _unbounded(asked: str, ceiling: str, policy: Policy, *, hint: str) -> NotAllowed:
    return NotAllowed(
        f"cannot use {asked}: what is written there is not counted against the ceiling disk = {ceiling} of {policy.path}",
        hint=hint,
    )
