"""How long to wait for a registry, and how often to ask again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import count
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from cellhold.errors import RegistryFailed

    T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How often and how long to try.

    tries: of one request, and of one blob without progress.
    pause_seconds: before the second try, twice as long each time.
    slow_after_seconds: a body that came slower than slowest_bytes_per_second for that
        long is given up.
    """

    tries: int = 4
    pause_seconds: float = 0.5
    total_seconds: float = 180
    connect_seconds: float = 10
    read_seconds: float = 30
    slowest_bytes_per_second: int = 1024
    slow_after_seconds: float = 30

    def pause(self, number: int) -> float:
        """Return the seconds before try `number` (1: the second).

        They are somewhat random, so that ten processes do not come back at once.
        """
        return self.pause_seconds * 2.0 ** (number - 1) * random.uniform(0.75, 1.25)  # noqa: S311  # nothing secret


class Again(Exception):
    """A failure that may pass: a retry makes sense.

    after_seconds: how long the registry asked to wait.
    """

    def __init__(self, failure: RegistryFailed, *, after_seconds: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.after_seconds = after_seconds


def insist(attempt: Callable[[], T], patience: Patience, stopped: Event) -> T:
    """Attempt until there is no Again, the tries are used up, or it is stopped.

    Then the last failure is raised.
    """
    end = time.monotonic() + patience.total_seconds
    for number in count(1):
        try:
            return attempt()
        except Again as again:
            pause = max(patience.pause(number), again.after_seconds or 0)
            if number >= patience.tries or time.monotonic() + pause > end or stopped.wait(pause):
                raise again.failure from again.__cause__
    raise AssertionError  # count() never ends


def retry_after(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, in either form.

    RFC 9110, 10.2.3. None if it makes no sense.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:  # noqa: PLR2004  # a number of 300 years
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
