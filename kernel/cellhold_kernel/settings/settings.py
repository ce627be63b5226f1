"""Where a notebook's spec comes from, and the words it is written in.

Weakest first: built-in < the machine's policy < kernelspec metadata < the notebook's own metadata < a `%container` line. Each source is
a mapping key -> text, as a person wrote it; `Settings.over` lays one over another and remembers who said what, `Settings.spec` turns the
result into a Spec, within the policy's ceilings. The same keys are the flags of `cellhold kernel install`.

A notebook may come from a stranger, so what it says about itself is trusted less: it cannot have the host's directories (volume=, a
directory as image) unless the policy names them, nor have its folder written to unless a cell says so where everybody sees it.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field, replace
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold.errors import CellholdError, InvalidSpec
from cellhold.linux import hostpath
from cellhold.network import egress, ports
from cellhold.rootfs import volumes
from cellhold.spec import units
from cellhold.spec.fields import BY_KEY
from cellhold.spec.limits import Limits
from cellhold.spec.spec import LOOPBACK, STORAGES, Spec
from cellhold_kernel.protocol import documents
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.notebook import METADATA, Notebook
from cellhold_kernel.settings.policy import PATH
from cellhold_kernel.settings.workspace import TARGET, WAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cellhold.spec.spec import Mount, Port
    from cellhold_kernel.settings.folder import Folder
    from cellhold_kernel.settings.workspace import Workspace

UNLIMITED = "none"
GUARDS = ("warn", "interrupt", "pause")
_SHOWN = 64
_LEAST_MESSAGE = 1 << 20
_KERNEL = re.compile(r"[A-Za-z0-9._-]{1,128}")
LARGEST_KERNELSPEC = 1 << 20  # bytes
_SHOWN_PATH = 300
_LARGEST_NUMBER = 1 << 63  # that any key could take


class Trust(IntEnum):
    """How far a source is trusted: METADATA travels with the notebook, unseen; a CELL is seen and run; HOST is this machine's own."""

    METADATA = 0
    CELL = 1
    HOST = 2


class Kind(IntEnum):
    """What a key is about."""

    SPEC = 0  # a field of Spec
    LIMIT = 1  # a field of Limits; "none" lifts it
    MOUNTS = 2  # more of Spec.mounts; may be said several times in a line
    CELL = 3  # a limit of each cell, which the host kernel keeps (CellLimits); "none" lifts it
    PROGRAM = 4  # what runs in the container


class Guard(NamedTuple):
    """share: of the memory limit, 0 to 1; action: one of GUARDS."""

    share: float
    action: str


class Key(NamedTuple):
    """One word of the configuration: the field it fills, how its text is read, and what it means, for help texts."""

    field: str
    read: Callable[[str, str], Any]  # text, key -> value; raises InvalidSpec
    meaning: str
    kind: Kind = Kind.LIMIT


def _message(text: str, key: str) -> int:
    size = units.parse_size(text, key=key)
    if size < _LEAST_MESSAGE:
        raise InvalidSpec(f"cannot use {key}={text[:_SHOWN]}: a cell's messages need 1 MiB at least", hint=f"{key}=1m")
    return size


def _text(text: str, _key: str) -> str:
    return text


def _way(text: str, key: str) -> str:
    if text not in WAYS:
        raise InvalidSpec(f"cannot use {key}={text}: not a way to show the notebook's folder", hint=f"one of {', '.join(WAYS)}")
    return text


def _volumes(text: str, _key: str) -> tuple[Mount, ...]:
    return tuple(volumes.volume(word) for word in _words(text))


def _tmpfs(text: str, _key: str) -> tuple[Mount, ...]:
    return tuple(volumes.tmpfs(word) for word in _words(text))


def _ports(text: str, key: str) -> tuple[Port, ...]:
    found = tuple(port for word in _words(text) for port in ports.parse(word))
    if beyond := next((port for port in found if port.address != LOOPBACK), None):
        raise InvalidSpec(
            f"cannot use {key}={text[:_SHOWN]}: a notebook publishes on {LOOPBACK} only, not on {beyond.address}",
            hint=f"{key}={beyond.host or beyond.container}:{beyond.container}",
        )
    return found


def _egress(text: str, _key: str) -> str:
    return str(egress.parse(text))


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidSpec(f"cannot read {text[:_SHOWN]}: {error}", hint="close the quotation mark") from error


def _image(text: str, key: str) -> str:
    if not text.strip() or "\0" in text:
        raise InvalidSpec(
            f"cannot use {key}={text!r}: not the name of an image",
            hint="image=host, a directory (image=/srv/rootfs) or an OCI image (image=python:3.12)",
        )
    return text


def _kernel(text: str, key: str) -> str:
    if not _KERNEL.fullmatch(text):
        raise InvalidSpec(f"cannot use {key}={text[:_SHOWN]}: no name of a kernel", hint="kernel=python3, kernel=ir or kernel=shell")
    return text.lower()


