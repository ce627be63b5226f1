"""`%files` shows what differs from the notebook's folder.

`%keep NAME...` and `%keep --all` write what was there before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec, NotAllowed
from cellhold_kernel.engine.base import Feature, require
from cellhold_kernel.files import wording
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import KeepRequest
from cellhold_kernel.magics.table import bundle
from cellhold_kernel.settings.settings import Trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.files.hand_out import Report
    from cellhold_kernel.gate.granted import GrantedKeep

_ALL = "--all"
_USAGE = "%keep NAME..., or %keep --all; %files shows what differs"


def mime_bundle(session: Session) -> dict[str, str]:
    """What differs from the folder, as a table.

    Raises NotAllowed, NotSupported, OSError.
    """
    require(Feature.FILES, session.missing, "show files")
    files = None if session.current is None else session.current.files
    if files is None:
        raise NotAllowed("cannot show files: no container runs that has the notebook's folder, or it is the folder itself (mount=rw)")
    return bundle(wording.rows(files.differences(), is_inside=files.is_inside))


def allowed(session: Session, words: Sequence[str]) -> GrantedKeep:
    """What `%keep` may write. Raises InvalidSpec, NotAllowed, NotSupported."""
    require(Feature.FILES, session.missing, "keep files")
    if not words or (_ALL in words and len(words) > 1):
        raise InvalidSpec("cannot keep files: no name is given", hint=_USAGE)
    asked = KeepRequest(paths=() if words[0] == _ALL else tuple(words))
    return authorize(asked, Trust.CELL, session.policy())


def sentence(report: Report) -> str:
    """What came of it."""
    done = [*report.written, *report.removed]
    parts = [f"in the folder now: {wording.names(done)}"] if done else []
    if (line := wording.line(report)) is not None:
        parts.append(line)
    return "; ".join(parts) or "nothing to keep: what was named does not differ from the folder"
