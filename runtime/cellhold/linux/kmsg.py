"""The kernel's log (/dev/kmsg): which processes of a group the OOM killer ended.

Control groups count such kills and name no process. Root reads the log; where it may
not be read, no process is named.
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_RECORD_BYTES = 8192  # the longest record (Documentation/ABI/testing/dev-kmsg)
_MOST_RECORDS = 100_000
_OOM_KILL = re.compile(rb"oom-kill:.*,task_memcg=([^,]*),task=(.*),pid=\d+,uid=\d+$")


def oom_victims(group: str) -> list[str]:
    """Return the names (comm) of processes killed for memory, oldest first.

    In groups whose path has the part `group`; [] if we may not read the log.

    A name is the process's own choice, up to 15 bytes; characters that a terminal would
    obey are "?" here.
    """
    return [
        "".join(letter if letter.isprintable() else "?" for letter in match[2].decode(errors="replace"))
        for record in _records()
        if (match := _OOM_KILL.search(record)) and group.encode() in match[1].split(b"/")
    ]


def _records() -> Iterator[bytes]:
    """Yield the first line of each record, without its prefix."""
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        for _ in range(_MOST_RECORDS):
            try:
                record = os.read(log, _RECORD_BYTES)
            except BrokenPipeError:
                continue  # overwritten while we read: the next read goes on with the oldest there is
            except OSError:  # EAGAIN: that was the last
                return
            yield record.partition(b";")[2].partition(b"\n")[0]
    finally:
        os.close(log)
