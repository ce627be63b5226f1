"""Remove what a container wrote.

Without root some of it belongs to subordinate ids of the user: only root of a user
namespace with the same ids may remove that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.store import subids, tree, user_namespace

if TYPE_CHECKING:
    from pathlib import Path


def remove(path: Path) -> None:
    """Remove a tree; if that is not permitted, again with all ids of the user.

    Raises OSError.
    """
    try:
        tree.remove(path)
    except PermissionError:
        if not subids.is_rootless() or subids.delegation().helpers is None:
            raise
        user_namespace.run(f"from pathlib import Path; from cellhold.store import tree; tree.remove(Path({str(path)!r}))")
