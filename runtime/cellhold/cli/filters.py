"""--filter KEY=VALUE, as in Docker.

A key that is repeated matches any of its values (label: all); every key must match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


def add(command: object, keys: Iterable[str]) -> None:
    """Add the flag to a parser."""
    command.add_argument(  # type: ignore[attr-defined]  # argparse has no public name for all that has it
        "-f", "--filter", metavar="KEY=VALUE", action="append", default=[], help=", ".join(f"{key}=" for key in keys)
    )


def parse(texts: Iterable[str], keys: Sequence[str]) -> dict[str, list[str]]:
    """Parse the filters into the values of each key.

    Raises InvalidSpec for an unknown key.
    """
    wanted: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in keys:
            raise InvalidSpec(f"cannot use filter={text}: not {', '.join(f'{known}=' for known in keys[:-1])} or {keys[-1]}=")
        wanted.setdefault(key, []).append(value)
    return wanted


def matches(wanted: Mapping[str, list[str]], fits: Mapping[str, Callable[[str], bool]]) -> bool:
    """Return whether something matches: for each key, whether a value fits."""
    return all((all if key == "label" else any)(map(fits[key], values)) for key, values in wanted.items())


def has_label(labels: Mapping[str, str], text: str) -> bool:
    """Return whether the labels match NAME or NAME=VALUE."""
    name, equals, value = text.partition("=")
    return name in labels and (not equals or labels[name] == value)
