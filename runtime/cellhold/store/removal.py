"""Remove what a container wrote.

Without root some of it belongs to subordinate ids of the user: only root of a user namespace with the same ids may remove that, so a
small program becomes one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cellhold.store import subids, tree

_PACKAGE_PARENT = Path(__file__).parents[2]
_LONGEST_REASON = 300


def remove(path: Path) -> None:
    """tree.remove(), and where that is not permitted, again with all ids of the user. Raises OSError."""
    try:
        tree.remove(path)
    except PermissionError:
        if not subids.is_rootless():
            raise
        given = subids.delegation()
        if given.helpers is None:
            raise
        _remove_as_root_inside(path, given)


def _remove_as_root_inside(path: Path, given: subids.Delegation) -> None:
    code = (
        f"import sys; sys.path.append({str(_PACKAGE_PARENT)!r}); from pathlib import Path; from cellhold.init.rootless import enter; "
        f"enter({given.uids!r}, {given.gids!r}, {given.helpers!r}); from cellhold.store import tree; tree.remove(Path({str(path)!r}))"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    ran = subprocess.run(  # a session of its own: a signal to all of a notebook's processes does not stop it half-way
        command, env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, start_new_session=True
    )
    if ran.returncode:
        reason = ran.stderr.strip().rpartition("\n")[2][:_LONGEST_REASON]
        raise PermissionError(1, f"not removed in a user namespace either: {reason}", str(path))
