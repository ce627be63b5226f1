"""Run a small program as root of a user namespace with all ids of the user.

For what only the owners of files may do, without root.
"""

from __future__ import annotations

from cellhold import helper
from cellhold.store import subids

_LONGEST_REASON = 300


def run(code: str) -> bytes:
    """Run Python `code`, which finds only this package; return its standard output.

    Raises PermissionError.
    """
    given = subids.delegation()
    if given.helpers is None:
        raise PermissionError(1, "there are no subordinate ids")
    enter = f"from cellhold.init.rootless import enter; enter({given.uids!r}, {given.gids!r}, {given.helpers!r}); "
    ran = helper.run(helper.python_code(enter + code, has_site=False), env={})
    if ran.returncode:
        reason = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2][:_LONGEST_REASON]
        raise PermissionError(1, f"not possible in a user namespace either: {reason}")
    return ran.stdout
