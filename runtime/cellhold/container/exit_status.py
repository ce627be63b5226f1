"""Why a container ended: decided here alone, by pure functions.

Called by container.py (which watched it), recovery.py (which records an end that nobody
recorded) and detached.py (which reads the record). They find out what happened; this
file decides what it means.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cellhold.spec.outcome import Outcome, Why

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.spec.usage import Usage
    from cellhold.store.record import Record

LOST_STATUS = 128 + signal.SIGKILL  # nobody saw it end: it was killed with the process that watched it
UNRECORDED = Outcome(status=0, signal=None, why=Why.EXITED, seconds=0.0)  # docker's 0, where the event is lost, too
NOT_STARTED_STATUS = 125  # docker's, where the container itself could not be started


class End(NamedTuple):
    """The end of a container as PID 1's parent saw it.

    status: the program's. signal: the number of the signal that ended it, or 0.
    is_late: whether its time was up.
    """

    status: int
    signal: int
    is_late: bool = False


def why(end: End | None, *, ordered: bool, oom_kills: int) -> Why:
    """Return the reason of an end.

    end: None if the process that watched the container is gone. ordered: whether
    somebody has stopped or killed it. oom_kills: processes of this run that the kernel
    killed at the memory limit.
    """
    if end is None:
        return Why.LOST
    if end.is_late:
        return Why.TIME
    if ordered:
        return Why.KILLED
    if oom_kills and end.signal == signal.SIGKILL:
        return Why.MEMORY
    return Why.EXITED


def outcome(  # noqa: PLR0913  # all that is known of an end
    end: End | None,
    *,
    ordered: bool,
    seconds: float,
    used: Usage,
    limits: Mapping[str, float | None],
    oom_victims: tuple[str, ...] = (),
) -> Outcome:
    """Return how a run ended.

    end, ordered: as of why(). seconds: since its start. used: by this run alone
    (of_run()). limits: memory_bytes and seconds, as a record stores them.
    """
    reason = why(end, ordered=ordered, oom_kills=used.oom_kills)
    status, number, _late = end or End(LOST_STATUS, signal.SIGKILL)
    return Outcome(
        status=status,
        signal=number or None,
        why=reason,
        seconds=seconds,
        oom_kills=used.oom_kills,
        oom_victims=oom_victims,
        memory_limit_bytes=_memory(limits),
        memory_peak_bytes=used.memory_peak_bytes,
        cpu_seconds=used.cpu_seconds or 0.0,
        time_limit_seconds=limits.get("seconds"),
    )


def of_run(used: Usage, before: Usage) -> Usage:
    """Return what one run has used.

    before: what earlier runs had used, since the group goes on counting.
    """
    cpu_seconds = (used.cpu_seconds or 0.0) - (before.cpu_seconds or 0.0)
    return replace(used, oom_kills=used.oom_kills - before.oom_kills, cpu_seconds=cpu_seconds)


def not_started(status: int, *, seconds: float) -> Outcome:
    """Return the outcome of a start that failed.

    status: 125, or that of a command that cannot be run (126, 127).
    """
    return Outcome(status=status, signal=None, why=Why.EXITED, seconds=seconds)


def write(record: Record, ended: Outcome) -> None:
    """Set in a record how the container ended; the caller sets when."""
    record.status, record.signal, record.why = ended.status, ended.signal, ended.why
    record.oom_kills, record.memory_peak_bytes, record.cpu_seconds = ended.oom_kills, ended.memory_peak_bytes, ended.cpu_seconds


def read(record: Record) -> Outcome | None:
    """Return how the last run ended, from the record; None before the first end.

    The names of the processes that were killed are not recorded.
    """
    if record.status is None or record.why is None:
        return None
    return Outcome(
        status=record.status,
        signal=record.signal,
        why=Why(record.why),
        seconds=(record.finished or 0.0) - (record.started or 0.0),
        oom_kills=record.oom_kills,
        memory_limit_bytes=_memory(record.limits),
        memory_peak_bytes=record.memory_peak_bytes,
        cpu_seconds=record.cpu_seconds,
        time_limit_seconds=record.limits.get("seconds"),
    )


def attributes(ended: Outcome) -> dict[str, object]:
    """Return the attributes of the event that reports the end.

    Docker's exitCode, and what parse_attributes() reads.
    """
    return {"exitCode": ended.status, "why": ended.why, **({} if ended.signal is None else {"signal": ended.signal})}


def parse_attributes(attributes: Mapping[str, str], limits: Mapping[str, float | None]) -> Outcome:
    """Return the outcome that an event reports, if the record is gone.

    Raises KeyError, ValueError.
    """
    number = attributes.get("signal")
    return Outcome(
        status=int(attributes["exitCode"]),
        signal=None if number is None else int(number),
        why=Why(attributes["why"]),
        seconds=0.0,
        memory_limit_bytes=_memory(limits),
        time_limit_seconds=limits.get("seconds"),
    )


def parse(words: list[str]) -> End | None:
    """Parse the end that a monitor wrote: status, signal, 1 if late.

    None if the text is something else.
    """
    try:
        status, number, late = map(int, words)
    except ValueError:
        return None
    return End(status, number, bool(late))


def _memory(limits: Mapping[str, float | None]) -> int | None:
    """Return the memory limit of a record, where JSON may have made it a float."""
    limit = limits.get("memory_bytes")
    return None if limit is None else int(limit)
