"""An image whose config has more of something than anybody needs is refused with the bound, in a time that grows with its length."""

from __future__ import annotations

import io
import json
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.build.state import State
from cellhold.errors import ImageRefused
from cellhold.image import config, ingest, manifest, mediatypes, stored
from cellhold.image.archive.docker_save import DockerSave
from cellhold.image.archive.folder import Folder
from cellhold.image.platform import Platform
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANY = 100_000
SECONDS = 20.0


def raw(settings: dict[str, Any] | None = None, **members: Any) -> bytes:
    rootfs = {"type": "layers", "diff_ids": []}
    return json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs, "config": settings or {}, **members}).encode()


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"Env": [f"a{number}=" for number in range(MANY)]}, r"config\.config\.Env"),
        ({"Labels": {f"a{number}": "" for number in range(MANY)}}, r"config\.config\.Labels"),
        ({"Volumes": {f"/a{number}": {} for number in range(MANY)}}, r"config\.config\.Volumes"),
        ({"OnBuild": ["CMD x"] * MANY}, r"config\.config\.OnBuild"),
        ({"Cmd": ["x"] * MANY}, r"config\.config\.Cmd"),
    ],
)
def test_a_config_with_too_many_entries_is_refused(settings: dict[str, Any], where: str) -> None:
    began = time.process_time()
    with pytest.raises(ImageRefused, match=f"cannot use {where}: its 100000 entries are more than 20000"):
        config.parse(raw(settings))
    assert time.process_time() - began < SECONDS


def test_a_history_with_too_many_entries_is_refused() -> None:
    with pytest.raises(ImageRefused, match=r"cannot use config\.history: its 100000 entries are more than 20000"):
        config.parse(raw(history=[{}] * MANY))


def test_json_that_is_nested_deeply_is_refused() -> None:
    with pytest.raises(ImageRefused, match="nested too deeply"):
        config.parse(b'{"a":' * MANY)


def test_an_index_of_as_many_images_as_there_is_room_for_is_read_in_its_time() -> None:
    entry = {"mediaType": mediatypes.MANIFEST, "size": 1, "digest": f"sha256:{'a' * 64}", "platform": {"os": "x", "architecture": "y"}}
    document = {"schemaVersion": 2, "mediaType": mediatypes.INDEX, "manifests": [entry] * 20_000}
    began = time.process_time()
    found = manifest.parse(json.dumps(document).encode())
    assert isinstance(found, manifest.Index)
    with pytest.raises(Exception, match="cannot use an image for linux/amd64"):
        found.choose(Platform.parse("linux/amd64"))
    assert time.process_time() - began < SECONDS


def test_an_image_with_more_volumes_than_a_container_can_have_makes_none(tmp_path: Path) -> None:
    home = open_home(tmp_path / "store")
    settings: dict[str, Any] = {"Volumes": {f"/v{number}": {} for number in range(5000)}}
    with ingest.making(home):
        made = State(base=None, platform=Platform.host(), settings=settings).arrived(home, names=["docker.io/library/x:1"])
    with pytest.raises(ImageRefused, match="cannot use image=x:1: it has 5000 volumes, and a container has 128 of an image's at most"):
        stored.prepared(made, home, name="x:1")
    assert [path for path in home.volumes.iterdir() if not path.name.startswith(".")] == []


def test_a_file_that_many_images_of_an_archive_name_as_a_layer_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w"):
        pass
    (tmp_path / "layer.tar").write_bytes(layer.getvalue())
    (tmp_path / "config.json").write_bytes(raw(rootfs={"type": "layers", "diff_ids": [f"sha256:{'a' * 64}"] * 100}))
    table = [{"Config": "config.json", "RepoTags": [], "Layers": ["layer.tar"] * 100}] * 100
    (tmp_path / "manifest.json").write_text(json.dumps(table))
    opened: list[str] = []
    chunks = Folder.chunks

    def counted(self: Folder, name: str, start_byte: int = 0) -> Iterator[bytes]:
        opened.append(name)
        return chunks(self, name, start_byte)

    monkeypatch.setattr(Folder, "chunks", counted)
    with Folder(tmp_path) as folder:
        assert len(list(DockerSave(folder).images())) == 100
    assert opened == ["layer.tar"]
    (tmp_path / "manifest.json").write_text(json.dumps(table * 11))
    with Folder(tmp_path) as folder, pytest.raises(ImageRefused, match="its 1100 entries are more than 1000"):
        list(DockerSave(folder).images())
