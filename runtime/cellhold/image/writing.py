"""New manifests and configs, made of nothing or of older ones.

Of nothing: import. Of older ones with something changed: commit, squash. Unknown
members are kept from the older one; what is written is canonical JSON, so that the same
image has the same digest wherever it is made. What was written is checked by reading it
again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cellhold.image import config, fields, manifest, mediatypes
from cellhold.image.descriptor import Descriptor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cellhold.image.config import Config, History
    from cellhold.image.manifest import Manifest
    from cellhold.image.platform import Platform
    from cellhold.spec.digest import Digest

_SCHEMA = 2


def new_config(  # noqa: PLR0913  # what a config says
    platform: Platform,
    *,
    diff_ids: Sequence[Digest],
    history: Sequence[History],
    created: datetime,
    settings: Mapping[str, Any] | None = None,
    author: str | None = None,
    on_host: bool = False,
) -> Config:
    """Return a config of these layers.

    settings: the members of its "config" object, in Docker's words ("Env", "Cmd").
    on_host: the layers lie on this machine's own files.
    """
    document: dict[str, Any] = {"os": platform.os, "architecture": platform.architecture, "config": {}}
    if on_host:
        document[config.OWN] = {"from": config.HOST}
    if platform.variant:
        document["variant"] = platform.variant
    if author:
        document["author"] = author
    return _written(document, diff_ids, map(_history, history), created, settings)


def changed_config(  # noqa: PLR0913  # what a config says
    base: Config,
    *,
    diff_ids: Sequence[Digest],
    history: Sequence[History],
    created: datetime,
    settings: Mapping[str, Any] | None = None,
    author: str | None = None,
    on_host: bool = False,
) -> Config:
    """Return `base` with more layers on top.

    Its layers are now `diff_ids`, `history` follows its own, `settings` replace what
    they name (None: drop it). The record of the build container that older dockers left
    in it is dropped, as it would be of another image.
    """
    document = json.loads(base.raw)
    for stale in ("id", "parent", "container", "container_config"):
        document.pop(stale, None)
    if author:
        document["author"] = author
    if on_host:
        document[config.OWN] = {"from": config.HOST}
    return _written(document, diff_ids, [*(document.get("history") or []), *map(_history, history)], created, settings)


def new_manifest(config_: Descriptor, layers: Sequence[Descriptor], *, annotations: Mapping[str, str] | None = None) -> Manifest:
    """Return an OCI manifest.

    Raises ImageRefused if a descriptor does not have a media type of an image.
    """
    return _manifest({"mediaType": mediatypes.MANIFEST}, config_, layers, annotations or {})


def changed_manifest(base: Manifest, config_: Descriptor, layers: Sequence[Descriptor]) -> Manifest:
    """Return `base` with another config and other layers, of the same family.

    For a base of Docker's, OCI's media types become Docker's.
    """
    document = json.loads(base.raw) | {"mediaType": base.media_type}
    return _manifest(document, config_, layers, base.annotations)


def config_descriptor(config_: Config) -> Descriptor:
    """Return the descriptor by which a manifest refers to this config."""
    return Descriptor(media_type=mediatypes.CONFIG, digest=config_.digest, size_bytes=len(config_.raw))


def _manifest(document: dict[str, Any], config_: Descriptor, layers: Sequence[Descriptor], annotations: Mapping[str, str]) -> Manifest:
    is_docker = document["mediaType"] == mediatypes.DOCKER_MANIFEST
    document |= {"schemaVersion": _SCHEMA, "config": _entry(config_, is_docker), "layers": [_entry(layer, is_docker) for layer in layers]}
    if annotations:
        document["annotations"] = dict(annotations)
    made = manifest.parse(fields.canonical(document))
    assert isinstance(made, manifest.Manifest)  # noqa: S101  # for mypy: the media type was a manifest's
    return made


def _entry(descriptor: Descriptor, is_docker: bool) -> dict[str, Any]:  # noqa: FBT001  # one private function, one caller
    entry = descriptor.json()
    return entry | {"mediaType": mediatypes.docker(descriptor.media_type)} if is_docker else entry


def _written(
    document: dict[str, Any], diff_ids: Sequence[Digest], history: Any, created: datetime, settings: Mapping[str, Any] | None
) -> Config:
    document["created"] = _time(created)
    document["rootfs"] = {"type": "layers", "diff_ids": [str(diff_id) for diff_id in diff_ids]}
    document["history"] = list(history)
    merged = {**(document.get("config") or {}), **(settings or {})}
    document["config"] = {key: value for key, value in merged.items() if value is not None}
    return config.parse(fields.canonical(document), layers=len(diff_ids))


def _history(entry: History) -> dict[str, Any]:
    made: dict[str, Any] = {"created": _time(entry.created)} if entry.created else {}
    made |= {name: text for name in ("created_by", "author", "comment") if (text := getattr(entry, name))}
    return made | ({"empty_layer": True} if entry.empty_layer else {})


def _time(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")
