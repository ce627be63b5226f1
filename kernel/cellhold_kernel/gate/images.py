"""Which image a name means to a notebook, and how it may name those that it makes.

A notebook's own images have names that nothing else has (reference.notebook_name), so
that a cell cannot take a name from anybody, not even one that is pulled later. To the
notebook itself a name without a registry means its own image first; to all others it
means what it always does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.image.reference import Reference, new_name, notebook_name, notebook_of
from cellhold.spec.image_names import is_oci
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHOWN = 200
_ID = re.compile(r"(?:sha256:|sha512:)?[0-9a-f]+")  # or the beginning of one (image/stored.py)


@dataclass(frozen=True, kw_only=True)
class Names:
    """The full names of the images on this machine.

    own: of the notebook's own images. others: of those that belong to no notebook.
    withheld: ids and digests of images that the notebook has no name for: another
    notebook's, and images that were made here and have no name, whose owner is unknown.
    """

    own: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images that a notebook may use.

    owner: its id, "" for the command line, whose names belong to everybody. allowed:
    the policy's patterns, None for all. path: the policy's file.
    """

    owner: str = ""
    names: Names = field(default_factory=Names)
    allowed: tuple[str, ...] | None = None
    path: Path = Path()

    def resolve(self, text: str) -> str:
        """Return the name that `text` means here.

        Raises NotAllowed for an image that the policy does not list, or another
        notebook's.
        """
        self._check(text)
        if not is_oci(text):
            return text
        own = self._own(text) if self.owner else None
        if own is not None and own in self.names.own:
            return own
        if _notebook(text) not in (None, self.owner):
            raise NotAllowed(f"cannot use image={escape(text, most=_SHOWN)}: it is another notebook's")
        if self.owner and self._is_withheld(text):
            raise NotAllowed(
                f"cannot use image={escape(text, most=_SHOWN)}: the image with that id has no name for this notebook",
                hint="cellhold tag adds one",
            )
        return text

    def _is_withheld(self, text: str) -> bool:
        """Return whether it is the id or digest of a withheld image, or a prefix."""
        return bool(_ID.fullmatch(text)) and any(word.startswith(text) for word in self.names.withheld)

    def claim(self, text: str, *, aim: str) -> str:
        """Return the full name of an image that the notebook makes and calls `text`.

        aim: for the error, as in "cannot AIM: ...". Raises InvalidSpec for an invalid
        name, NotAllowed if an image that the notebook did not make has it.
        """
        self._check(text)
        full = new_name(text, aim=aim)
        if not self.owner:
            return full
        if full in self.names.others:
            raise NotAllowed(f"cannot {aim}: an image of that name exists, and this notebook did not make it", hint="choose another name")
        return notebook_name(self.owner, text)

    def _check(self, text: str) -> None:
        policy = Policy(path=self.path, images=self.allowed)
        if self.allowed is not None and not policy.names_image(text):
            raise policy.above(f"image={escape(text, most=_SHOWN)}", "images", self.allowed)

    def _own(self, text: str) -> str | None:
        try:
            return notebook_name(self.owner, text) if "@" not in text else None
        except InvalidSpec:  # it names a registry, or it is an id
            return None

    def write(self) -> dict[str, Any]:
        """Return the fields as JSON values, for a process that builds."""
        return {
            "owner": self.owner,
            "own": sorted(self.names.own),
            "withheld": sorted(self.names.withheld),
            "allowed": self.allowed,
            "path": str(self.path),
        }

    @classmethod
    def read(cls, text: Mapping[str, Any]) -> Self:
        """Read what write() returned."""
        allowed = None if text["allowed"] is None else tuple(text["allowed"])
        names = Names(own=frozenset(text["own"]), withheld=frozenset(text["withheld"]))
        return cls(owner=text["owner"], names=names, allowed=allowed, path=Path(text["path"]))


def _notebook(text: str) -> str | None:
    try:
        return notebook_of(Reference.parse(text))
    except InvalidSpec:
        return None
