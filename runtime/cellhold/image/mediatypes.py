"""The media types of images: OCI's (image-spec, media-types.md) and Docker's.

Docker's schema 2 means the same. An image is of one family: a layer added to one of
Docker's gets Docker's words.
"""

from __future__ import annotations

from types import MappingProxyType

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = f"{LAYER}+gzip"
LAYER_ZSTD = f"{LAYER}+zstd"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = f"{DOCKER_LAYER}.gzip"
DOCKER_LAYER_ZSTD = f"{DOCKER_LAYER}.zstd"  # in no standard; containerd and buildkit write it

MANIFESTS = frozenset((MANIFEST, DOCKER_MANIFEST))
INDEXES = frozenset((INDEX, DOCKER_INDEX))
CONFIGS = frozenset((CONFIG, DOCKER_CONFIG))
SCHEMA_1 = frozenset(f"application/vnd.docker.distribution.manifest.v1+{form}" for form in ("json", "prettyjws"))

_HERE = {LAYER: None, LAYER_GZIP: "gzip", LAYER_ZSTD: "zstd"}
_HERE |= {DOCKER_LAYER: None, DOCKER_LAYER_GZIP: "gzip", DOCKER_LAYER_ZSTD: "zstd"}
_ELSEWHERE = {  # layers that a registry need not have: Windows' base layers. Some registries have them all the same.
    "application/vnd.oci.image.layer.nondistributable.v1.tar": None,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}
LAYERS = MappingProxyType(_HERE | _ELSEWHERE)  # -> how the tar is compressed; None: not at all
ACCEPTED = (MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_INDEX)  # what a registry is asked for


def bare(media_type: str | None) -> str | None:
    """Return the media type without parameters, in lower case.

    None for what says nothing: absent, application/json, text/plain ...
    """
    word = (media_type or "").partition(";")[0].strip().lower()
    return None if word in ("", "application/json", "application/octet-stream", "text/plain") else word


def docker(media_type: str) -> str:
    """Return Docker's word for one of OCI's, or the same if there is none."""
    return _DOCKER.get(media_type, media_type)


_DOCKER = {MANIFEST: DOCKER_MANIFEST, INDEX: DOCKER_INDEX, CONFIG: DOCKER_CONFIG}
_DOCKER |= {LAYER: DOCKER_LAYER, LAYER_GZIP: DOCKER_LAYER_GZIP, LAYER_ZSTD: DOCKER_LAYER_ZSTD}
