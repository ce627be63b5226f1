"""What a bad registry, a bad image or a full disk does to a pull: one clear sentence, and the store as it was."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.errors import CellholdError, ImageNotFound, ImageRefused, RegistryFailed, SetupFailed
from cellhold.image import mediatypes, tags
from cellhold.image.archive.loading import load
from cellhold.image.pulling import pull
from cellhold.layer.bounds import Bounds
from cellhold.linux import mount
from cellhold.spec.digest import Digest
from cellhold.store.home import open_home
from liar import Answer
from tars import Tar

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.store.home import Home
    from liar import Liar

pytestmark = pytest.mark.requires("user-namespace", "mount-api", "seccomp")
_REMOUNT, _READ_ONLY = 32, 1  # mount(2)
GOOD = Tar().directory("bin").add("bin/sh", b"#!shell", mode=0o755).add("etc/passwd", b"root:x:0:0::/:/bin/sh\n")


class Served:
    """An image of one layer, whose parts a test may spoil: `layer` is sent, the descriptors say what is right for `meant`."""

    def __init__(self, liar: Liar, layer: bytes, *, meant: bytes | None = None, diff_id: Digest | None = None, **changes: Any) -> None:
        self.reference = f"{liar.host}/x:1"
        meant = layer if meant is None else meant
        tar = GOOD.content() if diff_id is None else b""
        config = json.dumps(
            {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [str(diff_id or Digest.of(tar))]}}
        ).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": mediatypes.MANIFEST,
            "config": descriptor(mediatypes.CONFIG, config),
            "layers": [descriptor(mediatypes.LAYER_GZIP, meant)],
            **changes,
        }
        liar.says("GET", "/v2/x/manifests/1", Answer(body=json.dumps(manifest).encode(), headers={"Content-Type": mediatypes.MANIFEST}))
        liar.says("GET", f"/v2/x/blobs/{Digest.of(config)}", Answer(body=config))
        liar.says("GET", f"/v2/x/blobs/{Digest.of(meant)}", Answer(body=layer))


def descriptor(media_type: str, content: bytes, **changes: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content), **changes}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "store")


def content(home: Home) -> set[str]:
    """Every file and directory of the store, but for locks and the compiled filter."""
    return {
        str(path.relative_to(home.root)) for path in home.root.rglob("*") if not path.name.endswith(".lock") and "seccomp" not in path.parts
    }


def refused(home: Home, reference: str, error: type[CellholdError], sentence: str, **options: Any) -> None:
    """A pull fails with that sentence, and changes nothing."""
    home.blobs, home.layers  # noqa: B018  # their directories are made when they are first used
    before = content(home)
    with pytest.raises(error, match=sentence) as raised:
        pull(reference, home=home, **options)
    assert "\n" not in str(raised.value)
    assert content(home) - {"scratch", "images.json", "images.spare"} == before
    assert home.names.read().images == {}


def test_the_good_one_arrives(liar: Liar, home: Home) -> None:
    found = pull(Served(liar, GOOD.gzip()).reference, home=home)
    assert (home.layers.tree(found.chain_ids[0]) / "bin/sh").read_bytes() == b"#!shell"


def test_another_content_of_the_same_length(liar: Liar, home: Home) -> None:
    right = GOOD.content()
    wrong = right.replace(b"#!shell", b"#!wrong")
    refused(home, Served(liar, wrong, meant=right).reference, ImageRefused, "the received content has the digest sha256:")


def test_a_layer_that_is_not_the_one_of_the_config(liar: Liar, home: Home) -> None:
    other = Tar().add("f", b"x").gzip()
    refused(home, Served(liar, other).reference, ImageRefused, "what was unpacked is sha256:")


@pytest.mark.parametrize("size", [1, 1 << 40])
def test_a_wrong_length(liar: Liar, home: Home, size: int) -> None:
    layer = GOOD.gzip()
    served = Served(liar, layer, layers=[descriptor(mediatypes.LAYER_GZIP, layer, size=size)])
    refused(home, served.reference, CellholdError, "bytes")


def test_truncated_gzip(liar: Liar, home: Home) -> None:
    refused(home, Served(liar, GOOD.gzip()[:-20]).reference, ImageRefused, "its gzip data ends too early")


def test_a_tar_that_leads_out(liar: Liar, home: Home) -> None:
    layer = Tar().add("../../out", b"x")
    served = Served(liar, layer.gzip(), diff_id=Digest.of(layer.content()))
    refused(home, served.reference, ImageRefused, "out")


def test_a_decompression_bomb(liar: Liar, home: Home) -> None:
    layer = Tar().add("zeros", bytes(8 << 20))
    served = Served(liar, layer.gzip(), diff_id=Digest.of(layer.content()))
    refused(home, served.reference, ImageRefused, "bytes", bounds=Bounds(unpacked_bytes=1 << 20))


def test_a_missing_config(liar: Liar, home: Home) -> None:
    served = Served(liar, GOOD.gzip(), config=descriptor(mediatypes.CONFIG, b"{}"))
    refused(home, served.reference, CellholdError, "404")


def test_a_config_that_is_none(liar: Liar, home: Home) -> None:
    liar.says("GET", f"/v2/x/blobs/{Digest.of(b'[]')}", Answer(body=b"[]"))
    served = Served(liar, GOOD.gzip(), config=descriptor(mediatypes.CONFIG, b"[]"))
    refused(home, served.reference, ImageRefused, "config")


def test_an_unknown_media_type_and_schema_1(liar: Liar, home: Home) -> None:
    layer = GOOD.gzip()
    served = Served(liar, layer, layers=[descriptor("application/x-rar", layer)])
    refused(home, served.reference, ImageRefused, r"manifest\.layers\[0\]\.mediaType")
    refused(home, Served(liar, layer, schemaVersion=1).reference, ImageRefused, "schema 1")


def test_no_image_for_this_platform(liar: Liar, home: Home) -> None:
    entry = descriptor(mediatypes.MANIFEST, b"{}", platform={"os": "plan9", "architecture": "mips"})
    index = json.dumps({"schemaVersion": 2, "mediaType": mediatypes.INDEX, "manifests": [entry]}).encode()
    liar.says("GET", "/v2/x/manifests/1", Answer(body=index, headers={"Content-Type": mediatypes.INDEX}))
    refused(home, f"{liar.host}/x:1", ImageNotFound, "plan9/mips")


@pytest.mark.parametrize(("status", "error"), [(401, RegistryFailed), (403, RegistryFailed), (404, ImageNotFound)])
def test_a_registry_that_refuses(liar: Liar, home: Home, status: int, error: type[CellholdError]) -> None:
    liar.says("GET", "/v2/x/manifests/1", Answer(status=status))
    refused(home, f"{liar.host}/x:1", error, "x:1")


def test_what_came_before_a_cut_is_kept_for_the_next_try_and_nothing_else(liar: Liar, home: Home) -> None:
    layer = GOOD.content() + bytes(1 << 20)
    served = Served(liar, layer)
    place = f"/v2/x/blobs/{Digest.of(layer)}"
    liar.says("GET", place, Answer(body=layer[: 1 << 19], headers={"Content-Length": str(len(layer))}), Answer(status=403))
    with pytest.raises(RegistryFailed, match="403"):
        pull(served.reference, home=home)
    kept = home.blobs.drafts / Digest.of(layer).encoded
    assert 0 < kept.stat().st_size < len(layer)
    assert home.layers.all() == []
    start = kept.stat().st_size
    liar.says(
        "GET", place, Answer(status=206, body=layer[start:], headers={"Content-Range": f"bytes {start}-{len(layer) - 1}/{len(layer)}"})
    )
    with pytest.raises(ImageRefused, match="what was unpacked"):  # the tar has more zeros at its end than the config's
        pull(served.reference, home=home)
    assert not kept.exists()


@pytest.mark.requires("root")
def test_a_full_disk_is_one_sentence_and_takes_no_image_away(liar: Liar, tmp_path: Path) -> None:
    layer = Tar().add("big", bytes(range(256)) * (96 << 10))  # 24 MiB
    served = Served(liar, layer.gzip(), diff_id=Digest.of(layer.content()))
    with ExitStack() as closing:
        small = tmp_path / "small"
        small.mkdir()
        mount.mount("tmpfs", str(small), "tmpfs", 0, "size=16m,mode=700")
        closing.callback(mount.umount2, str(small))
        home = open_home(small / "store")
        first = pull(Served(liar, GOOD.gzip()).reference, home=home).digest
        served = Served(liar, layer.gzip(), diff_id=Digest.of(layer.content()))
        with pytest.raises(SetupFailed, match=r"cannot write to the store .*: No space left on device"):
            pull(served.reference, home=home)
        assert list(home.names.read().images) == [first]
        assert len(home.layers.all()) == 1
        mount.mount("tmpfs", str(small), "tmpfs", _REMOUNT | _READ_ONLY, "size=16m,mode=700")
        name = served.reference
        for change in (lambda: tags.tag(name, "x:2", home), lambda: tags.remove(name, home), lambda: tags.prune(home)):
            with pytest.raises(SetupFailed, match=r"cannot write to the store .*: Read-only file system"):
                change()
        assert list(home.names.read().images) == [first]


def test_an_archive_that_is_none_and_one_that_lies(home: Home, tmp_path: Path) -> None:
    (tmp_path / "none.tar").write_bytes(Tar().add("readme", b"hello").content())
    with pytest.raises(CellholdError, match=r"neither index\.json nor manifest\.json"):
        load(tmp_path / "none.tar", home=home)
    index = {"schemaVersion": 2, "manifests": [descriptor(mediatypes.MANIFEST, b"{}")]}
    lying = (
        Tar().add("oci-layout", b"{}").add("index.json", json.dumps(index).encode()).add(f"blobs/sha256/{Digest.of(b'{}').encoded}", b"[]")
    )
    (tmp_path / "lying.tar").write_bytes(lying.content())
    with pytest.raises(ImageRefused, match="is another content"):
        load(tmp_path / "lying.tar", home=home)
    linked = Tar().symlink("index.json", "/etc/passwd")
    (tmp_path / "linked.tar").write_bytes(linked.content())
    with pytest.raises(CellholdError, match="cannot"):
        load(tmp_path / "linked.tar", home=home)
    with pytest.raises(ImageNotFound, match="No such file"):
        load(tmp_path / "nonsuch.tar", home=home)
    assert home.names.read().images == {}
    assert list((home.root / "scratch").iterdir()) == []
