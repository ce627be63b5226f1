"""A small program of ours as root of a user namespace with all ids of the user: what only the owners of files may do, without root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cellhold.store import subids

_PACKAGE_PARENT = Path(__file__).parents[2]
_LONGEST_REASON = 300


def run(code: str) -> bytes:
    """Run Python `code`, which finds this package and nothing else; what it writes to standard output. Raises PermissionError."""
    given = subids.delegation()
    if given.helpers is None:
        raise PermissionError(1, "there are no subordinate ids")
    whole = (
        f"import sys; sys.path.append({str(_PACKAGE_PARENT)!r}); from cellhold.init.rootless import enter; "
        f"enter({given.uids!r}, {given.gids!r}, {given.helpers!r}); {code}"
    )
    ran = subprocess.run(  # a session of its own: a signal to all of a notebook's processes does not stop it half-way
        [sys.executable, "-I", "-S", "-c", whole],
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        start_new_session=True,
    )
    if ran.returncode:
        reason = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2][:_LONGEST_REASON]
        raise PermissionError(1, f"not possible in a user namespace either: {reason}")
    return ran.stdout
