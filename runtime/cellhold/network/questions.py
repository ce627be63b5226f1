"""DNS questions as containers put them, read within bounds, and our answers.

A question goes out from the host's address. So only what a resolver asks is passed on,
one name at a time: nothing that changes a zone (RFC 2136) or copies it (RFC 5936), as
the site's servers may allow the host to.

Pure: nobody is asked here (upstream.py does that).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from cellhold.network.names import LOCALHOST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MOST = 4096  # bytes of a question: a name has 255, an option of EDNS a few
_HEAD = Struct("!6H")  # RFC 1035, section 4.1.1: id, flags, and the entries in each of four sections
_OPCODE_SHIFT, _OPCODE_MASK = 11, 0xF
_META = range(128, 255)  # types that are not data (RFC 6895, section 3.1); 255 is ANY
_OWN_SECONDS = 5  # that an answer of ours holds: containers come and go
_LEAST_PAYLOAD, _LONGEST = 512, 65535
_A, _AAAA = dns.rdatatype.A, dns.rdatatype.AAAA
_REVERSE = (dns.reversename.ipv4_reverse_domain, dns.reversename.ipv6_reverse_domain)


class Refused(Exception):
    """What came is not a question for us. answer: what says so; None = nothing does."""

    def __init__(self, answer: bytes | None) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True)
class Question:
    """One question. name: without the dot at its end. is_stream: it came over TCP."""

    message: dns.message.Message
    name: str
    is_stream: bool

    @property
    def is_localhost(self) -> bool:
        """Whether it is for the asker's own address (RFC 6761, section 6.3)."""
        return f".{self.name.lower()}".endswith(f".{LOCALHOST}")

    @property
    def wants_addresses(self) -> bool:
        """Whether it is for the addresses of a name."""
        return self.message.question[0].rdtype in (_A, _AAAA)

    @property
    def address(self) -> str | None:
        """The address whose name is asked for; None in another question."""
        name = self.message.question[0].name
        if not any(map(name.is_subdomain, _REVERSE)):
            return None
        try:
            return dns.reversename.to_address(name)
        except (dns.exception.DNSException, ValueError):  # of a part of a network, or of none
            return None

    def forwarded(self) -> dns.message.Message:
        """Return the question for others, with an id of ours and none of its options."""
        message, entry = self.message, self.message.question[0]
        flags = dns.flags.RD | (message.flags & (dns.flags.AD | dns.flags.CD))
        if message.edns < 0:
            return dns.message.make_query(entry.name, entry.rdtype, flags=flags, use_edns=False)
        return dns.message.make_query(
            entry.name,
            entry.rdtype,
            flags=flags,
            use_edns=0,
            payload=max(message.payload, _LEAST_PAYLOAD),
            want_dnssec=bool(message.ednsflags & dns.flags.DO),
        )

    def passed_on(self, answer: bytes) -> bytes:
        """Return another server's answer to forwarded() as one to the asker."""
        return self.message.id.to_bytes(2) + answer[2:]

    def failed(self, code: dns.rcode.Rcode) -> bytes:
        """Return an answer that is a code alone."""
        answer = dns.message.make_response(self.message, recursion_available=True)
        answer.set_rcode(code)
        return answer.to_wire()

    def addressed(self, addresses: Sequence[str]) -> bytes:
        """Return the answer that a name has those addresses, in random order.

        Of another type than theirs the name has nothing, but it exists.
        """
        texts: dict[dns.rdatatype.RdataType, list[str]] = {}
        for address in random.sample(addresses, len(addresses)):
            texts.setdefault(_AAAA if ":" in address else _A, []).append(address)
        return self._own(texts)

    def named(self, name: str) -> bytes:
        """Return the answer that the address has that name."""
        return self._own({dns.rdatatype.PTR: [f"{name}."]})

    def _own(self, texts: Mapping[dns.rdatatype.RdataType, Sequence[str]]) -> bytes:
        answer = dns.message.make_response(self.message, recursion_available=True)
        entry = self.message.question[0]
        for kind in texts if entry.rdtype == dns.rdatatype.ANY else {entry.rdtype} & texts.keys():
            records = dns.rrset.from_text_list(entry.name, _OWN_SECONDS, dns.rdataclass.IN, kind, texts[kind])
            answer.answer.append(records)
        most = _LONGEST if self.is_stream else max(self.message.payload, _LEAST_PAYLOAD)
        try:
            return answer.to_wire(max_size=most)
        except dns.exception.TooBig:  # the asker tries again over a stream
            answer.answer.clear()
            answer.flags |= dns.flags.TC
            return answer.to_wire()


def read(text: bytes, *, is_stream: bool) -> Question:
    """Return the question in those bytes. Raises Refused."""
    if len(text) < _HEAD.size:
        raise Refused(None)
    number, flags, *counts = _HEAD.unpack_from(text)
    if flags & dns.flags.QR:  # to answer an answer would never end
        raise Refused(None)
    if flags >> _OPCODE_SHIFT & _OPCODE_MASK != dns.opcode.QUERY:
        raise Refused(_bare(number, flags, dns.rcode.NOTIMP))
    if len(text) > _MOST or counts[:3] != [1, 0, 0] or counts[3] > 1:
        raise Refused(_bare(number, flags, dns.rcode.FORMERR))
    try:
        message = dns.message.from_wire(text)
    except (dns.exception.DNSException, ValueError) as error:
        raise Refused(_bare(number, flags, dns.rcode.FORMERR)) from error
    question = Question(message, message.question[0].name.to_text(omit_final_dot=True), is_stream)
    if message.question[0].rdclass != dns.rdataclass.IN or message.question[0].rdtype in _META:
        raise Refused(question.failed(dns.rcode.REFUSED))
    return question


def _bare(number: int, flags: int, code: dns.rcode.Rcode) -> bytes:
    """Return an answer without a question, to what may be anything."""
    kept = flags & (_OPCODE_MASK << _OPCODE_SHIFT | dns.flags.RD)
    return _HEAD.pack(number, dns.flags.QR | kept | code, 0, 0, 0, 0)


def addresses(answer: bytes) -> tuple[list[str], int]:
    """Return the addresses that an answer is about, and the seconds they hold.

    Aliases are followed from the name on; what else is in the answer does not count.
    """
    try:
        message = dns.message.from_wire(answer)
        if not isinstance(message, dns.message.QueryMessage):
            return [], 0
        chain = message.resolve_chaining()
    except (dns.exception.DNSException, ValueError):
        return [], 0
    return ([] if chain.answer is None else [item.address for item in chain.answer]), chain.minimum_ttl
