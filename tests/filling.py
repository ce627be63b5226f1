"""`python -I -S filling.py bytes|files`: fill each writable mount.

What was filled is held until stdin ends.

Prints as JSON, by mount point: how many bytes or files there was room for, and why
there were no more. Bounded, where nothing else is.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from errno import errorcode

MOST_BYTES = 400 << 20
MOST_FILES = 60_000
PIECE = b"x" * (1 << 20)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def mount_points() -> list[str]:
    """Return the mount points (proc_pid_mountinfo(5))."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return sorted({line.split()[4] for line in file})


def with_bytes(place: str) -> tuple[int, str]:
    """Write to a file of ours there, or to the file that it is."""
    written = 0
    try:
        mode = os.stat(place).st_mode
        if stat.S_ISCHR(mode):
            return 0, "a device"  # /dev/null and its like, which keep nothing
        is_directory = stat.S_ISDIR(mode)
        fd = os.open(f"{place}/filling", _FLAGS) if is_directory else os.open(place, os.O_WRONLY | os.O_NONBLOCK)
        while written < MOST_BYTES:
            written += os.write(fd, PIECE)
    except OSError as error:
        return written, errorcode[error.errno or 0]
    return written, ""


def with_files(place: str) -> tuple[int, str]:
    """Make empty files there, in directories of a thousand."""
    made = 0
    try:
        if not stat.S_ISDIR(os.stat(place).st_mode):
            return 0, "ENOTDIR"
        while made < MOST_FILES:
            if made % 1000 == 0:
                os.mkdir(f"{place}/filling-{made}")
            os.close(os.open(f"{place}/filling-{made // 1000 * 1000}/{made}", _FLAGS))
            made += 1
    except OSError as error:
        if made == 0 and "filling" in str(error.filename) and place == "/dev/mqueue":  # it has no directories
            return queues(place)
        return made, errorcode[error.errno or 0]
    return made, ""


def queues(place: str) -> tuple[int, str]:
    made = 0
    try:
        while made < MOST_FILES:
            os.close(os.open(f"{place}/filling-{made}", _FLAGS))
            made += 1
    except OSError as error:
        return made, errorcode[error.errno or 0]
    return made, ""


def filled(way: str) -> dict[str, tuple[int, str]]:
    fill = with_bytes if way == "bytes" else with_files
    return {place: fill(place) for place in mount_points()}


def main(way: str) -> None:
    sys.stdout.write(json.dumps(filled(way)) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
