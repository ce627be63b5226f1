"""A public name server for the tests, on loopback; and questions to others.

with upstream({"python.org": {"A": ["9.9.9.9"]}}) as beyond:   # beyond.asked: what it was asked for
    ask(box.pid, "python.org")                                 # as a program in the container does
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

from cellhold.network import netns_exec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Zone = Mapping[str, Mapping[str, list[str]]]

ADDRESS, GATEWAY = "127.0.0.1", "10.87.0.1"
_SECONDS, _MOST = 5.0, 65535


class Upstream:
    """A name server that answers from a zone: name -> type -> texts.

    Other names do not exist. asked: (name, type, over a stream) of each question.
    """

    def __init__(self, zone: Zone) -> None:
        self.zone = dict(zone)
        self.asked: list[tuple[str, str, bool]] = []
        self.others: list[bytes] = []  # what is no question
        self.silent: set[str] = set()  # names that it never answers for
        self.respond: Callable[[dns.message.Message], dns.message.Message] = self._answer

    def _answer(self, question: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(question, recursion_available=True)
        name = question.question[0].name
        kind = dns.rdatatype.to_text(question.question[0].rdtype)
        while True:
            entries = self.zone.get(name.to_text(omit_final_dot=True).lower())
            if entries is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
                return answer
            found = "CNAME" if "CNAME" in entries else kind
            if found in entries:
                answer.answer.append(dns.rrset.from_text_list(name, 60, "IN", found, entries[found]))
            if found == kind:
                return answer
            name = dns.name.from_text(entries["CNAME"][0])

    def reply(self, text: bytes, *, is_stream: bool) -> bytes | None:
        """Return the answer to a question, or nothing to be silent."""
        try:
            question = dns.message.from_wire(text)
        except dns.exception.DNSException:
            self.others.append(text)
            return None
        if question.opcode() or not question.question:
            self.others.append(text)
            return None
        name = question.question[0].name.to_text(omit_final_dot=True)
        self.asked.append((name, dns.rdatatype.to_text(question.question[0].rdtype), is_stream))
        return None if name.lower() in self.silent else self.respond(question).to_wire()

    def names(self) -> set[str]:
        """Return the names that it was asked for."""
        return {name for name, _kind, _is_stream in self.asked}


@contextmanager
def upstream(zone: Zone) -> Iterator[Upstream]:
    """Serve, until the end of the block."""
    serving = Upstream(zone)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((ADDRESS, 53))
    streams = socket.create_server((ADDRESS, 53), backlog=256)
    over = threading.Event()
    threads = [threading.Thread(target=one, args=(serving, over)) for one in (_datagrams(datagrams), _streams(streams))]
    for thread in threads:
        thread.start()
    try:
        yield serving
    finally:
        over.set()
        for thread in threads:
            thread.join()
        datagrams.close()
        streams.close()


def _datagrams(one: socket.socket) -> Callable[[Upstream, threading.Event], None]:
    def serve(serving: Upstream, over: threading.Event) -> None:
        one.settimeout(0.1)
        while not over.is_set():
            try:
                text, who = one.recvfrom(_MOST)
            except TimeoutError:
                continue
            if answer := serving.reply(text, is_stream=False):
                one.sendto(answer, who)

    return serve


def _streams(one: socket.socket) -> Callable[[Upstream, threading.Event], None]:
    def serve(serving: Upstream, over: threading.Event) -> None:
        one.settimeout(0.1)
        while not over.is_set():
            try:
                back, _who = one.accept()
            except TimeoutError:
                continue
            with back:
                back.settimeout(_SECONDS)
                text = back.recv(_MOST)
                if answer := serving.reply(text[2:], is_stream=True):
                    back.sendall(len(answer).to_bytes(2) + answer)

    return serve


def inside(pid: int | None, work: Callable[[], object]) -> object:
    """Call a function in the network namespace of a process, for its sockets."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return netns_exec.in_thread(namespace, work)
    finally:
        os.close(namespace)


def ask(pid: int | None, name: str, kind: str = "A", *, over: str = "udp", at: str = GATEWAY) -> Reply:
    """Ask a network's name server, as a program in the container of a PID 1 does.

    Raises dns.exception.Timeout.
    """
    asking = dns.query.udp if over == "udp" else dns.query.tcp
    question = dns.message.make_query(name, kind)
    answer = inside(pid, lambda: asking(question, at, timeout=_SECONDS))
    assert isinstance(answer, dns.message.Message)
    return Reply(answer)


class Reply:
    """An answer: its code, its texts, whether it was cut short."""

    def __init__(self, answer: dns.message.Message) -> None:
        self.code = dns.rcode.to_text(answer.rcode())
        self.texts = sorted(item.to_text() for entry in answer.answer for item in entry)
        self.is_cut = bool(answer.flags & dns.flags.TC)

    def __repr__(self) -> str:
        return f"{self.code} {self.texts}"
