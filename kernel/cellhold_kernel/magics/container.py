"""`%container` alone shows the present container; `%container key=value ...` replaces it by a fresh one.

Only at the top of a cell: what follows runs in the container that the lines ask for. They reach the language in the container as
comments, so that line numbers, history and cell numbers stay what they are.
"""

from __future__ import annotations

import re
import shlex
import tokenize
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, NamedTuple

from cellhold import quantity
from cellhold.errors import CellholdError, InvalidSpec
from cellhold_kernel import config
from cellhold_kernel.tail import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cellhold_kernel.cellkernel import CellKernel
    from cellhold_kernel.session import Session

_LINE = re.compile(r"%container(?![\w.])(.*)")
_QUIET = re.compile(r"\s*(?:#.*)?")
_SHOWN = 64


class Asked(NamedTuple):
    """What a cell's lines ask for. texts: key -> text, empty = show the present container; code: for the cell kernel."""

    texts: dict[str, str]
    code: str


def read(code: str) -> Asked | None:
    """Take a cell's %container lines; None where it has none. Raises InvalidSpec for one that is not understood, or not at the top."""
    lines = code.split("\n")
    texts: dict[str, str] = {}
    top = found = 0
    for number, line in enumerate(lines):
        if match := _LINE.fullmatch(line.rstrip("\r")):
            texts |= assignments(match[1])
            found, top = found + 1, number + 1
        elif not _QUIET.fullmatch(line):
            break
    rest = lines[top:]
    if not _is_other_magic(rest) and _has_line("\n".join(rest)):
        raise InvalidSpec(
            "cannot use %container here: a %container line has to be at the top of its cell",
            hint="move it up, or into a cell of its own",
        )
    if not found:
        return None
    if _is_other_magic(rest):  # %%time has to come first in what the cell kernel gets
        return Asked(texts, "\n".join(rest))
    return Asked(texts, "\n".join([f"# {line}" if _LINE.fullmatch(line.rstrip("\r")) else line for line in lines[:top]] + rest))


def assignments(line: str) -> dict[str, str]:
    """The key=value words of a line, quoted as in a shell; raises InvalidSpec."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise InvalidSpec(f"cannot read %container{plain(line, most=_SHOWN)}: {error}", hint="close the quotation mark") from error
    texts = {}
    for word in words:
        key, equals, text = word.removeprefix("--").partition("=")
        if not equals:
            raise InvalidSpec(f"cannot use {plain(word, most=_SHOWN)}: not a key=value", hint="write %container memory=512m cpus=1.5")
        if key not in config.KEYS:
            raise config.unknown(key)
        texts[key] = text
    return texts


def _is_other_magic(rest: list[str]) -> bool:
    first = next((line for line in rest if line.strip()), "")
    return first.startswith("%%")


def _has_line(code: str) -> bool:
    """Whether one of the lines is %container, and not the inside of a text that goes over several lines."""
    marked = [number for number, line in enumerate(code.split("\n"), start=1) if _LINE.fullmatch(line.rstrip("\r"))]
    if not marked:
        return False
    inside: set[int] = set()
    try:
        for token in tokenize.generate_tokens(StringIO(code).readline):
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
    except (tokenize.TokenError, SyntaxError):
        pass  # not Python, or not finished: what was seen until here counts
    return any(number not in inside for number in marked)


def summary(session: Session) -> str:
    """The line that a replacement prints."""
    kernel = session.current
    if kernel is None:
        return "no container runs"
    asked = {"image": "host"} | session.settings.texts()
    said = ", ".join(f"{key} {plain(text)}" for key, text in asked.items())
    after = f"ready after {kernel.ready_after * 1000:.0f} ms" if kernel.ready_after is not None else "starting"
    return f"container {kernel.box.id}: {said} ({after})"


def bundle(session: Session) -> dict[str, str]:
    """The present container as text and as HTML; all of it escaped."""
    rows = list(table(session))
    width = max(len(name) for name, _ in rows)
    text = "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>' for name, value in rows
    )
    return {"text/plain": text, "text/html": f"<table>{cells}</table>"}


def table(session: Session) -> Iterable[tuple[str, str]]:
    """What there is to say of the present container: name and value."""
    kernel = session.current
    if kernel is None:
        yield "container", "none runs"
        if session.failure is not None:
            yield "because", plain(str(session.failure))
        yield from missing()
        return
    spec, limits = kernel.spec, kernel.spec.limits
    used = _usage(kernel)
    yield "container", kernel.box.id
    yield "image", plain(spec.image)
    yield "memory", _of(used.get("memory"), quantity.size(limits.memory_bytes) if limits.memory_bytes else None)
    yield "cpus", f"{limits.cpus:g}" if limits.cpus else "no limit"
    if limits.cpuset:
        yield "cpuset", limits.cpuset
    yield "pids", _of(used.get("pids"), str(limits.pids) if limits.pids else None)
    yield "disk", quantity.size(limits.disk_bytes) if limits.disk_bytes else "no limit"
    yield "time", quantity.duration(limits.seconds) if limits.seconds else "no limit"
    yield "network", spec.network
    yield "storage", spec.storage
    if "cpu" in used:
        yield "cpu time used", used["cpu"]
    if kernel.ready_after is not None:
        yield "ready after", f"{kernel.ready_after * 1000:.0f} ms"


def missing() -> Iterable[tuple[str, str]]:
    """What this host lacks for any container at all, as `cellhold doctor` says it: a hosted notebook explains itself that way."""
    from cellhold import doctor  # noqa: PLC0415  # where containers run, nobody asks for it

    for finding in doctor.examine():
        if finding.needed and not finding.ok:
            yield finding.name, plain(finding.advice())


def _of(used: str | None, limit: str | None) -> str:
    return f"{used + ' of ' if used and limit else used + ', ' if used else ''}{limit or 'no limit'}"


def _usage(kernel: CellKernel) -> dict[str, str]:
    try:
        usage = kernel.box.usage()
    except (CellholdError, OSError):  # no cgroup on this host, or it is just going away
        return {}
    found = {
        "memory": quantity.size(usage.memory_bytes) if usage.memory_bytes is not None else None,
        "pids": str(usage.pids) if usage.pids is not None else None,
        "cpu": f"{usage.cpu_seconds:.2f} s" if usage.cpu_seconds is not None else None,
    }
    return {name: text for name, text in found.items() if text is not None}
