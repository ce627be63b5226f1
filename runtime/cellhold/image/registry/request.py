"""A request as a value: what is asked, and which answers are ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Body = Callable[[], Iterable[bytes]]  # called anew for each sending


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request to a registry.

    aim: what for, as in "cannot AIM: ...".
    url: absolute, or relative to the endpoint, as a Location header may be.
    scopes: what a token is requested for.
    expected: the statuses that are answers.
    is_repeatable: false if a second try means something else; then the caller begins
        anew after an Again.
    """

    method: str
    url: str
    aim: str
    scopes: tuple[str, ...] = ()
    expected: tuple[int, ...] = (200,)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    is_repeatable: bool = True
