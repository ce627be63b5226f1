"""The table of magics: which word of a cell belongs to which module.

The module of a line magic is a LineMagic, that of a cell magic a CellMagic; it is
imported when its word is first used. A new magic is a module and a row here.
"""

from __future__ import annotations

import re
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from cellhold_kernel.engine.base import Feature, require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.files.hand_out import Report
    from cellhold_kernel.gate.granted import GrantedKeep
    from cellhold_kernel.jobs.job import Job


class LineMagic(Protocol):
    """A line at the top of a cell: `%limits`, `%limits key=value ...`."""

    def mime_bundle(self, session: Session) -> dict[str, str]:
        """Return what the magic without words shows. Raises CellholdError."""

    def change(self, session: Session, texts: Mapping[str, str]) -> str:
        """Perform the words of the line and return a message for the user.

        %container has no `change`: its words make a fresh container. Raises
        CellholdError.
        """


class CellMagic(Protocol):
    """A cell that is a job for another process."""

    def begin(self, session: Session, code: str) -> tuple[Job, str] | None:
        """Start the job; return it and the code for the cell kernel.

        Returns None if it is not such a cell. Raises CellholdError.
        """


class Action(Enum):
    """The kind of an action of %container, which relay/commands.py performs."""

    CONTROL = "performed by Controls at once, or by the container's exit"
    COMMIT = "a job for another process"
    PANEL = "shown by the panel"
    TEXT = "shown as text"
    KEEP = "done by the hand-out of files"

    @property
    def is_output(self) -> bool:
        """Whether it only shows something."""
        return self in {Action.PANEL, Action.TEXT}


LINES = ("container", "limits", "network")  # in the order of their outputs
CELLS = {"dockerfile": Feature.BUILD, "run": Feature.RUN}  # and what the engine must be able to do
ACTIONS: dict[str, Action] = {
    **dict.fromkeys(("start", "pause", "unpause", "stop", "kill", "restart", "remove"), Action.CONTROL),
    "commit": Action.COMMIT,
    **dict.fromkeys(("panel", "footer"), Action.PANEL),
    **dict.fromkeys(("usage", "layers", "trace"), Action.TEXT),
}
_PIP = re.compile(r"\A(?:\s*(?:#.*)?\n)*%pip(?![\w.])")
WORDS = {"keep": Action.KEEP, "files": Action.TEXT}  # lines that say words: each is an action by its own name
CONTAINER_MARK = b"%container"
MARKS = (
    b"%pip",
    *(f"%{name}".encode() for name in (*LINES, *WORDS)),
    *(f"%%{name}".encode() for name in CELLS),
)  # a cell without any has no magic


def find_action(word: str) -> Action:
    """Return what a word of %container is, or the name of a line that says words."""
    return WORDS[word] if word in WORDS else ACTIONS[word]


def line_magic(name: str) -> LineMagic:
    """Return the magic with a name of LINES."""
    module: Any = import_module(f"cellhold_kernel.magics.{name}")
    magic: LineMagic = module
    return magic


def summary(session: Session) -> str:
    """Return the line that a cell prints when its container is ready."""
    module: Any = import_module("cellhold_kernel.magics.container")
    text: str = module.summary(session)
    return text


def show(session: Session, words: Sequence[str]) -> dict[str, str]:
    """Return what an Action.TEXT of %container shows. Raises CellholdError."""
    module: Any = import_module("cellhold_kernel.magics.showing")
    bundle: dict[str, str] = module.mime_bundle(session, words)
    return bundle


def begin_job(session: Session, code: str) -> tuple[Job, str] | None:
    """Start a cell's job if it begins with a word of CELLS, as CellMagic.begin does."""
    if _PIP.search(code):
        pip: Any = import_module("cellhold_kernel.magics.pip")
        begun: tuple[Job, str] | None = pip.begin(session, code)
        return begun
    name = code.split(maxsplit=1)[0].removeprefix("%%") if code.lstrip().startswith("%%") else ""
    if name not in CELLS:
        return None
    require(CELLS[name], session.missing, f"perform %%{name}")
    module: Any = import_module(f"cellhold_kernel.magics.{name}")
    magic: CellMagic = module
    return magic.begin(session, code)


def keep(session: Session, words: Sequence[str]) -> GrantedKeep:
    """The files that `%keep` may write. Raises CellholdError."""
    module: Any = import_module("cellhold_kernel.magics.files")
    granted: GrantedKeep = module.allowed(session, words)
    return granted


def kept(report: Report) -> str:
    """What came of `%keep`."""
    module: Any = import_module("cellhold_kernel.magics.files")
    text: str = module.sentence(report)
    return text
