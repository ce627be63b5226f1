"""`%limits` alone shows what is used of each limit; `%limits key=value ...` changes limits of the running container.

What cannot be changed while it runs (the disk, the wall time, everything that is no limit) is %container's, which makes a fresh one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, NotAllowed, NotSupported
from cellhold.spec import units
from cellhold_kernel.magics.table import bundle
from cellhold_kernel.settings.settings import KEYS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cellhold_kernel.engine.session import Session

_FIXED = frozenset({"disk", "time"})


def change(session: Session, texts: Mapping[str, str]) -> str:
    """Change limits now; gives a sentence. Raises NotSupported, NotAllowed or InvalidSpec, and nothing has changed then."""
    for key, text in texts.items():
        if KEYS[key].kind not in (Kind.LIMIT, Kind.CELL) or key in _FIXED:
            raise NotSupported(
                f"cannot change {key} of a running container: it is fixed when the container is made",
                hint=f"%container {key}={text} makes a fresh container, without the variables",
            )
    if session.current is None:
        raise CellholdError("cannot change limits: no container runs", hint="%container starts one")
    session.update(texts)
    return "limits changed: " + ", ".join(f"{key} {text}" for key, text in texts.items())


def mime_bundle(session: Session) -> dict[str, str]:
    """Use and limits, as a table."""
    return bundle(_rows(session))


def _rows(session: Session) -> Iterable[tuple[str, str]]:
    kernel, cell = session.current, session.cell_limits
    if kernel is None:
        yield "container", "none runs"
        return
    limits, used = kernel.spec.limits, kernel.box.usage()
    if used.memory_bytes is None:  # without root, and without a group of its own
        yield from ((name, "no limit (not measured)") for name in ("memory", "cpus", "processes"))
    else:
        yield "memory", _of(_size(used.memory_bytes), _size(limits.memory_bytes), f"peak {_size(used.memory_peak_bytes)}")
        times = f"{used.cpu_seconds or 0:.2f} s used, {used.throttled_seconds or 0:.2f} s held back"
        yield "cpus", _of(None, f"{limits.cpus:g}" if limits.cpus else None, times)
        yield (
            "processes",
            _of(
                None if used.pids is None else str(used.pids),
                str(limits.pids) if limits.pids else None,
                f"{used.pids_refused or 0} refused",
            ),
        )
    try:
        free, total = kernel.box.writable_layer()
        yield "disk", _of(_size(total - free) if limits.disk_bytes else None, _size(limits.disk_bytes), f"{_size(free)} left")
    except NotAllowed:  # without root nobody may look into it
        yield "disk", _size(limits.disk_bytes) or "no limit"
    yield "time", units.duration(limits.seconds) if limits.seconds else "no limit"
    yield "time of a cell", units.duration(cell.seconds) if cell.seconds else "no limit"
    yield "output of a cell", _size(cell.output_bytes) or "no limit"
    yield "a message of a cell", _size(cell.message_bytes) or "no limit"
    if cell.guard is not None:
        yield "memory guard", f"{cell.guard.action} at {100 * cell.guard.share:.0f} % of the memory limit"


def _of(used: str | None, limit: str | None, more: str) -> str:
    return f"{f'{used} of ' if used and limit else f'{used}, ' if used else ''}{limit or 'no limit'} ({more})"


def _size(count: int | None) -> str | None:
    return None if count is None else units.size(count)
