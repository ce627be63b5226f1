"""The name server of a network: it answers for its containers, and asks the host's own servers for everybody else.

One process a network, started with its first container and gone soon after its last, and the network's device with it. What a
container with a list of places may talk to is let in before the answer goes out. Whoever asks without a lease is not answered.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from cellhold.errors import CellholdError, SetupFailed
from cellhold.linux import inotify
from cellhold.network import egress, entering, filters, leases, links, names, networks, rules, stack
from cellhold.store import locks, record
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellhold.network.leases import Lease
    from cellhold.network.networks import Network
    from cellhold.store.home import Home

PORT = 53
_LOCK = "naming.lock"  # held as long as a network's server is there
_OWN_SECONDS = 5  # that an answer of ours holds: containers come and go
_LEAST_SECONDS = 30  # that a place stays open after an answer, also where the answer holds for less
_ASK_SECONDS = 5.0  # that another server may take
_GRACE_SECONDS = 1.0  # in which the kernel takes away the cable of a namespace that nobody is in
_LOOK_SECONDS = 0.5  # between two looks whether anybody is left
_MOST = 65535
_AT_ONCE, _AT_ONCE_EACH = 32, 8  # questions, in all and of one container


def serve(network: Network, home: Home) -> None:
    """See that there is one. The caller has the networks' lock, and the gateway's address is there."""
    path = network.directory(home) / _LOCK
    with ExitStack() as closing:
        try:
            lock = closing.enter_context(locks.held(path, locks.file(path), wait=False))
        except BlockingIOError:
            return
        sockets = [closing.enter_context(socket.socket(socket.AF_INET, kind)) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
        try:
            for one in sockets:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((network.gateway, PORT))  # questions wait there until the process is ready
            sockets[1].listen(_AT_ONCE)
        except OSError as error:
            raise SetupFailed(
                f"cannot serve names on network {network.name}: {network.gateway}:{PORT}: {error.strerror}",
                step="network.naming",
                hint="another name server listens on all of this host's addresses: have it leave out those of containers' bridges",
            ) from error
        fds = [lock, *(one.fileno() for one in sockets)]
        words = [*entering.python(__name__, "dns", "pyroute2"), network.name, *map(str, fds)]
        stack.start(words, env={"CELLHOLD_HOME": str(home.root)}, pass_fds=fds)


def is_there(network: Network, home: Home) -> bool:
    """Whether the network has its server."""
    path = network.directory(home) / _LOCK
    try:
        with locks.held(path, locks.file(path), wait=False):
            return False
    except BlockingIOError:
        return True


def clear(home: Home) -> None:
    """Remove what networks have that nobody is on and whose server was killed. The caller has the networks' lock."""
    for network in networks.every(home):
        path = network.directory(home) / _LOCK
        if (links.is_there(network) or rules.are_there(home)) and not leases.of(network, home):
            with suppress(BlockingIOError), locks.held(path, locks.file(path), wait=False):
                _take_away(network, home)


def _take_away(network: Network, home: Home) -> None:
    """The device of a network that nobody is on, and what it has in the rules: all of them, if nobody is on any."""
    with suppress(CellholdError):
        links.remove_bridge(network)
        (rules.write if any(leases.every(home)) else rules.remove)(home)


def main() -> None:
    """The process: the network's name, and the descriptors of the lock and the two sockets."""
    name, lock, *fds = sys.argv[1:]
    home = open_home()
    datagrams, streams = (socket.socket(fileno=int(fd)) for fd in fds)
    with suppress(CellholdError):
        Server(networks.find(name, home), home).run(int(lock), datagrams, streams)
    os._exit(0)  # what still waits for another server's answer waits for nobody


