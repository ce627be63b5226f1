"""cellhold doctor: what this host can and cannot do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cellhold.doctor import can_run, examine, report

if TYPE_CHECKING:
    import argparse


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("doctor", help="report what this host can and cannot do, and what to change")
    command.set_defaults(run=doctor)


def doctor(_arguments: argparse.Namespace) -> int:
    """Print the findings; return 0 if a container can run here, else 1."""
    findings = examine()
    sys.stdout.write(report(findings))
    return 0 if can_run(findings) else 1
