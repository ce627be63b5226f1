"""The variables of an image while it is built: "Env" of its config.

Each ENV finds its names without a search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable


class Variables(list[str]):
    """NAME=VALUE, each name once, in the order in which they came.

    by_name: their values. It is never changed: changed() returns another one.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.by_name: dict[str, str] = dict(text.partition("=")[::2] for text in texts)
        super().__init__(f"{name}={value}" for name, value in self.by_name.items())

    @classmethod
    def from_config(cls, texts: Iterable[str] | None) -> Self:
        """Return the variables of a config, or `texts` itself if it is such a list."""
        return texts if isinstance(texts, cls) else cls(texts or ())

    def changed(self, pairs: Iterable[tuple[str, str]]) -> Self:
        """Return a copy with these names and values.

        The others are copied, and not looked at one by one.
        """
        made = type(self)()
        made.extend(self)
        made.by_name = {**self.by_name}
        places: dict[str, int] = {}
        for name, value in pairs:
            if name not in made.by_name:
                made.append("")
                places[name] = len(made.by_name)
            elif name not in places:
                places = {known: number for number, known in enumerate(made.by_name)}
            made[places[name]] = f"{name}={value}"
            made.by_name[name] = value
        return made
