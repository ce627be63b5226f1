"""The variables that a notebook's container may have, by the policy's `env`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cellhold_kernel.settings.policy import Policy

_SHOWN = 64


def check(names: Iterable[str], policy: Policy) -> None:
    """Raise NotAllowed for a name that the policy forbids."""
    for name in names:
        if not policy.allows_variable(name):
            raise policy.above(f"env={escape(name, most=_SHOWN)}=...", "env", policy.env or ())


def passed(variables: Mapping[str, str], policy: Policy) -> dict[str, str]:
    """Return those of this machine's variables that the policy lets through."""
    return {name: value for name, value in variables.items() if policy.allows_variable(name)}