class Server:
    """Questions in, answers out, until nobody is left on the network."""

    def __init__(self, network: Network, home: Home) -> None:
        """Nobody has asked yet."""
        self._network, self._home = network, home
        self._known: dict[str, Lease] = {}  # by address
        self._pending: Counter[str] = Counter()  # questions by who asks
        self._counting = threading.Lock()
        self._seen = -1  # the leases' directory's time of change when they were read

    def run(self, lock: int, datagrams: socket.socket, streams: socket.socket) -> None:
        """Serve. lock: let go of, under the networks' lock, when nobody is left. Of a store that was removed the network goes, too."""
        try:
            self._serve(lock, datagrams, streams)
        except FileNotFoundError:
            if self._home.networks.exists():
                raise
            with suppress(CellholdError):
                links.remove_bridge(self._network)
                rules.remove(self._home)

    def _serve(self, lock: int, datagrams: socket.socket, streams: socket.socket) -> None:
        gone = inotify.watch(str(self._network.leases(self._home)))
        pool = ThreadPoolExecutor(_AT_ONCE)
        left: dict[str, float] = {}  # the cables of those who have gone, and when they went
        while True:
            ready, _writable, _errors = select.select([datagrams.fileno(), streams.fileno(), gone], [], [], _LOOK_SECONDS)
            if gone in ready:
                left |= {leases.device(container, self._network.name): time.monotonic() for container in inotify.deleted(gone)}
                with self._home.networks_locked(), suppress(CellholdError):
                    rules.write(self._home)
            if datagrams.fileno() in ready:
                question, client = datagrams.recvfrom(_MOST)
                self._work(pool, client[0], self._answer_datagram, datagrams, question, client)
            if streams.fileno() in ready:
                with suppress(OSError):  # who asked has given up
                    connection, client = streams.accept()
                    if not self._work(pool, client[0], self._answer_stream, connection, client):
                        connection.close()
            if not ready:
                with self._home.networks_locked():
                    there = leases.of(self._network, self._home)
                    if not there:
                        _take_away(self._network, self._home)
                        os.close(lock)
                        return
                    left = _pulled(left, {lease.device for lease in there})

    def _work(self, pool: ThreadPoolExecutor, client: str, work: Callable[..., None], *arguments: Any) -> bool:
        """Have a question answered; False for one too many at a time from there, so that nobody keeps the others waiting."""
        if self._pending[client] >= _AT_ONCE_EACH:
            return False
        with self._counting:
            self._pending[client] += 1
        pool.submit(work, *arguments).add_done_callback(lambda _done: self._done(client))
        return True

    def _done(self, client: str) -> None:
        with self._counting:
            self._pending[client] -= 1

    def _answer_datagram(self, back: socket.socket, question: bytes, client: Any) -> None:
        with suppress(OSError):
            if answer := self.answer(question, client[0], is_stream=False):
                back.sendto(answer, client)

    def _answer_stream(self, connection: socket.socket, client: Any) -> None:
        with connection, suppress(OSError):
            connection.settimeout(_ASK_SECONDS)
            if answer := self.answer(_received(connection), client[0], is_stream=True):
                connection.sendall(len(answer).to_bytes(2) + answer)

    def answer(self, question: bytes, client: str, *, is_stream: bool) -> bytes | None:
        """The answer to one question, in DNS's form; None for who has no lease, and for what is no question."""
        import dns.exception  # noqa: PLC0415  # the joining process imports this module too, and asks nothing
        import dns.message  # noqa: PLC0415
        import dns.rcode  # noqa: PLC0415

        lease = self._leases().get(client)
        if lease is None:
            return None
        try:
            asked = dns.message.from_wire(question)
        except dns.exception.DNSException:
            return None
        if len(asked.question) != 1:
            return None
        name = asked.question[0].name.to_text(omit_final_dot=True)
        own = self._own(asked, name, lease)
        if own is not None:
            return own
        policy = egress.parsed(lease.policy)
        answer = _forwarded(question, self._network.dns or _servers(), is_stream=is_stream) if policy.allows_name(name) else None
        if answer is None:
            failed = dns.message.make_response(asked)
            failed.set_rcode(dns.rcode.SERVFAIL if policy.allows_name(name) else dns.rcode.REFUSED)
            return failed.to_wire()
        if any(policy.names()):
            self._learn(lease, policy, name, answer)
        return answer

    def _leases(self) -> dict[str, Lease]:
        changed = self._network.leases(self._home).stat().st_mtime_ns
        if changed != self._seen:
            self._known = {lease.address: lease for lease in leases.of(self._network, self._home)}
            self._seen = changed
        return self._known

    def _known_to(self, lease: Lease) -> list[Lease]:
        """Who is on the networks that the one who asks is on."""
        others = [one.network for one in leases.of_container(lease.container, self._home) if one.network != self._network.name]
        return [*self._leases().values(), *(one for name in others for one in leases.of(networks.find(name, self._home), self._home))]

    def _own(self, asked: Any, name: str, lease: Lease) -> bytes | None:
        """What is known here: names of containers, and the names of their addresses."""
        import dns.message  # noqa: PLC0415  # as above
        import dns.rdataclass  # noqa: PLC0415
        import dns.rdatatype  # noqa: PLC0415
        import dns.rrset  # noqa: PLC0415

        known = self._known_to(lease)
        texts: dict[int, list[str]] = {}
        if named := names.best(name, lease, [one for one in known if name.lower() in names.known_by(one)]):
            texts = {dns.rdatatype.A: [one.address for one in named]}
            if addresses := [one.address6 for one in named if one.address6]:
                texts[dns.rdatatype.AAAA] = addresses
        elif found := next((one for one in known if names.is_seen(one, lease) and asked.question[0].name in _reversed(one)), None):
            texts = {dns.rdatatype.PTR: [f"{names.canonical(found)}."]}
        if not texts:
            return None
        answer = dns.message.make_response(asked, recursion_available=True)
        kind = asked.question[0].rdtype
        if kind in texts:
            answer.answer.append(dns.rrset.from_text(asked.question[0].name, _OWN_SECONDS, dns.rdataclass.IN, kind, *texts[kind]))
        return answer.to_wire()

    def _learn(self, lease: Lease, policy: egress.Policy, name: str, answer: bytes) -> None:
        """Let the container talk to what the name was answered with."""
        import dns.message  # noqa: PLC0415  # as above
        import dns.rdatatype  # noqa: PLC0415

        kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
        found = [(one.ttl, item) for one in dns.message.from_wire(answer).answer if one.rdtype in kinds for item in one]
        seconds = max([_LEAST_SECONDS, *(ttl for ttl, _item in found)])
        script = egress.learned(policy, name, [str(item) for _ttl, item in found], seconds)
        known = record.look(self._home.container(lease.container))
        if script and known is not None and known.pid is not None and record.birth(known.pid) == known.born:
            with open(f"/proc/{known.pid}/ns/net", "rb") as namespace:
                filters.apply(script, namespace=namespace.fileno())


