"""What this host can and cannot do, in sentences, with the remedy.

FEATURES is the one table of it: `cellhold doctor` prints it, the tests' `requires(...)`
skip by it, and errors point to it. Each feature is really tried where that is possible,
in a child process: unshare(2) has no place in a caller that has threads.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import cellhold
from cellhold.doctor import confinement, limits, namespaces, networks, privileges, roots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold.doctor.feature import Feature, Finding

FEATURES: dict[str, Feature] = {
    feature.name: feature for table in (privileges, namespaces, roots, confinement, limits, networks) for feature in table.FEATURES
}


@cache
def look(name: str) -> Finding:
    """Return what was found about one feature; it is tried once per process."""
    return FEATURES[name].examine()


def examine() -> list[Finding]:
    """Examine every feature of the table, in its order."""
    return [look(name) for name in FEATURES]


def can_run(findings: Sequence[Finding] | None = None) -> bool:
    """Return whether a container can run here at all."""
    return all(finding.ok for finding in findings or examine() if finding.needed)


def report(findings: Sequence[Finding] | None = None) -> str:
    """Return the text that `cellhold doctor` prints."""
    findings = findings or examine()
    missing = [finding for finding in findings if finding.needed and not finding.ok]
    host = os.uname()
    lines = [f"Cellhold {cellhold.__version__} on Linux {host.release} ({host.machine})", _verdict(missing), ""]
    for title, chosen in (
        ("What is missing for it", missing),
        ("This host can", [finding for finding in findings if finding.ok]),
        ("This host cannot, and containers run without it", [f for f in findings if not f.ok and not f.needed]),
    ):
        if chosen:
            lines += [f"{title}:", *(line for finding in chosen for line in _lines(finding)), ""]
    return "\n".join(lines)


def _verdict(missing: list[Finding]) -> str:
    if not missing:
        return "Containers can run here."
    return f"No container can run here: {len(missing)} of the things that one is made of {'is' if len(missing) == 1 else 'are'} missing."


def _lines(finding: Finding) -> list[str]:
    text = [f"  {'+' if finding.ok else '-'} {finding.name:<18} {finding.sentence}"]
    if finding.remedy and not finding.ok:
        text.append(f"{'':<23}remedy: {finding.remedy}")
    return text
