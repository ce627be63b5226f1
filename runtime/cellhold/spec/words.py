"""Text in which somebody else's words may stand (a container's, an image's, a registry's), fit for a terminal or a notebook."""

from __future__ import annotations

from typing import Any

LINES = "\n\t"  # what text of several lines of our own has, besides letters


def printable(text: str, *, keep: str = "") -> str:
    r"""The text with all that is not printable spelt out, as \x1b, \n or \u202e, but for what is in `keep`.

    So a terminal obeys nothing of it, lines stay lines, no letters change places, and it can be encoded: what stood for
    bytes of a file name (PEP 383) is spelt out as well.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else repr(one)[1:-1] for one in text)


def clean(value: Any) -> Any:
    """A value as JSON has it, with each text in it printable, of several lines."""
    if isinstance(value, str):
        return printable(value, keep=LINES)
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value
