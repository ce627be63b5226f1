"""The manifest of an image, or the index of several for different platforms.

OCI's and Docker's schema 2 are the same except for media types (OCI image-spec,
manifest.md and image-index.md). The bytes are kept beside what was read from them:
their digest is the image's name, and writing them again would change it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.errors import ImageNotFound, ImageRefused
from cellhold.image import descriptor, fields, mediatypes
from cellhold.image.fields import quote
from cellhold.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.image.descriptor import Descriptor
    from cellhold.image.fields import Field
    from cellhold.image.platform import Platform

MOST_BYTES = 4 << 20  # distribution-spec, "Pushing Manifests": what a registry has to take
MOST_LAYERS = 500  # overlayfs stacks no more (OVL_MAX_STACK in the kernel's fs/overlayfs)
_SCHEMA = 2
_MOST_TOLD = 20


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One image: its config and its layers, lowest first. raw: as it was received."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(hash=False)
    raw: bytes = field(repr=False)

    @property
    def digest(self) -> Digest:
        """The sha256 of its bytes."""
        return Digest.of(self.raw)


@dataclass(frozen=True, kw_only=True)
class Index:
    """Images for different platforms (a "manifest list" in Docker's words).

    raw: the bytes as they were received.
    """

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(hash=False)
    raw: bytes = field(repr=False)

    @property
    def digest(self) -> Digest:
        """The sha256 of its bytes."""
        return Digest.of(self.raw)

    def choose(self, platform: Platform) -> Descriptor:
        """Return the image that fits best, the first of several that do.

        One that names no platform is chosen only if no other fits.
        Raises ImageNotFound, with the available platforms.
        """
        ranked = [(rank, one) for one in self.manifests if one.platform and (rank := platform.rank(one.platform)) is not None]
        if ranked:
            return min(ranked, key=lambda pair: pair[0])[1]  # min() returns the first of equals
        unsaid = [one for one in self.manifests if one.platform is None and one.media_type in mediatypes.MANIFESTS]
        if unsaid:
            return unsaid[0]
        offered = dict.fromkeys(quote(str(one.platform)) for one in self.manifests if one.platform and one.platform.os != "unknown")
        raise ImageNotFound(
            f"cannot use an image for {platform}: the index has {', '.join(list(offered)[:_MOST_TOLD]) or 'none'}",
            hint="choose another tag, or one of those platforms" if offered else None,
        )


def parse(raw: bytes, media_type: str | None = None) -> Manifest | Index:
    """Parse the manifest or index in `raw`.

    media_type: what the sender called it; None if nobody did.
    Raises ImageRefused for schema 1, for unknown media types, and for anything that is
    not a sound manifest.
    """
    document = fields.read(raw, "manifest", most_bytes=MOST_BYTES)
    kind = _kind(document, mediatypes.bare(media_type))
    if document["schemaVersion"].count() != _SCHEMA:
        raise document["schemaVersion"].refused(f"{quote(document['schemaVersion'].value)} is not {_SCHEMA}")
    annotations = MappingProxyType(document["annotations"].text_of())
    if kind in mediatypes.INDEXES:
        manifests = tuple(map(descriptor.parse, document["manifests"].required().items()))
        return Index(media_type=kind, manifests=manifests, annotations=annotations, raw=raw)
    return Manifest(media_type=kind, config=_config(document), layers=_layers(document), annotations=annotations, raw=raw)


def _kind(document: Field, outer: str | None) -> str:
    """Return the media type.

    A document that could be read as both kinds is refused: two readers would see two
    images (CVE-2021-41190).
    """
    inner = document["mediaType"].optional_text()
    if outer in mediatypes.SCHEMA_1 or inner in mediatypes.SCHEMA_1 or document["schemaVersion"].value == 1:
        raise ImageRefused(
            "cannot use the manifest: it uses Docker's schema 1, whose layers cannot be verified",
            hint="have the image pushed again by a docker of this decade",
        )
    if outer and inner and outer != inner:
        raise document["mediaType"].refused(f"{quote(inner)} is not the {quote(outer)} that it was sent as")
    is_index, is_manifest = bool(document["manifests"]), bool(document["layers"]) or bool(document["config"])
    if is_index and is_manifest:
        raise document.refused("it has both layers and manifests")
    kind = inner or outer or (mediatypes.INDEX if is_index else mediatypes.MANIFEST)
    if kind not in mediatypes.MANIFESTS | mediatypes.INDEXES:
        raise document["mediaType"].refused(f"{quote(kind)} is not an image manifest that Cellhold supports")
    return kind


def _config(document: Field) -> Descriptor:
    config = descriptor.parse(document["config"])
    if config.media_type not in mediatypes.CONFIGS:
        raise document["config"]["mediaType"].refused(
            f"{quote(config.media_type)} is not an image's config; this is another kind of artifact"
        )
    return config


def _layers(document: Field) -> tuple[Descriptor, ...]:
    items = list(document["layers"].required().items())
    if len(items) > MOST_LAYERS:
        raise document["layers"].refused(f"{len(items)} layers are more than {MOST_LAYERS}, which the kernel can stack")
    layers = tuple(map(descriptor.parse, items))
    for item, layer in zip(items, layers, strict=True):
        if layer.media_type not in mediatypes.LAYERS:
            raise item["mediaType"].refused(f"{quote(layer.media_type)} is not a layer that Cellhold can unpack")
    return layers
