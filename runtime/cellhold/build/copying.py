"""COPY and ADD: what they copy, as sources to make layers of.

Archives and texts of the Dockerfile lie in a scratch directory meanwhile.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.build import archives, owners, sources
from cellhold.build.instruction import Heredoc
from cellhold.errors import InvalidSpec
from cellhold.image import layer_ingest, layer_queries
from cellhold.layer.copy import Copies, Directory, Layers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cellhold.build.context import Context
    from cellhold.build.instruction import Instruction
    from cellhold.build.state import State
    from cellhold.layer.copy import Source
    from cellhold.store.home import Home

_URL = re.compile(r"(?:https?|ftp)://|git@|git://")
_OCTAL = re.compile(r"[0-7]{1,4}")
_HEREDOC_MODE = 0o644
_TEXT = "text"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where COPY takes its sources from.

    where: the same in words.
    keeps_owners: the copies keep the owners of the sources, and do not become root's.
    """

    trees: tuple[Path, ...]
    source: Source
    where: str
    is_left_out: Callable[[bytes, bool], bool] = lambda _path, _is_directory: False
    keeps_owners: bool = False


def of_context(context: Context) -> Origin:
    """Return the build's context as an origin."""
    source = context.source() if context.trees else Layers((), seccomp=b"")  # nothing is found in it
    return Origin(trees=context.trees, source=source, where=context.where, is_left_out=context.has_nothing_of)


def of_image(state: State, where: str, home: Home) -> Origin:
    """Return the origin of COPY --from: another stage, or an image."""
    trees = state.trees(home)
    identity = None if state.on_host else " ".join(map(str, state.chain_ids))
    source = Layers(trees, seccomp=layer_ingest.filtered(home), identity=identity)
    return Origin(trees=trees, source=source, where=where, keeps_owners=True)


class Copying:
    """One COPY or ADD, its variables replaced.

    place: a directory for what has to be on disk meanwhile.
    All methods raise InvalidSpec, OSError.
    """

    def __init__(self, instruction: Instruction, origin: Origin, state: State, home: Home, *, place: Path, epoch: int | None) -> None:  # noqa: PLR0913
        self._instruction = instruction
        self._origin = origin
        self._state = state
        self._home = home
        self._place = place
        self._epoch = epoch
        self._trees = state.trees(home)
        self._owner = self._chown()
        self._mode = self._chmod()

    def parts(self) -> list[tuple[Source, Copies]]:
        """Return what makes its layer; more than one part if ADD unpacks archives."""
        found: list[sources.Match] = []
        texts: list[sources.Match] = []
        packed: list[sources.Match] = []
        for word in self._instruction.sources:
            if isinstance(word, Heredoc):
                texts.append(self._written(word, len(texts)))
                continue
            for match in self._matches(word):
                (packed if self._is_archive(match) else found).append(match)
        several = len(found) + len(texts) > 1
        made: list[tuple[Source, Copies]] = []
        if found:
            made.append((self._origin.source, self._copies(found, several=several)))
        if texts:
            made.append((_whole_directory(self._place / "texts"), self._copies(texts, several=several, own=True)))
        made += [self._unpacked(match, number) for number, match in enumerate(packed)]
        return made

    def _matches(self, word: str) -> list[sources.Match]:
        if _URL.match(word):
            raise InvalidSpec(f"cannot copy {word!r}: this version fetches nothing from the network", hint="fetch it, and COPY the file")
        return sources.matches(word, self._origin.trees, is_left_out=self._origin.is_left_out, where=self._origin.where)

    def _is_archive(self, match: sources.Match) -> bool:
        return self._instruction.keyword == "ADD" and not match.is_directory and archives.is_tar(self._origin.trees[0], match.path)

    def _written(self, text: Heredoc, number: int) -> sources.Match:
        below = self._place / "texts" / str(number)
        below.mkdir(parents=True)
        path = below / _TEXT  # never by the name that the Dockerfile gives it, which may lead anywhere
        path.write_text(text.content, encoding="utf-8")
        path.chmod(_HEREDOC_MODE)
        return sources.Match(called=os.fsencode(text.name), path=os.fsencode(f"{number}/{_TEXT}"), is_directory=False)

    def _copies(self, found: list[sources.Match], *, several: bool, own: bool = False) -> Copies:
        destination = self._instruction.destination
        pairs = sources.pairs(found, destination, working_dir=self._state.text("WorkingDir"), trees=self._trees, several=several)
        owner = self._owner or (None if self._origin.keeps_owners and not own else (0, 0))
        return Copies(pairs=tuple(pairs), lowers=self._trees, owner=owner, mode=self._mode, mtime_limit_seconds=self._epoch)

    def _unpacked(self, match: sources.Match, number: int) -> tuple[Source, Copies]:
        seccomp = layer_ingest.filtered(self._home)
        source = archives.Archive(self._origin.trees[0], match.path, self._place / f"archive{number}", seccomp=seccomp)
        destination = posixpath.join("/", self._state.text("WorkingDir"), self._instruction.destination)
        place, missing, _is_directory = layer_queries.spot(self._trees, os.fsencode(destination))
        pair = (b"", b"/".join((*place, *missing)))
        copies = Copies(pairs=(pair,), lowers=self._trees, owner=self._owner, mode=self._mode, mtime_limit_seconds=self._epoch)
        return source, copies

    def _chown(self) -> tuple[int, int] | None:
        text = self._instruction.flag("chown")
        return None if text is None else owners.owner(text, self._trees)

    def _chmod(self) -> int | None:
        text = self._instruction.flag("chmod")
        if text is None:
            return None
        if not _OCTAL.fullmatch(text):
            raise InvalidSpec(f"cannot use --chmod={text[:100]}: not a mode", hint="write it in octal: --chmod=755")
        return int(text, 8)


def _whole_directory(directory: Path) -> Source:
    return Directory(directory, is_left_out=lambda _path: False, may_return=lambda _path: False)
