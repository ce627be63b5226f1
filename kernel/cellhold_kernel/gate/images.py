"""Which image a name means to a notebook, and what it may call those that it makes.

A notebook's own images have names that nothing else has (reference.notebook_name), so that a cell
can take no name from anybody, one that is to be pulled some day included. To the notebook itself a
name without a registry means its own image first; to all others it means what it always does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cellhold import image
from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.image.reference import Reference, new_name, notebook_name, notebook_of
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHOWN = 200
_ID = re.compile(r"(?:sha256:|sha512:)?[0-9a-f]+")  # or the beginning of one (image/stored.py)


@dataclass(frozen=True, kw_only=True)
class Names:
    """What images are called here, in full. own: those of the notebook's own; others: all that are no notebook's.

    withheld: ids and digests of images that the notebook has by no name: those of another one, and
    those that were made here and have none, of which nobody can tell whose they are.
    """

    own: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Images:
    """Those that a notebook may have.

    owner: its id, "" for whoever has the command line, whose names are everybody's. allowed: the policy's patterns,
    None for all; path: the policy's file.
    """

    owner: str = ""
    names: Names = field(default_factory=Names)
    allowed: tuple[str, ...] | None = None
    path: Path = Path()

    def resolve(self, text: str) -> str:
        """The name that `text` means here. Raises NotAllowed for what the policy's list has not, and for another notebook's."""
        self._check(text)
        if not image.is_oci(text):
            return text
        own = self._own(text) if self.owner else None
        if own is not None and own in self.names.own:
            return own
        if _notebook(text) not in (None, self.owner):
            raise NotAllowed(f"cannot use image={escape(text, most=_SHOWN)}: it is another notebook's")
        if self.owner and self._is_withheld(text):
            raise NotAllowed(
                f"cannot use image={escape(text, most=_SHOWN)}: that is the id of an image which has no name for this notebook",
                hint="cellhold tag gives it one",
            )
        return text

    def _is_withheld(self, text: str) -> bool:
        """Whether it reads as the id of such an image, or its digest, or as how one begins."""
        return bool(_ID.fullmatch(text)) and any(word.startswith(text) for word in self.names.withheld)

    def claim(self, text: str, *, aim: str) -> str:
        """The name for an image that the notebook makes and calls `text`. aim: what for, as in "cannot AIM: ...".

        Raises InvalidSpec for what is no name, NotAllowed for one that an image has which it did not make.
        """
        self._check(text)
        full = new_name(text, aim=aim)
        if not self.owner:
            return full
        if full in self.names.others:
            raise NotAllowed(f"cannot {aim}: an image of that name is here, and this notebook did not make it", hint="choose another name")
        return notebook_name(self.owner, text)

    def _check(self, text: str) -> None:
        policy = Policy(path=self.path, images=self.allowed)
        if self.allowed is not None and not policy.names_image(text):
            raise policy.above(f"image={escape(text, most=_SHOWN)}", "images", self.allowed)

    def _own(self, text: str) -> str | None:
        try:
            return notebook_name(self.owner, text) if "@" not in text else None
        except InvalidSpec:  # it says which registry, or it is an id
            return None

    def write(self) -> dict[str, Any]:
        """As JSON has it, for a process that builds."""
        return {
            "owner": self.owner,
            "own": sorted(self.names.own),
            "withheld": sorted(self.names.withheld),
            "allowed": self.allowed,
            "path": str(self.path),
        }

    @classmethod
    def read(cls, text: Mapping[str, Any]) -> Self:
        """What write() has written."""
        allowed = None if text["allowed"] is None else tuple(text["allowed"])
        names = Names(own=frozenset(text["own"]), withheld=frozenset(text["withheld"]))
        return cls(owner=text["owner"], names=names, allowed=allowed, path=Path(text["path"]))


def _notebook(text: str) -> str | None:
    try:
        return notebook_of(Reference.parse(text))
    except InvalidSpec:
        return None
