"""`%container usage`, `layers` and `trace`: what the panel shows, for those who have no browser."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from cellhold.container import trace
from cellhold.errors import InvalidSpec, NotAllowed
from cellhold_kernel.magics import limits
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.widgets import layer_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.engine.session import Session


def mime_bundle(session: Session, action: Sequence[str]) -> dict[str, str]:
    """What the action shows, as a MIME bundle. Raises NotAllowed where there is no container, InvalidSpec for more words."""
    word, *more = action
    if more:
        raise InvalidSpec(f"cannot use {escape(more[0], most=40)}: %container {word} takes no more words")
    if word == "usage":
        return limits.mime_bundle(session)
    kernel = session.current or session.stopped
    if kernel is None:
        raise NotAllowed(f"cannot show the {word} of the container: there is none")
    return _text(trace.format_trace(kernel.box.timings) if word == "trace" else layer_stack.text(kernel))


def _text(text: str) -> dict[str, str]:
    return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}
