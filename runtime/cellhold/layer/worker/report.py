"""The socket between the two halves of the child: words out, descriptors in."""

from __future__ import annotations

import _socket
from struct import unpack

_INT = 4
_MOST = 250
_LONGEST_WORD = 2000


class Report:
    """The inner half's end."""

    def __init__(self, channel: _socket.socket) -> None:
        """Take over the socket."""
        self._channel = channel

    def say(self, *words: str) -> None:
        """Send one message to the caller: words without NUL.

        Raises OSError when the caller has gone.
        """
        text = "\0".join(word.replace("\0", "?")[:_LONGEST_WORD] for word in words)
        self._channel.send(text.encode(errors="replace"), _socket.MSG_NOSIGNAL)

    def descriptors(self) -> list[int]:
        """Wait for the supervisor's next message.

        Returns the directories that came with it, as detached mounts.
        """
        room = _socket.CMSG_SPACE(_MOST * _INT)
        _words, ancillary, _flags, _address = self._channel.recvmsg(16, room, _socket.MSG_CMSG_CLOEXEC)
        return [fd for _level, _kind, data in ancillary for fd in unpack(f"{len(data) // _INT}i", data)]
