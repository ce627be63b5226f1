"""The config of an image: how to run it, and what its layers are.

OCI image-spec, config.md; Docker's image JSON is the same. What a container makes of it
is decided elsewhere. The bytes are kept: their digest is the image's id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.image import fields
from cellhold.image.platform import Platform
from cellhold.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from cellhold.image.fields import Field

MOST_BYTES = 8 << 20
OWN = "cellhold"  # our own member, which OCI's readers have to ignore (considerations.md, "Extensibility")
HOST = "host"
MOST_VOLUMES = 128
_MANY = 20_000
MOST = {  # entries: each may be looked at by whoever builds on the image, lists it, or makes a container of it
    "Env": _MANY,
    "Labels": _MANY,
    "OnBuild": _MANY,
    "Entrypoint": _MANY,
    "Cmd": _MANY,
    "Shell": _MANY,
    "ExposedPorts": 3 * 65535,  # as many as there are, by three protocols
    "Volumes": _MANY,  # that it says; a container has no more than MOST_VOLUMES
    "history": _MANY,
}
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class History:
    """One instruction of the build. empty_layer: it made no layer (ENV, CMD ...)."""

    created: datetime | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool = False


@dataclass(frozen=True, kw_only=True)
class Healthcheck:
    """Docker's HEALTHCHECK.

    test: ("CMD", ...), ("CMD-SHELL", "..."), ("NONE",).
    None in the other fields: Docker's default.
    """

    test: tuple[str, ...]
    interval_seconds: float | None = None
    timeout_seconds: float | None = None
    start_period_seconds: float | None = None
    start_interval_seconds: float | None = None
    retries: int | None = None


@dataclass(frozen=True, kw_only=True)
class Config:
    """The config of an image, checked.

    diff_ids: the digests of the uncompressed layers, lowest first.
    on_build: instructions for images that are built on this one.
    on_host: the config says that its layers lie on the files of the machine where it
        was built (FROM host).
    raw: the bytes as they were received.
    None in a field: the image does not say.
    """

    platform: Platform
    diff_ids: tuple[Digest, ...]
    history: tuple[History, ...]
    created: datetime | None
    author: str | None
    env: tuple[str, ...]
    entrypoint: tuple[str, ...] | None
    cmd: tuple[str, ...] | None
    shell: tuple[str, ...] | None
    working_dir: str
    user: str
    stop_signal: str | None
    labels: Mapping[str, str] = field(hash=False)
    exposed_ports: tuple[str, ...]
    volumes: tuple[str, ...]
    healthcheck: Healthcheck | None
    on_build: tuple[str, ...]
    on_host: bool
    raw: bytes = field(repr=False)

    @property
    def digest(self) -> Digest:
        """The image's id: the sha256 of the config's bytes."""
        return Digest.of(self.raw)

    def layer_history(self) -> tuple[History | None, ...]:
        """Return the instruction that made each layer, lowest first.

        None where the history is shorter than the layers.
        """
        made: Iterator[History] = (entry for entry in self.history if not entry.empty_layer)
        return tuple(next(made, None) for _ in self.diff_ids)


def parse(raw: bytes, *, layers: int | None = None) -> Config:
    """Parse a config, of a manifest with `layers` layers.

    layers: None if there is no manifest to compare with. Raises ImageRefused.
    """
    document = fields.read(raw, "config", most_bytes=MOST_BYTES)
    run = document["config"]
    for name, most in MOST.items():
        (document if name == "history" else run)[name].check_count(most)
    return Config(
        platform=_platform(document),
        diff_ids=_diff_ids(document["rootfs"], layers),
        history=tuple(map(_history, document["history"].items())),
        created=document["created"].time(),
        author=document["author"].optional_text(),
        env=run["Env"].texts(),
        entrypoint=_words(run["Entrypoint"]),
        cmd=_words(run["Cmd"]),
        shell=_words(run["Shell"]),
        working_dir=run["WorkingDir"].optional_text() or "",
        user=run["User"].optional_text() or "",
        stop_signal=run["StopSignal"].optional_text() or None,
        labels=MappingProxyType(run["Labels"].text_of()),
        exposed_ports=run["ExposedPorts"].names(),
        volumes=run["Volumes"].names(),
        healthcheck=_healthcheck(run["Healthcheck"]),
        on_build=run["OnBuild"].texts(),
        on_host=document[OWN]["from"].optional_text() == HOST,
        raw=raw,
    )


def chain_ids(diff_ids: Iterable[Digest]) -> tuple[Digest, ...]:
    """Return each layer's chain id: its name on top of all layers below it.

    An unpacked layer is stored under it (config.md, "Layer ChainID").
    """
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)


def _platform(document: Field) -> Platform:
    variant = document["variant"].optional_text() or None
    return Platform(os=document["os"].text(), architecture=document["architecture"].text(), variant=variant)


def _diff_ids(rootfs: Field, layers: int | None) -> tuple[Digest, ...]:
    if rootfs["type"].text() != "layers":
        raise rootfs["type"].refused(f"{fields.quote(rootfs['type'].value)} is not 'layers'")
    diff_ids = tuple(item.digest() for item in rootfs["diff_ids"].items())
    if layers is not None and len(diff_ids) != layers:
        raise rootfs["diff_ids"].refused(f"it has {len(diff_ids)} layers, its manifest has {layers}")
    return diff_ids


def _history(entry: Field) -> History:
    return History(
        created=entry["created"].time(),
        created_by=entry["created_by"].optional_text(),
        author=entry["author"].optional_text(),
        comment=entry["comment"].optional_text(),
        empty_layer=entry["empty_layer"].flag(),
    )


def _words(entry: Field) -> tuple[str, ...] | None:
    return entry.texts() if entry else None


def _healthcheck(entry: Field) -> Healthcheck | None:
    if not entry.mapping():
        return None
    return Healthcheck(
        test=entry["Test"].texts(),
        interval_seconds=_seconds(entry["Interval"]),
        timeout_seconds=_seconds(entry["Timeout"]),
        start_period_seconds=_seconds(entry["StartPeriod"]),
        start_interval_seconds=_seconds(entry["StartInterval"]),
        retries=entry["Retries"].count() if entry["Retries"] else None,
    )


def _seconds(entry: Field) -> float | None:
    """Return the seconds of one of Go's durations, which are nanoseconds; 0 is unset."""
    return entry.count() / _NANOSECONDS if entry and entry.count() else None
