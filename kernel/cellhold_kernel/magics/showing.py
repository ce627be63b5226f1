"""`%container usage`, `layers`, `trace`: what the panel shows, without a browser."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec, NotAllowed
from cellhold_kernel.engine.base import Feature, Topic, require
from cellhold_kernel.magics import files, limits
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.widgets import layer_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.engine.session import Session


def mime_bundle(session: Session, action: Sequence[str]) -> dict[str, str]:
    """Return what an action shows. Raises NotAllowed, NotSupported, InvalidSpec."""
    word, *more = action
    if more:
        raise InvalidSpec(f"cannot use {escape(more[0], most=40)}: %container {word} takes no more words")
    if word == "files":
        return files.mime_bundle(session)
    if word == "usage":
        return limits.mime_bundle(session)
    kernel = session.current or session.stopped
    if kernel is None:
        raise NotAllowed(f"cannot show the {word} of the container: there is none")
    if word == "trace":
        return _text(kernel.sandbox.inspect(Topic.TRACE)["text"])
    require(Feature.LAYERS, session.missing, "show the layers of the container")
    return _text(layer_stack.text(kernel))


def _text(text: str) -> dict[str, str]:
    return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}
