"""The policy's ceilings of limits, for the sum over all containers of a notebook.

A limit that was not set is what is left below its ceiling. One that was set is granted,
or refused with the ceiling, its file, and what the notebook has already.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.spec.fields import BY_KEY
from cellhold.spec.limits import Limits
from cellhold_kernel.settings.settings import KEYS, UNLIMITED, CellLimits, Kind, Trust, understood

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cellhold_kernel.gate.request import Held
    from cellhold_kernel.settings.policy import Policy
    from cellhold_kernel.settings.settings import Said

_GUARD = "memory-guard"  # which is not an amount


class Ceilings:
    """The ceilings of one policy, for a notebook that has the containers `beside`."""

    def __init__(self, policy: Policy, beside: Sequence[Held] = ()) -> None:
        """Parse the ceilings. Raises InvalidSpec for a policy that is not valid."""
        self._policy, self._beside = policy, beside
        self._texts = _texts(policy)
        self._values = {key: understood(key, text, str(policy.path)) for key, text in self._texts.items()}

    def keys(self) -> set[str]:
        """Return the keys that have a ceiling."""
        return set(self._values)

    def check_number(self) -> None:
        """Raise NotAllowed if the notebook can have no further container."""
        most = self._policy.containers
        if most is not None and len(self._beside) >= most:
            raise NotAllowed(
                f"cannot have a container besides {self._names() or 'none'}: above {self._ceiling('containers', most)}",
                hint=self._hint("containers"),
            )

    def check_made(self, own: Held) -> None:
        """Raise NotAllowed for an existing container above what is left now."""
        for key in self._values.keys() & BY_KEY.keys():
            has = _amount(key, own)
            if has > self._left(key):
                amount = f"{key} {BY_KEY[key].format(has)}" if math.isfinite(has) else f"no limit of {key}"
                raise NotAllowed(
                    f"cannot start the container again: it has {amount}, above {self._ceiling(key)}",
                    hint="%container restart makes a fresh one",
                )

    def apply(
        self,
        values: dict[str, Any],
        said: Mapping[str, Said],
        *,
        leave_out: Collection[str] = (),
        inherited: Collection[str] = (),
    ) -> None:
        """Check a container's values against the ceilings; fill in those not set.

        leave_out: keys that do not apply to it. inherited: keys that were set for
        another container, and are lowered here to what is left. Raises NotAllowed.
        """
        for key, ceiling in self._values.items():
            if key in leave_out:
                continue
            if key not in said:
                if key != "memory-swap":  # if it is not set, there is no swap at all
                    values[key] = self._rest(key, built_in(key))
            elif values[key] is None or values[key] > ceiling:
                raise self._policy.above(f"{key}={said[key].text}", key, self._texts[key])
            elif key in inherited and key != "memory-swap":
                values[key] = self._rest(key, values[key])
            elif values[key] > self._left(key):
                raise self._above_together(key, said[key].text)
        self._check_shares(values, said)
        is_alone = "memory" in said and "memory-swap" not in said  # memory counts there, too
        if "memory-swap" in self._values and is_alone and values["memory"] > self._left("memory-swap"):
            raise self._above_together("memory-swap", said["memory"].text, asked="memory")

    def _check_shares(self, values: Mapping[str, Any], said: Mapping[str, Said]) -> None:
        """Raise NotAllowed for more than the default of a share that no ceiling allows.

        More of such a limit takes something from everybody else on the machine.
        """
        for key, field in BY_KEY.items():
            is_the_notebooks = key in said and said[key].trust < Trust.HOST and key not in self._values
            if field.above_default and is_the_notebooks and values[key] is not None and values[key] > field.default:
                raise NotAllowed(
                    f"cannot use {key}={said[key].text}: above {field.format(field.default)} {field.above_default}",
                    hint=f"at most {field.format(field.default)}; a ceiling {key} in {self._policy.path} allows more",
                )

    def _left(self, key: str) -> Any:
        """Return what is left below a ceiling; negative if the ceiling was lowered."""
        return self._values[key] - (self._used(key) if _is_summed(key) else 0)

    def _rest(self, key: str, default: Any) -> Any:
        """Return what a container gets of a limit that was not set, at most `default`.

        Raises NotAllowed if nothing is left.
        """
        left = self._left(key)
        if key == "memory":
            left = min(left, self._left("memory-swap"))
        if key == "cpus":  # a ceiling above this host's processors is not a request for them
            left = min(left, float(os.cpu_count() or left))
        value = left if default is None else min(default, left)
        if self._beside and _is_summed(key) and not _is_possible(key, value):
            raise NotAllowed(
                f"cannot make another container: {self._have(key)}, {self._ceiling(key)} leaves no more",
                hint=self._hint(key),
            )
        return value

    def _used(self, key: str) -> Any:
        """Return what the notebook's other containers have; inf if one has no limit."""
        return sum(_amount(key, held) for held in self._beside)

    def _above_together(self, key: str, text: str, *, asked: str = "") -> NotAllowed:
        return NotAllowed(
            f"cannot use {asked or key}={text}: {self._have(key)}, together that is above {self._ceiling(key)}",
            hint=f"less, or {self._hint(key)}",
        )

    def _ceiling(self, key: str, value: object = None) -> str:
        return f"the ceiling {key} = {self._texts[key] if value is None else value} of {self._policy.path}"

    def _have(self, key: str) -> str:
        used = self._used(key)
        amount = f"{key} {BY_KEY[key].format(used)}" if math.isfinite(used) else f"no limit of {key}"
        verb = "has" if len(self._beside) == 1 else "have"
        return f"{self._names()} {verb} {amount}"

    def _names(self) -> str:
        return " and ".join(held.name for held in self._beside)

    def _hint(self, key: str) -> str:
        """Return what the user can do to make room."""
        hints = []
        if any(held.is_stopped for held in self._beside):
            hints.append("%container remove removes the notebook's stopped container")
        elif any(held.is_main for held in self._beside) and key != "containers":
            word = "%container" if key == "disk" else "%limits"
            hints.append(f"{word} {key}=... lowers the share of the notebook's own container")
        hints += [f"cellhold rm -f {held.name}" for held in self._beside if held.is_kept][:1]
        return ", or ".join(hints) or "stay within it, or ask the administrator of this machine"


