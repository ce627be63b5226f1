"""--filter KEY=VALUE, as docker has it: of one key given again any value will do (of label, all), of several keys each has to hold."""

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


def parsed(texts: Iterable[str], keys: Sequence[str]) -> dict[str, list[str]]:
    """The values of each key. Raises InvalidSpec for a key that is none of these."""
    wanted: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in keys:
            raise InvalidSpec(f"cannot use filter={text}: not {', '.join(f'{known}=' for known in keys[:-1])} or {keys[-1]}=")
        wanted.setdefault(key, []).append(value)
    return wanted


def holds(wanted: Mapping[str, list[str]], fits: Mapping[str, Callable[[str], bool]]) -> bool:
    """Whether something fits: for each key, whether it fits a value."""
    return all((all if key == "label" else any)(map(fits[key], values)) for key, values in wanted.items())


def has_label(labels: Mapping[str, str], text: str) -> bool:
    """NAME, or NAME=VALUE."""
    name, equals, value = text.partition("=")
    return name in labels and (not equals or labels[name] == value)
