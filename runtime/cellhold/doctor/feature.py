"""A feature of a host: its use, how to detect it, and what to do if it is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class MissingError(Exception):
    """The host lacks the feature; the text is the reason, as the end of a sentence."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found: one sentence.

    `remedy` says what to do if `ok` is false; `needed`: no container runs without it.
    """

    name: str
    ok: bool
    needed: bool
    sentence: str
    remedy: str

    def advice(self) -> str:
        """The sentence and, if something is missing, the remedy.

        A skipped test has it as its reason.
        """
        return self.sentence if self.ok or not self.remedy else f"{self.sentence}; {self.remedy}"


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One row of the table.

    can: what it lets a container do, as the end of "this host can ...". attempt:
    returns a detail for people ("" = none), or raises MissingError.
    """

    name: str
    can: str
    attempt: Callable[[], str]
    remedy: str = ""
    needed: bool = False

    def examine(self) -> Finding:
        """Try the feature. Never raises.

        A host that refuses even the question is a host without the feature.
        """
        try:
            detail = self.attempt()
        except (MissingError, OSError) as error:
            return self._finding(ok=False, sentence=f"cannot {self.can}: {error}")
        return self._finding(ok=True, sentence=f"can {self.can}{f' ({detail})' if detail else ''}")

    def _finding(self, *, ok: bool, sentence: str) -> Finding:
        return Finding(name=self.name, ok=ok, needed=self.needed, sentence=sentence, remedy=self.remedy)
