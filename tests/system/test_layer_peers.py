"""Our trees beside those of umoci, for an image of two layers with all that a Debian system has: the container sees the same."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from ast import literal_eval
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.layer.unpack import Unpacking
from cellhold.store import tree
from tars import seen

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.peers, pytest.mark.requires("root", "user-namespace", "mount-api", "overlayfs")]

FIRST = """
cp -a /etc etc; mkdir -p -m 1777 tmp; mkdir -m 2775 shared; chown 5:50 shared; mkdir -p opt/a/b cache; date > opt/a/f; date > opt/a/b/g
for n in 1 2 3 4; do date > cache/$n; done; ln opt/a/f opt/hard; ln -s ../../nowhere opt/a/dangling; ln -s /etc abs
cp /usr/bin/env suid; chmod 4755 suid; chown 1000:1000 cache/1; mkfifo -m 600 fifo; date > "$(printf 'uml\\303\\244ut \\n x')"
mkdir -p "$(printf 'long%.0s' $(seq 60))"; touch -d 1960-01-01 old; touch -d 2100-01-01 new; truncate -s 3M sparse; echo end >> sparse
touch ping
"""
# No opaque directory: umoci 0.4.7 keeps what is in one if the same layer names the directory, as layers do.
SECOND = """
mkdir -p opt/a etc cache; date > opt/a/new; echo changed > etc/hostname; : > opt/a/.wh.f; mkdir -p opt/a/b
date > opt/a/b/h; : > cache/.wh.2; : > .wh.abs; mkdir fifo; ln opt/a/new opt/a/newer; touch -d 2001-02-03 etc cache opt/a opt .
"""
NET_RAW = b"\x01\0\0\x02\0\x20" + bytes(14)  # cap_net_raw=ep
XATTRS = (("opt/a/f", "user.note", b"hello"), ("opt", "user.note", b"\0\n="), ("ping", "security.capability", NET_RAW))
LOOK = "import sys; from pathlib import Path; from tars import seen; print(repr({n: tuple(e) for n, e in seen(Path(sys.argv[1])).items()}))"


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(subprocess.check_output(["mktemp", "-d", "/var/tmp/chlayerXXXXXX"], text=True).strip())
    yield path
    tree.remove(path)


def made(place: Path, name: str, script: str, xattrs: tuple[tuple[str, str, bytes], ...] = ()) -> bytes:
    """GNU tar's tar of what a script makes in an empty directory."""
    (place / name).mkdir(mode=0o755)
    subprocess.run(["sh", "-ec", script], cwd=place / name, check=True)
    for file, attribute, value in xattrs:
        os.setxattr(place / name / file, attribute, value)
    options = ["--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sparse", "--sort=name"]
    return subprocess.run(["tar", "cf", "-", *options, "-C", str(place / name), "."], capture_output=True, check=True).stdout


def layout(place: Path, tars: list[bytes]) -> None:
    """An OCI layout with one image, written by hand (OCI image-spec, image-layout.md)."""
    (place / "image/blobs/sha256").mkdir(parents=True)

    def blob(data: bytes, media_type: str) -> dict[str, Any]:
        digest = sha256(data).hexdigest()
        (place / "image/blobs/sha256" / digest).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{media_type}+{'gzip' if 'layer' in media_type else 'json'}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    rootfs = {"type": "layers", "diff_ids": [f"sha256:{sha256(tar).hexdigest()}" for tar in tars]}
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs, "history": []}
    manifest = {
        "schemaVersion": 2,
        "config": blob(json.dumps(config).encode(), "config.v1"),
        "layers": [blob(gzip.compress(tar, 1), "layer.v1.tar") for tar in tars],
    }
    described = {**blob(json.dumps(manifest).encode(), "manifest.v1"), "annotations": {"org.opencontainers.image.ref.name": "1"}}
    (place / "image/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
    (place / "image/oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def unpack(into: Path, data: bytes, *parents: Path) -> Path:
    into.mkdir(mode=0o755)
    with Unpacking(into) as unpacking:
        unpacking.feed(data)
        unpacking.finish(lambda: parents)
    return into


def shown(place: Path, *layers: Path) -> dict[str, tuple[Any, ...]]:
    """What a container of these layers sees, the topmost first: read through a real overlay."""
    (place / "merged").mkdir()
    mount = f"mount -t overlay overlay -o userxattr,lowerdir={':'.join(map(str, layers))} {place}/merged"
    script = f'{mount} && exec "$0" -c "$1" {place}/merged'
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ran = subprocess.run(["unshare", "-m", "sh", "-c", script, sys.executable, LOOK], capture_output=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr.decode()
    found: dict[str, tuple[Any, ...]] = literal_eval(ran.stdout.decode())
    return found


def test_a_container_sees_what_umoci_unpacks(place: Path) -> None:
    tars = [made(place, "first", FIRST, XATTRS), made(place, "second", SECOND)]
    layout(place, tars)
    subprocess.run(["umoci", "unpack", "--image", f"{place}/image:1", str(place / "bundle")], check=True, capture_output=True)
    base = unpack(place / "base", tars[0])
    top = unpack(place / "top", gzip.compress(tars[1], 1), base)
    ours = shown(place, top, base)
    theirs = {name: tuple(entry) for name, entry in seen(place / "bundle/rootfs").items()}
    assert set(ours) == set(theirs)
    assert {name: (ours[name], theirs[name]) for name in ours if plain(ours[name]) != plain(theirs[name])} == {}


def plain(entry: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without overlayfs's own marks, and file capabilities without the four bytes in which ours say whose root they are for: 0's."""
    *facts, xattrs = entry
    kept = {name: value for name, value in xattrs.items() if not name.startswith("user.overlay.")}
    if "security.capability" in kept:
        kept["security.capability"] = kept["security.capability"][4:20]
    return (*facts, kept)
