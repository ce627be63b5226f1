"""The kernel's log (/dev/kmsg), read for one thing: which processes of a group it killed for want of memory.

Control groups count such kills and name nobody. Root reads the log; where it may not be read, nobody is named.
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
    """The names (comm) of the processes killed in groups that have the part `group`, oldest first; [] where the log is not ours to read.

    A name is the process's own choice, up to 15 bytes; what a terminal would obey in it is "?" here.
    """
    return [
        "".join(letter if letter.isprintable() else "?" for letter in match[2].decode(errors="replace"))
        for record in _records()
        if (match := _OOM_KILL.search(record)) and group.encode() in match[1].split(b"/")
    ]


def _records() -> Iterator[bytes]:
    """The first line of each record, without its prefix."""
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
