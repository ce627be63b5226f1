"""The registry client and Debian's docker-registry (fixtures of tests/registry.py); what it pushed, skopeo takes as it is."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.errors import ImageNotFound, RegistryFailed
from cellhold.image import manifest, mediatypes, writing
from cellhold.image.config import History
from cellhold.image.descriptor import Descriptor
from cellhold.image.platform import Platform
from cellhold.image.registry import Logins, Registry, Settings
from cellhold.image.registry.settings import Section
from cellhold.spec.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
RANDOM = random.Random(4).randbytes(3 << 20)  # noqa: S311  # content that gzip cannot make small


def layer() -> tuple[Digest, bytes]:
    """A layer of one file: the digest of its tar, and the tar compressed."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = len(RANDOM)
        archive.addfile(entry, io.BytesIO(RANDOM))
    return Digest.of(tar.getvalue()), gzip.compress(tar.getvalue(), 1, mtime=0)


def descriptor(content: bytes, media_type: str = mediatypes.LAYER_GZIP) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size_bytes=len(content))


def client(served: Any, tmp_path: Path, *, place: Section | None = None, login: str | None = None) -> Registry:
    config = tmp_path / "config.json"
    if login:
        config.write_text(json.dumps({"auths": {served.host: {"auth": base64.b64encode(login.encode()).decode()}}}))
    return Registry(served.host, credentials=Logins(config), settings=Settings(sections={served.host: place} if place else {}))


def push(to: Registry, repository: str, tag: str) -> manifest.Manifest:
    """Push an image of one layer."""
    diff_id, packed = layer()
    config = writing.new_config(Platform.host(), diff_ids=[diff_id], history=[History(created=NOON, created_by="a test")], created=NOON)
    made = writing.new_manifest(writing.config_descriptor(config), [descriptor(packed)])
    for content, one in ((config.raw, made.config), (packed, made.layers[0])):
        to.push_blob(repository, one, lambda content=content: io.BytesIO(content))  # type: ignore[misc]  # mypy does not see the default
    to.push_manifest(repository, tag, made.raw, made.media_type)
    return made


def pulled(source: Registry, repository: str, one: Descriptor, start_byte: int = 0) -> bytes:
    return b"".join(source.blob(repository, one, start_byte=start_byte))


def test_what_is_pushed_comes_back_byte_by_byte(registry: Any, tmp_path: Path) -> None:
    with client(registry, tmp_path) as ours:
        made = push(ours, "round/trip", "1")
        received = ours.manifest("round/trip", "1")
        assert (received.raw, received.media_type, received.digest) == (made.raw, mediatypes.MANIFEST, made.digest)
        assert ours.manifest("round/trip", str(made.digest)) == received
        assert manifest.parse(received.raw, received.media_type) == made
        assert Digest.of(b"".join(ours.blob("round/trip", made.layers[0]))) == made.layers[0].digest
        assert pulled(ours, "round/trip", made.layers[0], 1_000_000) == pulled(ours, "round/trip", made.layers[0])[1_000_000:]
        assert ours.tags("round/trip") == ("1",)


def test_a_blob_is_taken_from_another_repository_and_sent_only_once(registry: Any, tmp_path: Path) -> None:
    with client(registry, tmp_path) as ours:
        made = push(ours, "mount/from", "1")
        layer_ = made.layers[0]
        assert not ours.has_blob("mount/to", layer_)
        ours.push_blob("mount/to", layer_, lambda: pytest.fail("it was sent"), mount_from="mount/from")
        assert ours.has_blob("mount/to", layer_)
        ours.push_blob("mount/to", layer_, lambda: pytest.fail("it was sent"))


def test_a_blob_is_pushed_in_chunks(registry: Any, tmp_path: Path) -> None:
    one = descriptor(RANDOM)
    sent: list[int] = []
    with client(registry, tmp_path, place=Section(push_chunk_bytes=1 << 20)) as ours:
        ours.push_blob("chunks", one, lambda: io.BytesIO(RANDOM), tell=sent.append)
        assert pulled(ours, "chunks", one) == RANDOM
    assert sent == sorted(sent)
    assert sent[-1] == len(RANDOM)


