"""The packages that a notebook may have.

Names within the policy, from the policy's index, with a bound.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from cellhold_kernel.settings.requirements import PackageSet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold_kernel.gate.request import ContainerRequest
    from cellhold_kernel.settings.policy import Policy


def grant(request: ContainerRequest, values: Mapping[str, Any], policy: Policy) -> PackageSet | None:
    """Return the set, None where no packages are named.

    What a package needs comes with it: the policy's list is of what may be asked for.
    values: of the settings. Raises NotAllowed for a name that the policy does not list.
    """
    wanted = values.get("packages", ())
    if not wanted:
        return None
    for one in wanted:
        if policy.packages is not None and not any(fnmatchcase(one.name, pattern) for pattern in policy.packages):
            raise policy.above(f"packages={one.name}", "packages", policy.packages)
    return PackageSet(
        wanted=wanted,
        exclude_newer=values.get("exclude-newer"),
        lock=request.lock,
        index=policy.packages_index,
        most_bytes=policy.packages_bytes,
        owner=request.owner if request.is_file else "",
        is_upgrade=request.is_upgrade,
    )
