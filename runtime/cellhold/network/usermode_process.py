"""How the programs of networks are started, and what one without root needs.

They run in the background, with no parent of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellhold import helper
from cellhold.errors import SetupFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cellhold.network.model import Lease, Network

MTU = 65520
_BACKGROUND = '"$0" "$@" </dev/null >/dev/null 2>&1 &'


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """What such a program connects.

    names: the address of its name server. gate: a descriptor of our end.

    namespace, user: descriptors of the container's network and user namespaces.
    has_rates: whether all that it sends or receives has to go by its device. directory:
    the container's, for the program's files.
    """

    network: Network
    lease: Lease
    names: str
    namespace: int
    user: int
    gate: int
    has_rates: bool
    directory: Path


def start(words: Sequence[str], *, script: str = _BACKGROUND, **values: Any) -> None:
    """Start a program that outlives us.

    script: of sh(1), with the words as its arguments. values: of helper.run(). Raises
    SetupFailed.
    """
    if helper.run(["/bin/sh", "-c", script, *words], is_tied=False, **values).returncode:
        raise SetupFailed(f"cannot connect a container: cannot start {words[0]}", step="network.connect")
