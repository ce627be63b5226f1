"""What an error of the set-up means on a host where no container can run.

The sentence of `cellhold doctor` instead of a step's errno.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import NotSupported, SetupFailed
from cellhold.init.steps import isolation, launch

if TYPE_CHECKING:
    from cellhold.errors import CellholdError

_FIRST_STEPS = frozenset({"launch", launch.CLONE.name, isolation.OFFER_NETWORK.name})  # where a host without user namespaces fails


def explain(error: CellholdError) -> CellholdError:
    """Return `error`, or the reason why this host cannot run any container.

    If the host lacks what every container needs, that is NotSupported in the words of
    `cellhold doctor`.
    """
    if not isinstance(error, SetupFailed) or error.step not in _FIRST_STEPS:
        return error
    from cellhold import doctor  # noqa: PLC0415  # a second of trials, for a command that has failed

    missing = [finding for finding in doctor.examine() if finding.needed and not finding.ok]
    if not missing:
        return error
    first = missing[0]
    rest = f"; `cellhold doctor` lists {len(missing) - 1} more" if len(missing) > 1 else ""
    return NotSupported(f"cannot run containers on this host: it {first.sentence}", hint=f"{first.remedy}{rest}")
