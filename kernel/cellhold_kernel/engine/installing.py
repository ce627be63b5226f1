"""More packages for the container that runs, and for those that follow it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError
from cellhold_kernel.engine.base import Feature, require
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.settings.requirements import merge
from cellhold_kernel.settings.settings import Trust, understood

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.gate.granted import GrantedContainer
    from cellhold_kernel.jobs.job import Job
    from cellhold_kernel.settings.requirements import PackageRequirement


def install(session: Session, more: Sequence[PackageRequirement], *, is_upgrade: bool = False) -> Job:
    """Begin to install packages beside those that the notebook has (%pip install).

    Raises CellholdError; nothing has changed then.

    They are there when the job has ended. is_upgrade: what it has may get newer
    versions.
    """
    current = session.current
    if current is None:
        raise CellholdError("cannot install packages: no container runs", hint="%container starts one")
    require(Feature.PACKAGES, session.missing, "install packages")
    rules = session.policy()
    said = session.settings.said.get("packages")
    have = () if said is None else understood("packages", said.text, said.source)
    words = {"packages": ", ".join(one.text for one in merge(have, more))}
    asked = session.quota.container_request(session.sources, session.settings, rules, words, is_upgrade=is_upgrade)
    granted = authorize(asked, Trust.CELL, rules)
    job = session.engine.install(granted, current.sandbox)
    job.on_end = (*job.on_end, partial(_keep_settings, session, granted))
    return job


def _keep_settings(session: Session, granted: GrantedContainer) -> None:
    """Let the containers that follow be as this one is by now."""
    session.settings = granted.settings
