"""A blob and a manifest for a lying registry (liar.py), and an impatient client."""

from __future__ import annotations

from cellhold.image import mediatypes
from cellhold.image.descriptor import Descriptor
from cellhold.image.registry.patience import Patience
from cellhold.spec.digest import Digest

QUICK = Patience(
    tries=3,
    pause_seconds=0.01,
    total_seconds=30,
    connect_seconds=10,
    read_seconds=10,
    slowest_bytes_per_second=100_000,
    slow_after_seconds=0.2,
)
RAW = b'{"schemaVersion": 2}'
BLOB = bytes(range(256)) * 8192  # 2 MiB
LAYER = Descriptor(media_type=mediatypes.LAYER_GZIP, digest=Digest.of(BLOB), size_bytes=len(BLOB))
MANIFEST = "/v2/x/manifests/1"
PLACE = f"/v2/x/blobs/{LAYER.digest}"
