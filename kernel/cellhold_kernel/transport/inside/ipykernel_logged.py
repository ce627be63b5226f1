"""ipykernel, with a log (log.py) of output that the host may not have yet.

Run by logged.py before ipykernel itself; standard input is the log, a memfd.

ipykernel keeps what is printed for 0.2 s, and zmq what is sent until it is read. When
the process is killed all that is gone: the last lines before an out-of-memory, say. So
it is logged first. A cell that prints faster than the host receives waits.

An ipykernel that is built in another way than those that are known here has no log.
"""

import codecs
import io
import mmap
import os
import struct
import sys
import threading
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from cellhold_kernel.transport.inside.log import MESSAGE, METADATA, PARENT_MOST, SHOWN, SIZE, STREAMS, TYPES, Log

_Plain = Any if TYPE_CHECKING else object  # type: Any  # an OutStream's class is another base of these

_PIECE = 128 << 10  # characters that are printed at once
_MESSAGE_MOST = 256 << 10


class _Sending(threading.local):
    """Which stream's which buffer a thread sends next."""

    mark = None  # type: Optional[Tuple[int, int]]


_sending = _Sending()


def _id(header: Dict[str, Any]) -> bytes:
    return str(header.get("msg_id", "")).encode()[:PARENT_MOST]


class Buffer(io.StringIO):
    """What is printed and not sent yet: on one stream, for one cell."""

    def __init__(self, stream: Any, parent: Optional[Dict[str, Any]] = None) -> None:
        """Take a number of the stream.

        parent: the header of the cell's request; None: of the cell that runs when
        something is printed.
        """
        super().__init__()
        self.number = stream.log.number(stream.index)
        self._stream = stream
        self._log = stream.log
        self._key = None if parent is None else (stream.index, self.number, _id(parent), 0)

    def write(self, text: str) -> int:
        """Log and write, as StringIO does.

        The stream's lock is held: a buffer that was taken away to be sent has all that
        is logged of it.
        """
        if self._log.is_ours:
            key = self._key
            if key is None or self._stream.taken:
                key = self._now(key)
            try:
                data = text.encode()
            except UnicodeEncodeError:
                data = text.encode("utf-8", "surrogatepass")
            self._log.print(key, data)
        return io.StringIO.write(self, text)

    def _now(self, key: Optional[Tuple[int, int, bytes, int]]) -> Tuple[int, int, bytes, int]:
        stream = self._stream
        parent = _id(stream.parent_header) if key is None else key[2]
        return stream.index, self.number, parent, stream.taken if threading.get_ident() == stream.watcher else 0


