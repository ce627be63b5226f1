"""The name server of a network: answers for containers, asks others for the rest.

Who has no lease is not answered. Everybody else has a share of all that there is of the
server (shares.py), and asks no more often than the packet filter allows (firewall.py):
who asks too much, or speaks too slowly, keeps only itself waiting. What a container
with a list of places may talk to is let in before the answer goes out.

Called by dns.py, on a thread of the process's own.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from dns import rcode

from cellhold.errors import CellholdError
from cellhold.network import egress, egress_rules, names, nft, questions, upstream
from cellhold.network.members import Members
from cellhold.network.shares import Shares, Turns
from cellhold.store import record

if TYPE_CHECKING:
    from cellhold.network.model import Lease, Network
    from cellhold.network.questions import Question
    from cellhold.store.home import Home

_EACH, _IN_ALL, _WAITING = 8, 128, 64  # questions at a time: of one, of all; in the line of one
_STREAMS_EACH, _STREAMS_IN_ALL = 8, 256
_STREAM_SECONDS = 10.0  # that a connection may last, from its first byte to its last
_AT_ONCE = 4096  # datagrams that are read before anything else is done
_LONGEST = 65535
# SO_SNDBUFFORCE, SO_RCVBUFFORCE (socket(7)): what one asker does not take, or sends too
# fast, lies in the same socket's memory as the others' answers and questions.
_BUFFER_OPTIONS, _BUFFER_BYTES = (32, 33), 8 << 20
_LEAST_SECONDS, _MOST_SECONDS = 30, 3600  # that a place stays open, whatever its answer says


def serve(network: Network, home: Home, datagrams: socket.socket, streams: socket.socket) -> None:
    """Serve for ever."""
    asyncio.run(DnsServer(network, home, datagrams, streams).serve())


@lru_cache(maxsize=1024)
def _policy(text: str) -> egress.Policy:
    return egress.parse(text)


class DnsServer:
    """Questions in, answers out."""

    def __init__(
        self,
        network: Network,
        home: Home,
        datagrams: socket.socket,
        streams: socket.socket,
    ) -> None:
        """Nobody has asked yet. datagrams, streams: bound; the latter listens."""
        self._network, self._home = network, home
        self._datagrams, self._streams = datagrams, streams
        self._members = Members(network, home)
        self._turns = Turns(Shares(each=_EACH, in_all=_IN_ALL), waiting=_WAITING)
        self._connections = Shares(each=_STREAMS_EACH, in_all=_STREAMS_IN_ALL)

    async def serve(self) -> None:
        """Serve for ever."""
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for option in _BUFFER_OPTIONS:
            with suppress(PermissionError):  # root that is confined
                self._datagrams.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        self._datagrams.setblocking(False)
        asyncio.get_running_loop().add_reader(self._datagrams, self._read)
        async with await asyncio.start_server(self._converse, sock=self._streams) as serving:
            await serving.serve_forever()

    def _read(self) -> None:
        """Put what has come into the lines of those who have sent it."""
        for _ in range(_AT_ONCE):
            try:
                text, client = self._datagrams.recvfrom(_LONGEST)
                asker = self._members.at(client[0])
            except OSError:  # there is nothing more, or the network is just gone
                return
            if asker is not None:
                self._turns.put(client[0], partial(self._answer_datagram, asker, text, client))

    async def _answer_datagram(self, asker: Lease, text: bytes, client: tuple[str, int]) -> None:
        answer = await self._answer(asker, text, is_stream=False)
        if answer is not None:
            with suppress(OSError):
                self._datagrams.sendto(answer, client)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which has one question."""
        client = str(writer.get_extra_info("peername")[0])
        try:
            asker = self._members.at(client)
            if asker is None or not self._connections.take(client):
                return
            try:
                async with asyncio.timeout(_STREAM_SECONDS):
                    await self._answer_stream(asker, reader, writer)
            finally:
                self._connections.give(client)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _answer_stream(
        self,
        asker: Lease,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        text = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
        answer = await self._answer(asker, text, is_stream=True)
        if answer is not None:
            writer.write(len(answer).to_bytes(2) + answer)
        writer.close()
        await writer.wait_closed()

    async def _answer(self, asker: Lease, text: bytes, *, is_stream: bool) -> bytes | None:
        """Return the answer to what somebody has sent; None for no answer at all."""
        try:
            question = questions.read(text, is_stream=is_stream)
        except questions.Refused as refused:
            return refused.answer
        own = self._own(question, asker)
        return own if own is not None else await self._others(question, asker)

    def _own(self, question: Question, asker: Lease) -> bytes | None:
        """Answer what is known here: names of containers, and of their addresses."""
        if question.is_localhost:
            return question.addressed(["127.0.0.1", "::1"])
        if called := self._members.called(question.name, asker):
            addresses = [address for lease in called for address in (lease.address, lease.address6)]
            return question.addressed([address for address in addresses if address])
        if question.address is None:
            return None
        lease, is_ours = self._members.behind(question.address, asker)
        if lease is not None:
            return question.named(names.canonical(lease))
        return question.failed(rcode.NXDOMAIN) if is_ours else None

    async def _others(self, question: Question, asker: Lease) -> bytes:
        """Answer what others know, within the asker's egress policy."""
        policy = _policy(asker.policy)
        if not policy.allows_name(question.name):
            return question.failed(rcode.REFUSED)
        servers = self._network.dns or upstream.hosts_servers()
        answer = await upstream.ask(question.forwarded(), servers, is_stream=question.is_stream)
        if answer is None:
            return question.failed(rcode.SERVFAIL)
        if question.wants_addresses and any(policy.names()):
            try:
                await asyncio.to_thread(self._learn, asker, policy, question.name, answer)
            except CellholdError:  # an address that nobody lets in is better not given out
                return question.failed(rcode.SERVFAIL)
        return question.passed_on(answer)

    def _learn(self, asker: Lease, policy: egress.Policy, name: str, answer: bytes) -> None:
        """Let the container talk to the addresses of the name. Raises SetupFailed."""
        addresses, seconds = questions.addresses(answer)
        seconds = min(max(seconds, _LEAST_SECONDS), _MOST_SECONDS)
        script = egress_rules.learn(policy, name, addresses, seconds)
        box = record.peek(self._home.container(asker.container))
        if script and box is not None and box.pid is not None and record.birth(box.pid) == box.born:
            with open(f"/proc/{box.pid}/ns/net", "rb") as namespace:
                nft.apply(egress_rules.guard(policy, script), namespace=namespace.fileno())
