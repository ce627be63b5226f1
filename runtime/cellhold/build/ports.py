"""EXPOSE's ports, as Docker's nat package reads them: 80, 53/udp, 8000-8010/tcp."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellhold.build.instruction import Instruction

_PORT = re.compile(r"(?:.*:)?(\d{1,5})(?:-(\d{1,5}))?(?:/([A-Za-z]*))?", re.ASCII)
_PROTOCOLS = ("tcp", "udp", "sctp")
_LAST = 65535


def exposed(instruction: Instruction) -> tuple[str, ...]:
    """Return each port of EXPOSE as "80/tcp".

    The words are in alphabetical order, as in BuildKit. Of IP:HOST:CONTAINER only the
    container's port counts. Raises InvalidSpec.
    """
    return tuple(dict.fromkeys(port for word in sorted(instruction.words) for port in _ports(word, instruction)))


def _ports(word: str, instruction: Instruction) -> list[str]:
    match = _PORT.fullmatch(word)
    protocol = (match[3] or "tcp").lower() if match else ""
    first = int(match[1]) if match else 0
    last = int(match[2]) if match and match[2] else first
    if match is None or protocol not in _PROTOCOLS or not first <= last <= _LAST:
        raise instruction.refused(f"{word[:100]!r} is not a port", "write EXPOSE 80, EXPOSE 53/udp or EXPOSE 8000-8010")
    return [f"{number}/{protocol}" for number in range(first, last + 1)]