def _pulled(left: dict[str, float], used: set[str]) -> dict[str, float]:
    """Pull cables that are still there, as another container has shared their network; gives those that it is too early for.

    left: when who had it has gone, by the device. used: devices of those who are there, among them some that have come again.
    """
    here = (links.devices() & left.keys()) - used
    late = {device for device in here if time.monotonic() >= left[device] + _GRACE_SECONDS}
    with suppress(CellholdError):
        links.unplug(*late)
    return {device: left[device] for device in here - late}


def _reversed(lease: Lease) -> list[Any]:
    """The names that its addresses are asked for by."""
    import dns.reversename  # noqa: PLC0415  # as above

    return [dns.reversename.from_address(address) for address in (lease.address, lease.address6) if address]


def _received(connection: socket.socket) -> bytes:
    """One question on a stream: its length comes first."""
    length = int.from_bytes(_exactly(connection, 2))
    return _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    text = b""
    while len(text) < length:
        part = connection.recv(length - len(text))
        if not part:
            raise ConnectionAbortedError
        text += part
    return text


def _forwarded(question: bytes, servers: Sequence[str], *, is_stream: bool) -> bytes | None:
    """What the servers say; None if none of them answers."""
    for server in servers:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with suppress(OSError), socket.socket(family, socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM) as asking:
            asking.settimeout(_ASK_SECONDS)
            asking.connect((server, PORT))
            asking.sendall(len(question).to_bytes(2) + question if is_stream else question)
            answer = _received(asking) if is_stream else asking.recv(_MOST)
            if answer[:2] == question[:2]:
                return answer
    return None


def _servers() -> list[str]:
    """The host's, from resolv.conf(5)."""
    found = []
    with suppress(OSError), open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if words[:1] == ["nameserver"] and len(words) > 1:
                found.append(words[1])
    return found