def _guard(text: str, key: str) -> Guard:
    share, colon, action = text.partition(":")
    number = share.removesuffix("%")
    if not (number.isascii() and number.isdecimal() and len(number) < 4 and 1 <= int(number) <= 99):  # noqa: PLR2004  # digits, per cent
        raise InvalidSpec(f"cannot use {key}={text[:_SHOWN]}: not a share of the memory limit", hint=f"{key}=90% or {key}=90%:pause")
    if colon and action not in GUARDS:
        raise InvalidSpec(f"cannot use {key}={text[:_SHOWN]}: {action[:_SHOWN]!r} is nothing to do", hint=f"one of {', '.join(GUARDS)}")
    return Guard(int(number) / 100, action or GUARDS[0])


def _limits(*, of_network: bool) -> dict[str, Key]:
    """The keys that are a container's limits (cellhold.spec.fields)."""
    rows = BY_KEY.values()
    return {field.key: Key(field.name, field.parse, field.key_help) for field in rows if field.needs_network is of_network}


KEYS: dict[str, Key] = {
    "image": Key(
        "image", _image, "what to run in: host (this machine's files, read-only), a directory, or an OCI image: python:3.12-slim", Kind.SPEC
    ),
    "kernel": Key("kernel", _kernel, "which kernel of the image: python3, shell, or a kernelspec's name", Kind.PROGRAM),
    **_limits(of_network=False),
    "cell-time": Key("seconds", units.parse_seconds, "wall time of each cell: 30s, 1h", Kind.CELL),
    "output": Key("output_bytes", units.parse_size, "output of each cell: 10m", Kind.CELL),
    "message": Key("message_bytes", _message, "one message of a cell, such as its largest picture: 1g", Kind.CELL),
    "memory-guard": Key(
        "guard", _guard, f"what to do when a cell comes near the memory limit: 90% (warn), 90%:pause; {', '.join(GUARDS)}", Kind.CELL
    ),
    "network": Key(
        "network",
        _text,
        "its network: none, bridge, one of your own; host and container:NAME where the machine's policy names them",
        Kind.SPEC,
    ),
    "ports": Key("ports", _ports, "ports of it that this machine answers on: 8888:8888, or 8888 for any number", Kind.SPEC),
    "egress": Key("egress", _egress, "whom it may talk to: internet (public addresses), all, none, allow=NAME[:PORT],NETWORK", Kind.SPEC),
    **_limits(of_network=True),
    "storage": Key("storage", _text, f"where its own layer is kept: {', '.join(STORAGES)}", Kind.SPEC),
    "hostname": Key("hostname", _text, "its host name", Kind.SPEC),
    "mount": Key("mount", _way, f"the notebook's folder at {TARGET}: ro (changes stay in the container), rw, none", Kind.MOUNTS),
    "volume": Key("mounts", _volumes, "more of the host: HOST:DIR[:ro|rw|O]", Kind.MOUNTS),
    "tmpfs": Key("mounts", _tmpfs, "an empty directory in memory: DIR[:size=SIZE]", Kind.MOUNTS),
}
REPEATED = frozenset({"volume", "tmpfs"})  # several in a line, and flags that may be given again


class Said(NamedTuple):
    """What somebody wrote for a key, and where. beneath: of the metadata's words, what was said for the key before."""

    text: str
    source: str
    trust: Trust
    beneath: Said | None = None


@dataclass(frozen=True, kw_only=True)
class CellLimits:
    """What each cell may use; None = no limit. The host kernel keeps them, so they need nothing of the host."""

    seconds: float | None = None
    output_bytes: int | None = None
    message_bytes: int | None = 1 << 30
    guard: Guard | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was asked for, key by key, not yet understood: a wrong value is told when the spec is made, and can be overridden."""

    said: Mapping[str, Said] = field(default_factory=lambda: MappingProxyType({}))

    def over(self, source: str, texts: Mapping[str, str], *, trust: Trust = Trust.HOST) -> Settings:
        """These settings with `texts` laid over them; raises InvalidSpec for a key that does not exist."""
        for key in texts:
            if key not in KEYS:
                raise unknown(key, source)
        new = {key: Said(text, source, trust, self._beneath(key, trust)) for key, text in texts.items()}
        return replace(self, said=MappingProxyType({**self.said, **new}))

    def _beneath(self, key: str, trust: Trust) -> Said | None:
        """What is remembered below a word of the notebook's metadata: what holds without it."""
        word = self.said.get(key) if trust is Trust.METADATA else None
        return word.beneath if word is not None and word.trust is Trust.METADATA else word

    def without_metadata(self) -> Settings:
        """These settings as they would be if the notebook's metadata said nothing."""
        left = {key: word.beneath if word.trust is Trust.METADATA else word for key, word in self.said.items()}
        return replace(self, said=MappingProxyType({key: word for key, word in left.items() if word is not None}))

    def trust(self, key: str) -> Trust:
        """How far whoever said the key is trusted; what nobody said is this machine's own."""
        return self.said[key].trust if key in self.said else Trust.HOST

    @property
    def kernel(self) -> str | None:
        """Which kernel of the image is wanted; None: whichever fits. Raises InvalidSpec."""
        said = self.said.get("kernel")
        return None if said is None else str(understood("kernel", said.text, said.source))

    def texts(self) -> dict[str, str]:
        """Key -> text, as they go into a kernelspec."""
        return {key: said.text for key, said in self.said.items()}


