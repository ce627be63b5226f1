"""The images, the registry and the peers that tests of images are made with: they work, without Cellhold, and leave nothing behind."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from images.busybox import FOREIGN, LONG
from peers import PeerFailedError

if TYPE_CHECKING:
    from images import Image
    from peers import Peers
    from registry import Registry
    from schemas import Kind

pytestmark = [pytest.mark.peers, pytest.mark.requires("root", "overlayfs")]


def documents(image: Image) -> dict[Kind, bytes]:
    """The image's own, as they are on disk."""
    index = (image.layout / "index.json").read_bytes()
    manifest = blob(image, json.loads(index)["manifests"][0])
    return {"index": index, "manifest": manifest, "config": blob(image, json.loads(manifest)["config"])}


def blob(image: Image, descriptor: dict[str, Any]) -> bytes:
    algorithm, _, digest = descriptor["digest"].partition(":")
    return Path(image.layout, "blobs", algorithm, digest).read_bytes()


def layers(image: Image) -> list[str]:
    return [layer["digest"] for layer in json.loads(documents(image)["manifest"])["layers"]]


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  # http, of the registry fixture
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_peer_that_fails_says_why(peers: Peers, registry: Registry) -> None:
    with pytest.raises(PeerFailedError, match="manifest unknown"):
        peers.podman_pull(registry.reference("nobody/pushed:this"))


def test_umoci_unpacks_all_that_one_layer_says_of_another(peers: Peers, busybox_image: Image, tmp_path: Path) -> None:
    root = peers.umoci_unpack(busybox_image.layout, busybox_image.tag, tmp_path / "bundle")
    assert sorted(os.listdir(root / "data")) == ["changes", "stays"]
    assert os.listdir(root / "opaque") == ["new"]
    assert [(root / "turns" / name).is_file() for name in ("directory", "link", "file/inside")] == [True] * 3
    assert {LONG, FOREIGN} < set(os.listdir(root / "odd"))
    assert os.stat(root / "odd/set-user-id").st_mode & 0o7777 == 0o4755
    assert os.getxattr(root / "odd/attribute", "user.origin") == b"made by \0 tar"
    assert len(os.getxattr(root / "odd/capable", "security.capability")) == 20
    assert (os.stat(root / "odd/owned").st_uid, os.stat(root / "odd/owned").st_gid) == (1000, 1001)
    assert all((root / "links" / one).samefile(root / "links" / two) for one, two in (("one", "two"), ("three", "four")))


def test_the_images_documents_are_what_the_schemas_allow(peers: Peers, busybox_image: Image) -> None:
    found = documents(busybox_image)
    for kind, raw in found.items():
        peers.validate(kind, raw)
    wrong = json.loads(found["manifest"])
    wrong["layers"][0]["digest"] = "sha256-of something"
    with pytest.raises(jsonschema.ValidationError, match="does not match"):
        peers.validate("manifest", json.dumps(wrong).encode())


def test_the_registry_with_a_password_wants_it(peers: Peers, registry_with_password: Registry, busybox_image: Image) -> None:
    there = registry_with_password
    assert status_of(f"http://{there.host}/v2/") == 401
    with pytest.raises(PeerFailedError, match=r"unauthorized|authentication required"):
        peers.push(busybox_image, there.reference("busybox:1"))
    peers.log_in(there.host, there.user or "", there.password or "")
    peers.push(busybox_image, there.reference("busybox:1"))


def test_the_debian_images_are_layers_over_each_other(peers: Peers, debian_image: Image, debian_python_image: Image) -> None:
    assert layers(debian_python_image)[:-2] == layers(debian_image)
    for kind, raw in documents(debian_python_image).items():
        peers.validate(kind, raw)