def test_four_blobs_are_pushed_and_pulled_at_once(registry: Any, tmp_path: Path) -> None:
    contents = [RANDOM[number:] for number in range(4)]
    with client(registry, tmp_path) as ours, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda content: ours.push_blob("parallel", descriptor(content), lambda: io.BytesIO(content)), contents))
        assert list(pool.map(lambda content: pulled(ours, "parallel", descriptor(content)), contents)) == contents


def test_content_that_is_not_its_descriptors_is_refused_by_the_registry(registry: Any, tmp_path: Path) -> None:
    other = bytes(len(RANDOM))
    with (
        client(registry, tmp_path) as ours,
        pytest.raises(RegistryFailed, match=r"push the blob .*: it answers 400 \(DIGEST_INVALID") as caught,
    ):
        ours.push_blob("wrong", descriptor(RANDOM[::-1]), lambda: io.BytesIO(other))
    assert caught.value.status == 400


def test_what_is_not_there_is_one_sentence(registry: Any, tmp_path: Path) -> None:
    with client(registry, tmp_path) as ours:
        with pytest.raises(ImageNotFound, match=r"cannot get the manifest no/such:1 at .*: it answers 404 \(MANIFEST_UNKNOWN"):
            ours.manifest("no/such", "1")
        with pytest.raises(RegistryFailed, match="it answers 404") as caught:
            pulled(ours, "no/such", descriptor(b"nothing"))
        assert caught.value.status == 404
        with pytest.raises(RegistryFailed, match=r"it answers 404 \(NAME_UNKNOWN"):
            ours.tags("no/such")


def test_a_registry_with_passwords_takes_the_right_one(registry_with_password: Any, tmp_path: Path) -> None:
    served = registry_with_password
    with client(served, tmp_path) as ours, pytest.raises(RegistryFailed, match=r"it answers 401 \(UNAUTHORIZED") as caught:
        ours.manifest("x", "1")
    assert "docker login" in str(caught.value.hint)
    with client(served, tmp_path, login=f"{served.user}:wrong") as ours, pytest.raises(RegistryFailed, match="it answers 401"):
        push(ours, "x", "1")
    with client(served, tmp_path, login=f"{served.user}:{served.password}") as ours:
        made = push(ours, "x", "1")
        assert ours.manifest("x", "1").digest == made.digest


def test_a_certificate_is_trusted_where_that_is_said_and_else_nothing_is_sent(registry_with_tls: Any, tmp_path: Path) -> None:
    with client(registry_with_tls, tmp_path, place=Section(ca=str(registry_with_tls.ca))) as ours:
        made = push(ours, "safe", "1")
        assert ours.manifest("safe", "1").raw == made.raw
        assert Digest.of(pulled(ours, "safe", made.layers[0])) == made.layers[0].digest
    with client(registry_with_tls, tmp_path, place=Section(insecure=False)) as ours:
        with pytest.raises(RegistryFailed, match="there is no safe connection to it") as raised:
            ours.manifest("safe", "1")
        assert "ca = FILE" in (raised.value.hint or "")


@pytest.mark.peers
def test_skopeo_takes_what_was_pushed_as_it_is(registry: Any, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed: apt install skopeo")
    with client(registry, tmp_path) as ours:
        made = push(ours, "for/skopeo", "1")
    command = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--preserve-digests"]
    subprocess.run([*command, f"docker://{registry.host}/for/skopeo:1", f"dir:{tmp_path}/copy"], check=True, capture_output=True)
    assert (tmp_path / "copy/manifest.json").read_bytes() == made.raw
    assert (tmp_path / "copy" / made.layers[0].digest.encoded).stat().st_size == made.layers[0].size_bytes


@pytest.mark.peers
def test_what_skopeo_pushed_is_pulled_as_it_is(registry: Any, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed: apt install skopeo")
    command = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--format", "v2s2"]
    with client(registry, tmp_path) as ours:
        oci = push(ours, "as/oci", "1")
        names = (f"docker://{registry.host}/{name}:1" for name in ("as/oci", "as/docker"))
        subprocess.run([*command, *names], check=True, capture_output=True)
        received = ours.manifest("as/docker", "1")
        read = manifest.parse(received.raw, received.media_type)
    assert isinstance(read, manifest.Manifest)
    assert read.media_type == mediatypes.DOCKER_MANIFEST
    assert [one.digest for one in read.layers] == [one.digest for one in oci.layers]