class Buffers(Dict[Any, Buffer]):
    """The buffers of a stream by the header of the cell's request.

    ipykernel has them from 6.29 on.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream

    def __missing__(self, parent: Any) -> Buffer:
        """A new one."""
        self[parent] = buffer = Buffer(self._stream, dict(parent))
        return buffer


class LoggedStream(_Plain):  # type: ignore[misc]
    """Our part of the class in the place of OutStream, however that has its buffers.

    Its other bases are one of those below, and OutStream.
    """

    log = None  # type: Any  # the process's Log
    index = 0
    watcher = taken = 0  # the thread that reads the pipe, and which of its readings it prints now, if it does
    _exc = None  # type: Any
    _buffers = _buffer = None  # type: Any

    def __init__(self, session: Any, pub_thread: Any, name: str, *args: Any, **options: Any) -> None:
        self.index = STREAMS.index(name)
        super().__init__(session, pub_thread, name, *args, **options)
        with self._buffer_lock:
            self._replace_buffers()

    def _replace_buffers(self) -> None:
        raise NotImplementedError

    def write(self, string: str) -> Optional[int]:
        """Write as OutStream does, one piece after the other."""
        if self.log.is_ours and isinstance(string, str):
            if len(string) > _PIECE:
                for at in range(0, len(string), _PIECE):
                    self.write(string[at : at + _PIECE])
                return len(string)
            if not self.log.fits(4 * len(string)):
                self._make_room()
        return super().write(string)  # type: ignore[no-any-return]

    def _make_room(self) -> None:
        """Send what is printed before the segments take turns; wait for the host."""
        thread = self.pub_thread
        if thread is None or threading.get_ident() == thread.thread.ident:
            return
        if not self.log.is_free():
            self.flush()
            self.log.wait()
        thread.schedule(self._flush)

    def _setup_stream_redirects(self, name: str) -> None:
        """Redirect as OutStream does, but into a pipe that the host has open as well.

        What is in the pipe is not lost with this process.
        """
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
        try:
            self._fid = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # does not wait for a writer
            end = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            super()._setup_stream_redirects(name)
            return
        os.set_blocking(self._fid, True)
        self._original_stdstream_fd = getattr(sys, name).fileno()
        self._original_stdstream_copy = os.dup(self._original_stdstream_fd)
        os.dup2(end, self._original_stdstream_fd)
        os.close(end)
        self._exc = None
        self.watch_fd_thread = threading.Thread(target=self._watch_pipe_fd, daemon=True)
        self.watch_fd_thread.start()

    def _watch_pipe_fd(self) -> None:
        """Read as OutStream does; a character of several bytes may come in two parts."""
        self.watcher = threading.get_ident()
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        number = 0
        try:
            while True:
                number += 1
                data = self.log.take(self.index, self._fid, number)
                if not data or not self._should_watch:
                    return
                self.taken = number
                self.write(decoder.decode(data))
                self.taken = 0
                self.log.forget(self.index, len(data))
                os.write(self._original_stdstream_copy, data)
        except Exception:  # noqa: BLE001  # as OutStream's
            self._exc = sys.exc_info()

    def _sends(self, buffer: Buffer) -> str:
        """Close a buffer and return its text, which this thread sends next."""
        _sending.mark = (self.index, buffer.number)
        data = buffer.getvalue()
        buffer.close()
        return data

    def _has_sent(self) -> None:
        """Mark as dropped what was taken before it was sent (`register_hook`)."""
        mark, _sending.mark = _sending.mark, None
        if mark is not None and self.log.is_ours:
            self.log.drop(*mark)


class ManyBuffers(LoggedStream):
    """Of ipykernel from 6.29 on: one for each cell."""

    _recent = (None, None, None)  # type: Tuple[Any, Any, Any]  # a parent header, the buffers, the one for it

    def write(self, string: str) -> Optional[int]:
        """Write as OutStream does, but into the last print's buffer if it is the same.

        OutStream looks for the buffer by the whole header, which costs more than the
        log. Another print of the same cell goes into the same buffer, until that is
        taken away to be sent.
        """
        parent, buffers, buffer = self._recent
        if (
            parent is not None
            and string.__class__ is str
            and len(string) <= _PIECE
            and parent is self.parent_header
            and self.log.is_ours
            and self.log.fits(4 * len(string))
            and self.echo is None
            and self.pub_thread is not None
        ):
            with self._buffer_lock:
                is_there = buffers is self._buffers
                if is_there:
                    buffer.write(string)
            if is_there:
                self._schedule_flush()
                return len(string)
        written = super().write(string)
        with self._buffer_lock:
            parent = self.parent_header
            buffer = dict.get(self._buffers, frozenset(parent.items()))
            self._recent = (None, None, None) if buffer is None else (parent, self._buffers, buffer)
        return written

    def _replace_buffers(self) -> None:
        plain, self._buffers = self._buffers, Buffers(self)
        for parent, buffer in plain.items():
            self._buffers[parent].write(buffer.getvalue())

    def _rotate_buffers(self) -> Any:
        with self._buffer_lock:
            old, self._buffers = self._buffers, Buffers(self)
        return old

    def _flush_buffers(self) -> Any:
        for parent, buffer in self._rotate_buffers().items():
            data = self._sends(buffer)
            try:
                yield dict(parent), data
            finally:
                self._has_sent()


class OneBuffer(LoggedStream):
    """Of ipykernel before."""

    def _replace_buffers(self) -> None:
        plain, self._buffer = self._buffer, Buffer(self)
        self._buffer.write(plain.getvalue())

    def _rotate_buffer(self) -> Any:
        with self._buffer_lock:
            old, self._buffer = self._buffer, Buffer(self)
        return old

    def _flush_buffer(self) -> Any:
        return self._sends(self._rotate_buffer())

    def _flush(self) -> None:
        super()._flush()
        self._has_sent()


def stream_class(plain: Any, log: Log) -> Any:
    """Return a class in the place of ipykernel's OutStream `plain`.

    Returns `plain` itself where it is built in another way than those that are known
    here.
    """
    for ours, names in ((ManyBuffers, ("_rotate_buffers", "_flush_buffers")), (OneBuffer, ("_rotate_buffer", "_flush_buffer"))):
        if all(hasattr(plain, name) for name in names):
            return type("OutStream", (ours, plain), {"log": log})
    return plain


class Copied:
    """A socket of iopub, for one display: what is sent goes into the log first."""

    def __init__(self, socket: Any, log: Log, number: int) -> None:
        self._socket = socket
        self._log = log
        self._number = number

    def send_multipart(self, parts: List[Any], *args: Any, **options: Any) -> Any:
        """Log the parts, and send them as the socket does."""
        size = sum(len(part) + 4 for part in parts)
        if size <= _MESSAGE_MOST and (self._log.fits(size) or self._log.is_free()):
            data = b"".join(struct.pack("<I", len(part)) + bytes(part) for part in parts)
            self._log.append(MESSAGE, SHOWN, self._number, data)
        return self._socket.send_multipart(parts, *args, **options)


def _number_messages(session_class: Any, sockets: Tuple[Any, ...], log: Log) -> None:
    """Let what is published have its number with it."""
    plain = session_class.send

    def send(self: Any, stream: Any, msg_or_type: Any, *args: Any, **options: Any) -> Any:
        mark = None
        if isinstance(stream, sockets) and log.is_ours:
            mark, _sending.mark = _sending.mark, None
            kind = msg_or_type.get("msg_type") if isinstance(msg_or_type, dict) else msg_or_type
            if mark is None and kind in TYPES:
                mark = (SHOWN, log.number(SHOWN))
                stream = Copied(stream, log, mark[1])
        if mark is not None and isinstance(msg_or_type, dict):
            metadata = dict(msg_or_type.get("metadata") or {}, **{METADATA: list(mark)})
            msg_or_type = dict(msg_or_type, metadata=metadata)
        elif mark is not None:
            options["metadata"] = dict(options.get("metadata") or {}, **{METADATA: list(mark)})
        return plain(self, stream, msg_or_type, *args, **options)

    session_class.send = send


def _opened() -> Log:
    """Open the log in the memory that is our standard input.

    Standard input is /dev/null from now on.
    """
    memory = mmap.mmap(0, SIZE)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return Log(memory)


def prepare() -> None:
    """Have ipykernel keep a log."""
    import zmq
    from ipykernel import iostream
    from jupyter_client.session import Session

    log = _opened()
    iostream.OutStream = stream_class(iostream.OutStream, log)  # type: ignore[misc]
    _number_messages(Session, (iostream.BackgroundSocket, iostream.IOPubThread), log)
    plain = iostream.IOPubThread.__init__  # type: Any

    def begin(self: Any, socket: Any, *args: Any, **options: Any) -> None:
        plain(self, socket, *args, **options)
        if hasattr(zmq, "XPUB_NODROP"):  # wait for a host that is behind: after 1000 messages zmq would throw away the others
            socket.setsockopt(zmq.XPUB_NODROP, 1)

    iostream.IOPubThread.__init__ = begin  # type: ignore[method-assign]


if __name__ == "__main__":
    prepare()
