"""A descriptor: the type, digest and size by which others refer to content.

OCI image-spec, descriptor.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cellhold.image.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.image.fields import Field
    from cellhold.spec.digest import Digest


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What content is, which, and how long.

    urls: other places of the content, never contacted.
    raw: the JSON object it was read from, including unknown fields.
    """

    media_type: str
    digest: Digest
    size_bytes: int
    annotations: Mapping[str, str] = field(default_factory=_nothing, hash=False)
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=_nothing, compare=False, repr=False)

    def json(self) -> dict[str, Any]:
        """Return the object to write into a manifest.

        It is the one that the descriptor was read from, or is made from the fields.
        """
        made: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size_bytes}
        if self.annotations:
            made["annotations"] = dict(self.annotations)
        if self.urls:
            made["urls"] = list(self.urls)
        if self.platform:
            variant = {"variant": self.platform.variant} if self.platform.variant else {}
            made["platform"] = {"os": self.platform.os, "architecture": self.platform.architecture, **variant}
        return {**self.raw, **made, **({"platform": self.raw["platform"]} if self.raw.get("platform") else {})}


def parse(document: Field) -> Descriptor:
    """Parse the descriptor in that field.

    Raises ImageRefused, naming what is wrong in it.
    """
    return Descriptor(
        media_type=document["mediaType"].text(),
        digest=document["digest"].digest(),
        size_bytes=document["size"].count(),
        annotations=MappingProxyType(document["annotations"].text_of()),
        platform=_platform(document["platform"]),
        urls=document["urls"].texts(),
        raw=MappingProxyType(document.mapping()),
    )


def _platform(document: Field) -> Platform | None:
    if not document.mapping():
        return None
    system, architecture, variant = document["os"].text(), document["architecture"].text(), document["variant"].optional_text()
    return Platform(os=system, architecture=architecture, variant=variant or None)
