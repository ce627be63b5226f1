"""The log: a memory that outlives the process whose output it has.

Whatever is printed goes into it at the moment when it is printed, and so do displays
that are not large. Each buffer of text and each display has a number, which its message
carries as metadata; the host writes here which of them it has received. Two segments
take turns: one is used again when all in it has been received. What is printed next
into the same buffer extends the last record, which is open: it reaches as far as the
segment is used. engine/local/last_words.py reads it.

Joined with ipykernel_logged.py when that is written into a container
(transport/exchange.py), so no name may be in both, and Python 3.6 has to understand it.
"""

import mmap
import os
import struct
import threading
import time
from typing import Callable, Tuple

# The memory: what the host has received, how far each segment is used and in which
# turn, what was taken from a pipe and is not dealt with; then the pipes' slots, then
# the segments with one record after the other.
HEARD, USED, TURN, TAKEN, SLOTS = 0, 64, 80, 96, 4096
SLOT, SEGMENT = 64 << 10, 1 << 20
SEGMENTS = SLOTS + 2 * SLOT
SIZE = SEGMENTS + 2 * SEGMENT
RECORD = struct.Struct("<BBHIQQ")  # what, stream, size of the parent's id, size of the data, number, number of the taking
NUMBER = struct.Struct("<Q")  # written by one instruction: no kill leaves half of it
_SIZE, _SIZE_AT = struct.Struct("<I"), 4  # of a record's data, in it
OPEN = (1 << 32) - 1  # the size of the last record, while it may be extended: as far as the segment is used
TEXT, DROPPED, MESSAGE = 1, 2, 3  # what a record is
STDOUT, STDERR, SHOWN = 0, 1, 2  # its stream
STREAMS = ("stdout", "stderr")
METADATA = "cellhold"
TYPES = ("display_data", "update_display_data", "execute_result", "error", "clear_output", "comm_open", "comm_msg", "comm_close")
PARENT_MOST = 128  # bytes of the id of the request that a text belongs to
_PATIENCE_SECONDS = 10.0  # with a host that hears nothing, as long as ipykernel's own with its thread
_LOOK_SECONDS = 0.001


def _call_in_children(what: Callable[[], None]) -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=what)
        return
    fork = os.fork  # Python 3.6

    def forked() -> int:
        pid = fork()
        if pid == 0:
            what()
        return pid

    os.fork = forked


class Log:
    """The writing side of the log. Forked children of the process do not write to it.

    What they print comes by way of the process.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self.is_ours = True  # and not a forked child's copy; asked for each write, where getpid(2) would cost more than the rest
        _call_in_children(self._leave)
        self._memory = memory
        self._lock = threading.Lock()
        self._segment = self._used = 0
        self._open = (-1, 0, b"", 0)  # type: Tuple[int, int, bytes, int]  # stream, number, parent, taking
        self._open_at = 0  # its record
        self._turn = 1
        self._numbers = [0, 0, 0]
        self._dropped = [0, 0, 0]
        self._last = [[0, 0, 0], [0, 0, 0]]  # the highest numbers in each segment
        self._is_patient = True
        NUMBER.pack_into(memory, TURN, self._turn)

    def _leave(self) -> None:
        self.is_ours = False

    def number(self, stream: int) -> int:
        """Return the next number of a stream."""
        with self._lock:
            self._numbers[stream] += 1
            return self._numbers[stream]

    def print(self, key: Tuple[int, int, bytes, int], data: bytes) -> None:
        """Add what is printed.

        key: stream, number, parent, number of the reading from the pipe: while it is
        the same, so is the record.
        """
        with self._lock:
            used = self._used
            end = used + len(data)
            if key != self._open or end > SEGMENT:
                stream, number, parent, taken = key
                self._append(TEXT, stream, number, (parent, data), taken)
                return
            at = SEGMENTS + self._segment * SEGMENT
            self._memory[at + used : at + end] = data
            self._used = end
            NUMBER.pack_into(self._memory, USED + 8 * self._segment, end)

    def append(self, what: int, stream: int, number: int, data: bytes = b"") -> None:
        """Add a record."""
        with self._lock:
            self._append(what, stream, number, (b"", data), 0)

    def _append(self, what: int, stream: int, number: int, texts: Tuple[bytes, bytes], taken: int) -> None:
        """Write a record. It counts once its segment is used that far.

        texts: parent and data.
        """
        parent, data = texts
        size = RECORD.size + len(parent) + len(data)
        self._close()
        if self._used + size > SEGMENT:
            self._change_segments()
        at = SEGMENTS + self._segment * SEGMENT + self._used
        RECORD.pack_into(self._memory, at, what, stream, len(parent), OPEN if what == TEXT else len(data), number, taken)
        begin = at + RECORD.size
        self._memory[begin : at + size] = parent + data
        self._used += size
        NUMBER.pack_into(self._memory, USED + 8 * self._segment, self._used)
        last = self._last[self._segment]
        last[stream] = max(last[stream], number)
        if what == TEXT:
            self._open, self._open_at = (stream, number, parent, taken), at

    def _close(self) -> None:
        """Close the last record: it gets no more."""
        if self._open[0] >= 0:
            end = SEGMENTS + self._segment * SEGMENT + self._used
            _SIZE.pack_into(self._memory, self._open_at + _SIZE_AT, end - self._open_at - RECORD.size - len(self._open[2]))
            self._open = (-1, 0, b"", 0)

    def _change_segments(self) -> None:
        self._segment, self._used = 1 - self._segment, 0
        self._turn += 1
        self._last[self._segment] = [0, 0, 0]
        NUMBER.pack_into(self._memory, USED + 8 * self._segment, 0)
        NUMBER.pack_into(self._memory, TURN + 8 * self._segment, self._turn)

    def drop(self, stream: int, number: int) -> None:
        """Mark a number as dropped: it was not sent, somebody else has taken it."""
        self._dropped[stream] = number
        self.append(DROPPED, stream, number)

    def fits(self, size: int) -> bool:
        """Return whether so many bytes go into the present segment."""
        return self._used + size + RECORD.size + PARENT_MOST <= SEGMENT

    def is_free(self) -> bool:
        """Return whether the host has received all that is in the other segment."""
        heard = struct.unpack_from("<3Q", self._memory, HEARD)
        last = self._last[1 - self._segment]
        return all(last[stream] <= max(heard[stream], self._dropped[stream]) for stream in (STDOUT, STDERR, SHOWN))

    def wait(self) -> None:
        """Wait until the other segment is free.

        A host that receives nothing is not waited for again before it does.
        """
        until = time.monotonic() + (_PATIENCE_SECONDS if self._is_patient else 0)
        while not self.is_free():
            if time.monotonic() > until:
                self._is_patient = False
                return
            time.sleep(_LOOK_SECONDS)
        self._is_patient = True

    def take(self, stream: int, pipe: int, number: int) -> bytes:
        """Read from a pipe into the memory itself.

        What has left the pipe is nowhere else until it is printed.
        """
        begin = SLOTS + stream * SLOT
        NUMBER.pack_into(self._memory, TAKEN + 8 * stream, number)
        with memoryview(self._memory) as whole, whole[begin : begin + SLOT] as slot:
            size = os.readv(pipe, [slot])
        return self._memory[begin : begin + size]

    def forget(self, stream: int, size: int) -> None:
        """Make room for the next reading: what was read is printed."""
        begin = SLOTS + stream * SLOT
        self._memory[begin : begin + size] = bytes(size)
