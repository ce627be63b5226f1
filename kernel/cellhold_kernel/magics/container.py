"""What `%container` shows: the current container, or why there is none.

In the latter case also what this host lacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold.spec import units
from cellhold.spec.fields import BY_KEY
from cellhold.spec.networks import NONE
from cellhold_kernel.magics.table import bundle
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cellhold.spec.spec import Mount
    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.engine.session import Session


def summary(session: Session) -> str:
    """Return the line that is printed when the container was replaced."""
    kernel = session.current
    if kernel is None:
        return "no container runs"
    texts = {"image": "host"} | session.settings.texts()
    settings = ", ".join(f"{key} {escape(text)}" for key, text in texts.items())
    after = f"ready after {kernel.ready_after * 1000:.0f} ms" if kernel.ready_after is not None else "starting"
    return f"container {kernel.sandbox.id}: {settings} ({after})"


def mime_bundle(session: Session) -> dict[str, str]:
    """Return the current container as a table."""
    return bundle(table(session))


def table(session: Session) -> Iterable[tuple[str, str]]:
    """Yield the rows on the current container: name and value."""
    kernel = session.current
    if kernel is None:
        yield "container", "none"
        if session.failure is not None:
            yield "because", escape(str(session.failure))
        yield from missing()
        return
    spec, limits = kernel.spec, kernel.spec.limits
    used = _usage(kernel)
    yield "container", kernel.sandbox.id
    yield "image", escape(spec.image)
    if spec.hostname:
        yield "hostname", escape(spec.hostname)
    for key, field in BY_KEY.items():
        text = field.text(limits)
        if text or field.is_listed:
            yield key, _format_use(used.get(key), text)
    yield "network", spec.network if spec.network == NONE else f"{spec.network}, egress {escape(str(spec.egress))}; %network shows more"
    yield "storage", spec.storage
    for mount in spec.mounts:
        yield mount.target, escape(format_mount(mount))
    if "cpu" in used:
        yield "cpu time used", used["cpu"]
    if kernel.ready_after is not None:
        yield "ready after", f"{kernel.ready_after * 1000:.0f} ms"


def format_mount(mount: Mount) -> str:
    """Return a mount in words."""
    if mount.kind == "tmpfs":
        return "an empty tmpfs"
    way = "changes stay in the container" if mount.kind == "overlay" else "read-only" if mount.read_only else "read and write"
    return f"{mount.source}, {way}"


def missing() -> Iterable[tuple[str, str]]:
    """Yield what this host lacks for any container, as `cellhold doctor` prints it.

    So a notebook on a hosting service explains why nothing runs.
    """
    from cellhold import doctor  # noqa: PLC0415  # not needed where containers run

    for finding in doctor.examine():
        if finding.needed and not finding.ok:
            yield finding.name, escape(finding.advice())


def _format_use(used: str | None, limit: str | None) -> str:
    return f"{used + ' of ' if used and limit else used + ', ' if used else ''}{limit or 'no limit'}"


def _usage(kernel: CellKernel) -> dict[str, str]:
    try:
        usage = kernel.sandbox.usage()
    except (CellholdError, OSError):  # no cgroup on this host, or it is being removed
        return {}
    texts = {
        "memory": units.size(usage.memory_bytes) if usage.memory_bytes is not None else None,
        "pids": str(usage.pids) if usage.pids is not None else None,
        "cpu": f"{usage.cpu_seconds:.2f} s" if usage.cpu_seconds is not None else None,
    }
    return {name: text for name, text in texts.items() if text is not None}
