"""What is needed to check a notebook's ceilings again when its container is made."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cellhold_kernel.gate.ceilings import Ceilings
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.settings.settings import KEYS, Kind, Said, Trust, understood

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellhold.spec.limits import Limits
    from cellhold_kernel.gate.request import Held


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a container takes of its notebook's sum.

    Made by the gate, and passed to the code that makes the container (admission.py),
    possibly in another process.

    ceilings: key -> text, of the policy in the file `path`. containers: their largest
    number. said: key -> (text, source) of what is set for the container. leave_out,
    inherited: as in Ceilings.apply(). main: the id of the notebook's own container, ""
    = none.
    """

    path: str
    ceilings: Mapping[str, str]
    containers: int | None
    said: Mapping[str, Sequence[str]]
    leave_out: Sequence[str] = ()
    inherited: Sequence[str] = ()
    main: str = ""
    _policy: Policy = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the policy of these ceilings."""
        policy = Policy(path=Path(self.path), limits=self.ceilings, containers=self.containers)
        object.__setattr__(self, "_policy", policy)

    @classmethod
    def of(
        cls,
        policy: Policy,
        said: Mapping[str, Said],
        beside: Sequence[Held],
        *,
        leave_out: Sequence[str],
        inherited: Sequence[str],
    ) -> Self | None:
        """Return a granted container's claim; None if the policy counts nothing."""
        if not (policy.limits or policy.containers):
            return None
        return cls(
            path=str(policy.path),
            ceilings=dict(policy.limits),
            containers=policy.containers,
            said={key: (word.text, word.source) for key, word in said.items() if KEYS[key].kind in (Kind.LIMIT, Kind.CELL)},
            leave_out=sorted(leave_out),
            inherited=sorted(inherited),
            main=next((held.id for held in beside if held.is_main), ""),
        )

    def within(self, limits: Limits, beside: Sequence[Held]) -> Limits:
        """Return the limits that the container gets beside these others.

        Raises NotAllowed, as authorize() does, if they leave no room, InvalidSpec for
        ceilings that are not valid.
        """
        ceilings = Ceilings(self._policy, beside)
        ceilings.check_number()
        values = {key: understood(key, text, source) for key, (text, source) in self.said.items()}
        said = {key: Said(text, source, Trust.CELL) for key, (text, source) in self.said.items()}
        ceilings.apply(values, said, leave_out=self.leave_out, inherited=self.inherited)
        names = {key for key in ceilings.keys() - set(self.leave_out) if KEYS[key].kind is Kind.LIMIT and key in values}
        return replace(limits, **{KEYS[key].field: values[key] for key in names})

    def write(self) -> dict[str, Any]:
        """Return the fields as JSON values, for another process."""
        return {name: value for name, value in vars(self).items() if name != "_policy"}
