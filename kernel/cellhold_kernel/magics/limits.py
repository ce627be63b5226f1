"""`%limits` shows the use of each limit; `%limits key=value ...` changes limits.

It changes the running container. What cannot be changed while it runs (the disk, the
wall time, everything that is not a limit) is left to %container, which makes a fresh
one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cellhold.errors import CellholdError, NotAllowed, NotSupported
from cellhold.spec import units
from cellhold.spec.fields import BY_KEY
from cellhold_kernel.engine.base import Topic
from cellhold_kernel.magics.table import bundle
from cellhold_kernel.settings.settings import KEYS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.engine.session import Session


class Use(NamedTuple):
    """The use of a limit: as one amount if it has one, and more about it."""

    used: str | None
    more: str


def change(session: Session, texts: Mapping[str, str]) -> str:
    """Change limits now; return a message for the user.

    Raises NotSupported, NotAllowed or InvalidSpec, without a change.
    """
    for key, text in texts.items():
        if KEYS[key].kind not in (Kind.LIMIT, Kind.CELL) or (key in BY_KEY and BY_KEY[key].is_fixed(is_alive=True)):
            raise NotSupported(
                f"cannot change {key} of a running container: it is fixed when the container is made",
                hint=f"%container {key}={text} makes a fresh container, without the variables",
            )
    if session.current is None:
        raise CellholdError("cannot change limits: no container runs", hint="%container makes one")
    session.update(texts)
    return "limits changed: " + ", ".join(f"{key} {text}" for key, text in texts.items())


def mime_bundle(session: Session) -> dict[str, str]:
    """Return the limits and their use as a table."""
    return bundle(_rows(session))


def _rows(session: Session) -> Iterable[tuple[str, str]]:
    kernel, cell = session.current, session.cell_limits
    if kernel is None:
        yield "container", "none"
        return
    limits, uses = kernel.spec.limits, _uses(kernel)
    for key, field in BY_KEY.items():
        text = field.text(limits)
        if text or field.is_listed:
            yield field.label or key, _format_limit(text, uses.get(key))
    yield "time of a cell", units.duration(cell.seconds) if cell.seconds else "no limit"
    yield "output of a cell", _size(cell.output_bytes) or "no limit"
    yield "a message of a cell", _size(cell.message_bytes) or "no limit"
    if cell.guard is not None:
        yield "memory guard", f"{cell.guard.action} at {100 * cell.guard.share:.0f} % of the memory limit"


def _uses(kernel: CellKernel) -> dict[str, Use]:
    """Return key -> use, of the limits whose use can be measured."""
    limits, used = kernel.spec.limits, kernel.sandbox.usage()
    if used.memory_bytes is None:  # without root and without a cgroup of its own
        uses = dict.fromkeys(("memory", "cpus", "pids"), Use(None, "not measured"))
    else:
        uses = {
            "memory": Use(_size(used.memory_bytes), f"peak {_size(used.memory_peak_bytes)}"),
            "cpus": Use(None, f"{used.cpu_seconds or 0:.2f} s used, {used.throttled_seconds or 0:.2f} s throttled"),
            "pids": Use(None if used.pids is None else str(used.pids), f"{used.pids_refused or 0} refused"),
        }
    with suppress(NotAllowed, NotSupported):  # not possible without root, nor with every engine
        disk = kernel.sandbox.inspect(Topic.DISK)
        free, total = disk["free"], disk["total"]
        uses["disk"] = Use(_size(total - free) if limits.disk_bytes else None, f"{_size(free)} left")
    return uses


def _format_limit(limit: str | None, use: Use | None) -> str:
    if use is None:
        return limit or "no limit"
    return f"{f'{use.used} of ' if use.used and limit else f'{use.used}, ' if use.used else ''}{limit or 'no limit'} ({use.more})"


def _size(count: int | None) -> str | None:
    return None if count is None else units.size(count)
