"""Published ports as people write them: -p [IP:][HOST:]CONTAINER[/udp].

With ranges; an address of IPv6 stands in brackets.
"""

from __future__ import annotations

from cellhold.errors import InvalidSpec
from cellhold.spec.spec import LOOPBACK, PORT_MAXIMUM, Port

_EXAMPLE = "8080:80, 127.0.0.1:8080:80, 8000-8009:8000-8009, [::]:8080:80, 53:53/udp or 80"


def parse(text: str) -> list[Port]:
    """Parse ports.

    Loopback unless an address is given; host=None where the host's number is left out.
    Raises InvalidSpec.
    """
    numbers, _, protocol = text.partition("/")
    address, numbers = _address(numbers, text)
    host, colon, container = numbers.rpartition(":")
    inside = _range(container, text)
    outside = _range(host, text) if colon and host else [None] * len(inside)
    if len(outside) != len(inside):
        raise InvalidSpec(f"cannot use publish={text}: {len(outside)} ports of the host for {len(inside)} of the container", hint=_EXAMPLE)
    return [
        Port(container=theirs, host=ours, address=address, protocol=protocol or "tcp")
        for theirs, ours in zip(inside, outside, strict=True)
        if theirs is not None
    ]


def format(port: Port) -> str:  # noqa: A001  # parse() the other way round
    """Return a port as docker's `ps` prints it: "127.0.0.1:8080->80/tcp"."""
    return f"{socket_address(port.address, port.host)}->{port.container}/{port.protocol}"


def socket_address(address: str, port: int | None) -> str:
    """Return address and port as people write them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _address(text: str, whole: str) -> tuple[str, str]:
    """Return the address, and what is left."""
    if text.startswith("["):
        first, bracket, rest = text[1:].partition("]:")
        if not bracket or ":" not in first:
            raise InvalidSpec(f"cannot use publish={whole}: only IPv6 addresses are written in brackets", hint=_EXAMPLE)
        return first, rest
    if text.count(":") < 2:  # noqa: PLR2004  # IP:HOST:CONTAINER
        return LOOPBACK, text
    first, _, rest = text.partition(":")
    return first, rest


def _range(text: str, whole: str) -> list[int | None]:
    first, dash, last = text.partition("-")
    if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
        raise InvalidSpec(f"cannot use publish={whole}: {text!r} is not a port", hint=_EXAMPLE)
    low, high = int(first), int(last if dash else first)
    if not 1 <= low <= high <= PORT_MAXIMUM:
        raise InvalidSpec(f"cannot use publish={whole}: {text} is not from 1 to {PORT_MAXIMUM}", hint=_EXAMPLE)
    return list(range(low, high + 1))