class Sources(NamedTuple):
    """All that a spec is made of: what was asked for, the notebook's folder (None: it is gone), and the file with the machine's policy.

    notebook: its file, where that is known.
    """

    settings: Settings = Settings()
    workspace: Workspace | None = None
    policy: Path = PATH
    notebook: Path | None = None


def understood(key: str, text: str, source: str = "") -> Any:
    """The value of a text, checked by itself, so that the error can say who wrote it (swap is checked with memory)."""
    word = KEYS[key]
    value: Any
    try:
        value = None if word.kind in (Kind.LIMIT, Kind.CELL) and text == UNLIMITED else word.read(text, key)
        if word.kind is Kind.SPEC:
            replace(Spec(network="bridge"), **{word.field: value})
        elif word.kind is Kind.LIMIT and key != "memory-swap":
            replace(Limits(), **{word.field: value})
    except InvalidSpec as error:
        raise InvalidSpec(f"{error} (in {source})" if source else str(error), hint=error.hint) from None
    return value


def unknown(key: str, source: str = "") -> InvalidSpec:
    """The error for a key that does not exist, with the nearest that does."""
    from difflib import get_close_matches  # noqa: PLC0415  # 5 ms to import, and needed once in a blue moon

    near = get_close_matches(key[:_SHOWN], KEYS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    where = f" (in {source})" if source else ""
    return InvalidSpec(f"cannot use {escape(key, most=_SHOWN)}: there is no such key{where}", hint=f"{hint}The keys are {', '.join(KEYS)}")


def of_kernelspec(directory: Path) -> Settings:
    """What the kernelspec in `directory` asks for in `metadata.cellhold`; raises InvalidSpec, or OSError where there is no kernel.json."""
    path = directory / "kernel.json"
    try:
        texts = _asked(documents.load(hostpath.read(path, LARGEST_KERNELSPEC)))
    except ValueError as error:
        raise InvalidSpec(f"cannot read kernelspec {path}: {error}", hint="write it again with: cellhold kernel install") from None
    return Settings().over(str(path), texts)


def of_notebook(path: Path, folder: Folder | None = None) -> dict[str, str]:
    """What a notebook asks for in its own `metadata.cellhold`; nothing where the file is none yet. Raises InvalidSpec.

    folder: the notebook's, as it is held.
    """
    hint = "%container key=value in its first cell says it as well"
    try:
        return _asked(Notebook(path, folder).document())
    except FileNotFoundError:
        return {}
    except InvalidSpec as error:
        raise InvalidSpec(str(error), hint=hint) from None
    except ValueError as error:
        raise InvalidSpec(f"cannot read the metadata of notebook {escape(str(path), most=_SHOWN_PATH)}: {error}", hint=hint) from None


def _asked(document: Any) -> dict[str, str]:
    """`metadata.cellhold` of a kernelspec or a notebook: texts, numbers, and lists of texts for what may be said several times."""
    metadata = document.get("metadata", {}) if isinstance(document, dict) else None
    asked = metadata.get(METADATA, {}) if isinstance(metadata, dict) else None
    if not isinstance(asked, dict):
        whose = "the document" if metadata is None else METADATA if isinstance(metadata, dict) else "metadata"
        raise ValueError(f'{whose} is not an object: write "{METADATA}": {{"memory": "512m"}}')  # noqa: TRY004  # as of all texts
    return {key: _text_of(value, key) for key, value in asked.items()}


def _text_of(value: Any, key: str) -> str:
    """Raises ValueError for a value that no key has."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return shlex.join(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER:
        return json.dumps(value)
    raise ValueError(f"the value of {escape(key, most=_SHOWN)} is neither a text nor a number, nor a list of texts")


def collect(kernelspec: Path | None, notebook: Path | None, folder: Folder | None = None) -> tuple[Settings, CellholdError | None]:
    """What kernelspec and notebook ask for, and the first error on the way: a source that cannot be read asks for nothing.

    folder: the notebook's, as it is held.
    """
    settings, failure = Settings(), None
    if kernelspec is not None:
        try:
            settings = of_kernelspec(kernelspec)
        except OSError as error:
            failure = CellholdError(f"cannot read the kernelspec {kernelspec / 'kernel.json'}: {error.strerror}")
        except CellholdError as error:
            failure = error
    if notebook is not None:
        try:
            settings = settings.over(f"the metadata of {notebook.name}", of_notebook(notebook, folder), trust=Trust.METADATA)
        except CellholdError as error:
            failure = failure or error
    return settings, failure
