"""What a person reads about files of the notebook's folder.

A line for a cell, a table for `%files`, the end of a sentence.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from cellhold_kernel.files.plan import Why
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellhold_kernel.files.hand_out import Report
    from cellhold_kernel.files.plan import Stay

_NAMES_MOST = 3
_NAME_MOST = 60
_ROWS_MOST = 40


def name(path: bytes) -> str:
    """A path as it is printed."""
    return escape(os.fsdecode(path), most=_NAME_MOST)


def names(paths: Sequence[bytes]) -> str:
    """Some paths: "a.csv, b.csv and 3 more"."""
    some = ", ".join(name(path) for path in paths[:_NAMES_MOST])
    more = len(paths) - _NAMES_MOST
    return f"{some} and {more} more" if more > 0 else some


def line(report: Report) -> str | None:
    """What a cell says about what stays inside; None where there is nothing to say."""
    stays = [stay for stay in report.stays if not stay.is_quiet]
    parts: list[str] = []
    for whys, sentence in _SENTENCES:
        if group := [stay for stay in stays if stay.why in whys]:
            parts.append(sentence(group))
    if report.failure:
        parts.append(f"files stay in the container: {report.failure}")
    if report.is_cut:
        parts.append("there are more files than are looked at; what was not, stays in the container")
    return "; ".join(parts) or None


def lost(stays: Sequence[Stay]) -> str:
    """What is gone with a container, beside its variables.

    " and 2 files of /workspace (a.csv, .git)"; nothing where nothing is.
    """
    if not stays:
        return ""
    count = "a file" if len(stays) == 1 else f"{len(stays)} files"
    return f" and {count} of /workspace ({names([stay.path for stay in stays])})"


def rows(report: Report, *, is_inside: bool) -> list[tuple[str, str]]:
    """What `%files` shows: a path, and what is with it."""
    found = [(name(stay.path), reason(stay)) for stay in report.stays if not stay.is_quiet]
    found += [(name(path), "goes out at the end of the cell") for path in report.removed]
    found += [(name(path), "in the folder, made by this notebook") for path in report.written]
    more = len(found) - _ROWS_MOST
    if more > 0:
        found[_ROWS_MOST:] = [(f"... {more} more", "")]
    if not found:
        found = [("/workspace", "nothing differs from the folder")]
    if is_inside:
        found.append(("mount=ro", "what is written stays in the container; %container mount=new lets new files out"))
    return found


def reason(stay: Stay) -> str:
    """Why something stays, and what helps."""
    return {
        Why.FOREIGN: "was here before: the change stays in the container; %keep writes it",
        Why.FOREIGN_REMOVED: "was here before: it is removed in the container only; %keep removes it",
        Why.NAME: f"stays in the container: such a name is read by {stay.more}",
        Why.KIND: f"stays in the container: {stay.more}",
        Why.BOUND: "stays in the container: too much for one cell; %keep writes it",
        Why.HOST: f"stays in the container: {escape(stay.more)}",
        Why.INSIDE: "stays in the container",
    }[stay.why]


def _foreign(stays: Sequence[Stay]) -> str:
    paths = [stay.path for stay in stays]
    if len(paths) == 1:
        typed = escape(shlex.quote(os.fsdecode(paths[0])), most=_NAME_MOST)
        if stays[0].more:
            return f"{name(paths[0])} was here before: it is removed in the container only"
        verb = "removes it" if stays[0].why is Why.FOREIGN_REMOVED else "writes it"
        return f"{name(paths[0])} was here before: the change stays in the container; %keep {typed} {verb}"
    return f"{names(paths)} were here before: the changes stay in the container; %keep NAME writes one, %keep --all writes all"


def _named(stays: Sequence[Stay]) -> str:
    readers = "; ".join(dict.fromkeys(stay.more for stay in stays[:_NAMES_MOST]))
    return f"{_verb(stays)} in the container: names that programs of the host read ({readers})"


def _kinds(stays: Sequence[Stay]) -> str:
    return (
        f"{_verb(stays)} in the container: {', '.join(dict.fromkeys(stay.more for stay in stays))}, and only files and directories go out"
    )


def _bound(stays: Sequence[Stay]) -> str:
    return f"{_verb(stays)} in the container: more than 1 GiB or 10000 files in one cell; %keep NAME writes it"


def _host(stays: Sequence[Stay]) -> str:
    return f"{_verb(stays)} in the container: {', '.join(dict.fromkeys(escape(stay.more, most=80) for stay in stays[:_NAMES_MOST]))}"


def _verb(stays: Sequence[Stay]) -> str:
    return f"{names([stay.path for stay in stays])} {'stays' if len(stays) == 1 else 'stay'}"


_SENTENCES: tuple[tuple[tuple[Why, ...], Callable[[Sequence[Stay]], str]], ...] = (
    ((Why.FOREIGN, Why.FOREIGN_REMOVED), _foreign),
    ((Why.NAME,), _named),
    ((Why.KIND,), _kinds),
    ((Why.BOUND,), _bound),
    ((Why.HOST,), _host),
)
