"""Where a notebook's spec comes from, and the words it is written in.

Weakest first: built-in < kernelspec metadata < a `%container` line. Each source is a mapping key -> text, as a person wrote it;
`Settings.over` lays one over another and remembers who said what, `Settings.spec` turns the result into a Spec. The same keys are
the flags of `cellhold kernel install`. A further source (the machine's policy, the notebook's own metadata) is one more `over`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold import quantity
from cellhold.errors import InvalidSpec
from cellhold.spec import NETWORKS, STORAGES, Limits, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

METADATA = "cellhold"  # our key in a kernelspec's metadata
UNLIMITED = "none"
_SHOWN = 64


class Key(NamedTuple):
    """One word of the configuration: the field it fills, how its text is read, and what it means, for help texts."""

    field: str
    read: Callable[[str, str], Any]  # text, key -> value; raises InvalidSpec
    meaning: str
    is_limit: bool = True


def _size(text: str, key: str) -> int:
    return quantity.parse_size(text, key=key)


def _cpus(text: str, key: str) -> float:
    return quantity.parse_cpus(text, key=key)


def _count(text: str, key: str) -> int:
    return quantity.parse_count(text, key=key)


def _seconds(text: str, key: str) -> float:
    return quantity.parse_seconds(text, key=key)


def _text(text: str, _key: str) -> str:
    return text


def _image(text: str, key: str) -> str:
    if not text.strip() or "\0" in text:
        raise InvalidSpec(f"cannot use {key}={text!r}: not the name of an image", hint="image=host, or a directory: image=/srv/rootfs")
    return text


KEYS: dict[str, Key] = {
    "image": Key("image", _image, "what to run in: host (this machine's files, read-only) or a directory", is_limit=False),
    "memory": Key("memory_bytes", _size, "memory, page cache included: 512m, 2g"),
    "memory-swap": Key("memory_swap_bytes", _size, "memory and swap together: 1g"),
    "cpus": Key("cpus", _cpus, "processors' worth of time: 0.5, 2"),
    "cpuset": Key("cpuset", _text, "the processors it may run on: 0-1"),
    "pids": Key("pids", _count, "processes and threads: 128"),
    "disk": Key("disk_bytes", _size, "what it may write to its own layer: 1g"),
    "time": Key("seconds", _seconds, "wall time of the container: 30s, 1h"),
    "network": Key("network", _text, f"its network: {', '.join(NETWORKS)}", is_limit=False),
    "storage": Key("storage", _text, f"where its own layer is kept: {', '.join(STORAGES)}", is_limit=False),
    "hostname": Key("hostname", _text, "its host name", is_limit=False),
}


class Said(NamedTuple):
    """What somebody wrote for a key, and where."""

    text: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was asked for, key by key, not yet understood: a wrong value is told when the spec is made, and can be overridden."""

    said: Mapping[str, Said] = field(default_factory=lambda: MappingProxyType({}))

    def over(self, source: str, texts: Mapping[str, str]) -> Settings:
        """These settings with `texts` laid over them; raises InvalidSpec for a key that does not exist."""
        for key in texts:
            if key not in KEYS:
                raise unknown(key)
        return replace(self, said=MappingProxyType({**self.said, **{key: Said(text, source) for key, text in texts.items()}}))

    def spec(self, base: Spec | None = None) -> Spec:
        """The spec they make, over `base`; raises InvalidSpec with key, value and remedy."""
        outside: dict[str, Any] = {}
        limits: dict[str, Any] = {}
        for key, (text, source) in self.said.items():
            word = KEYS[key]
            try:
                value = None if word.is_limit and text == UNLIMITED else word.read(text, key)
                _alone(word, value)
            except InvalidSpec as error:
                raise InvalidSpec(_at(str(error), source), hint=error.hint) from None
            (limits if word.is_limit else outside)[word.field] = value
        made = replace(base or Spec(), **outside)
        return made.with_limits(**limits)

    def texts(self) -> dict[str, str]:
        """Key -> text, as they go into a kernelspec."""
        return {key: said.text for key, said in self.said.items()}


def _alone(word: Key, value: Any) -> None:
    """Let the values check themselves one at a time, so that the error can say who wrote this one (swap is checked with memory)."""
    if word.field == "memory_swap_bytes":
        return
    if word.is_limit:
        Limits(**{word.field: value})
    else:
        Spec(**{word.field: value})


def _at(sentence: str, source: str) -> str:
    return f"{sentence} (in {source})" if source else sentence


def unknown(key: str) -> InvalidSpec:
    """The error for a key that does not exist, with the nearest that does."""
    from difflib import get_close_matches  # noqa: PLC0415  # 5 ms to import, and needed once in a blue moon

    near = get_close_matches(key, KEYS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return InvalidSpec(f"cannot use {key[:_SHOWN]}: there is no such key", hint=f"{hint}The keys are {', '.join(KEYS)}")


def of_kernelspec(directory: Path) -> Settings:
    """What the kernelspec in `directory` asks for in `metadata.cellhold`; raises InvalidSpec, or OSError where there is no kernel.json."""
    path = directory / "kernel.json"
    try:
        asked = json.loads(path.read_text()).get("metadata", {}).get(METADATA, {})
        texts = {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in asked.items()}
    except (ValueError, AttributeError) as error:
        raise InvalidSpec(f"cannot read kernelspec {path}: {error}", hint="write it again with: cellhold kernel install") from error
    return Settings().over(str(path), texts)