def built_in(key: str) -> Any:
    """Return the value of a limit that is not set."""
    return BY_KEY[key].default if key in BY_KEY else getattr(CellLimits(), KEYS[key].field)


def _is_summed(key: str) -> bool:
    """Return whether a limit is added up over a notebook's containers."""
    return key in BY_KEY and BY_KEY[key].is_summed


def _has_ceiling(key: str) -> bool:
    """Return whether a key is an amount, which can have a ceiling."""
    if key in BY_KEY:
        return BY_KEY[key].is_amount
    return key in KEYS and KEYS[key].kind is Kind.CELL and key != _GUARD


def _texts(policy: Policy) -> dict[str, str]:
    """Return key -> text of the ceilings. Raises InvalidSpec.

    Swap is memory too: if only one of the two has a ceiling, it is the other's as well.
    """
    texts = {key: text for key, text in policy.limits.items() if text != UNLIMITED}
    for key in texts:
        if not _has_ceiling(key):
            raise InvalidSpec(
                f"cannot use the policy {policy.path}: there is no ceiling {key}",
                hint="no container is made until the policy is corrected",
            )
    for key, other in (("memory-swap", "memory"), ("memory", "memory-swap")):
        if other in texts:
            texts.setdefault(key, texts[other])
    return texts


def _amount(key: str, held: Held) -> Any:
    """Return what a container counts for a key; inf for no limit."""
    if (BY_KEY[key].needs_network and not held.has_network) or not (held.is_alive or key == "disk"):
        return 0
    value = BY_KEY[key].value(held.limits)
    if key == "memory-swap" and value is None:
        value = held.limits.memory_bytes
    return math.inf if value is None or value < 0 else value


def _is_possible(key: str, value: Any) -> bool:
    try:
        if math.isfinite(value):
            replace(Limits(), **{BY_KEY[key].name: value})
    except InvalidSpec:
        return False
    return math.isfinite(value)
