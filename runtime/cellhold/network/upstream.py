"""Ask the network's own DNS servers, or this host's, one after the other."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dns.message

PORT = 53
_SECONDS = 4.5  # for all servers together: our client gives up after five (resolv.conf(5))
_MOST = 65535
_HEAD, _TYPE_AND_CLASS, _IS_ANSWER = 12, 4, 0x80  # RFC 1035, sections 4.1.1 and 4.1.2


async def ask(question: dns.message.Message, servers: Sequence[str], *, is_stream: bool) -> bytes | None:
    """Return what the first server says that answers; None if none does in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _SECONDS
    text, entry = question.to_wire(), question.question[0]
    length = _HEAD + len(entry.name.to_wire() or b"") + _TYPE_AND_CLASS
    asking = _by_stream if is_stream else _by_datagram
    for left, server in zip(range(len(servers), 0, -1), servers, strict=True):
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout((end - loop.time()) / left):
                return await asking(server, text, length)
    return None


async def _by_datagram(server: str, text: bytes, length: int) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as one:
        one.connect((server, PORT))
        await loop.sock_sendall(one, text)
        while not _answers(answer := await loop.sock_recv(one, _MOST), text[:length]):
            pass
        return answer


async def _by_stream(server: str, text: bytes, length: int) -> bytes:
    reader, writer = await asyncio.open_connection(server, PORT)
    try:
        writer.write(len(text).to_bytes(2) + text)
        answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    finally:
        writer.transport.abort()
    if not _answers(answer, text[:length]):
        raise ConnectionAbortedError
    return answer


def _answers(answer: bytes, question: bytes) -> bool:
    """Whether it is an answer with the id, name, type and class of the question."""
    is_same = answer[_HEAD : len(question)].lower() == question[_HEAD:].lower()
    return is_same and answer[:2] == question[:2] and bool(answer[2] & _IS_ANSWER)


def hosts_servers() -> list[str]:
    """Return this host's servers, from resolv.conf(5)."""
    servers = []
    with suppress(OSError), open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if words[:1] == ["nameserver"] and len(words) > 1:
                servers.append(words[1])
    return servers
