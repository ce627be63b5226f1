"""One image whose blobs cannot be read is listed as damaged, removed by force or mended by what comes again, and nobody else's trouble."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from cellhold.cli import main
from cellhold.errors import Damaged
from cellhold.image import stored, tags
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cellhold.spec.digest import Digest
    from cellhold.store.home import Home
    from images.layout import Image

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")

DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "another one's": lambda path: path.write_bytes(path.read_bytes().replace(b"sha256", b"sha512", 1)),
    "gone": lambda path: path.unlink(),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busybox_image: Image, capfd: pytest.CaptureFixture[str]) -> Home:
    """A store of this test's own, with the images good:1 and bad:1, which share their layers."""
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "s"))
    found = open_home()
    assert main(["load", "-q", "-i", str(busybox_image.layout)]) == 0
    (image,) = stored.every(found)
    tags.tag(str(image.id), "good:1", found)
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text("FROM good:1\nLABEL a=b\n")
    assert main(["build", "-q", "-t", "bad:1", str(tmp_path / "context")]) == 0
    capfd.readouterr()
    return found


def blob(name: str, kind: str, home: Home) -> tuple[Digest, Digest]:
    """The digest of the image's manifest, and that of the blob."""
    image = stored.find(name, home)
    return image.digest, {"manifest": image.digest, "config": image.id, "layer": image.manifest.layers[0].digest}[kind]


@pytest.mark.parametrize("kind", ["manifest", "config"])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_image_is_listed_and_goes_by_force_and_all_others_go_on(
    how: str, kind: str, home: Home, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    digest, damaged = blob("bad:1", kind, home)
    layers = home.layers.all()
    home.blobs.path(damaged).chmod(0o600)
    DAMAGES[how](home.blobs.path(damaged))
    for words in (["images"], ["system", "df"], ["info"], ["run", "--rm", "good:1", "true"], ["history", "good:1"], ["tag", "good:1", "x"]):
        assert main(words) == 0, words
    captured = capfd.readouterr()
    assert ["bad", "1", digest.short, "Damaged", "Damaged"] in [line.split() for line in captured.out.splitlines()]
    assert captured.err.count("cannot read image bad:1: cannot read sha256:") == 2  # images, system df
    for words in (["run", "--rm", "bad:1", "true"], ["history", "bad:1"], ["inspect", "bad:1"], ["save", "-o", f"{tmp_path}/o", "bad:1"]):
        assert main(words) != 0, words
        assert "cannot read image bad:1: " in capfd.readouterr().err, words
    assert not (tmp_path / "o").exists()
    for words in (["system", "prune", "-af"], ["image", "prune", "-af"]):
        assert main(words) == 0, words
        assert "No space came free: cannot read image bad:1: " in capfd.readouterr().out
    assert set(home.layers.all()) == set(layers)  # it may need them
    assert main(["rmi", "bad:1"]) != 0
    assert "cellhold rmi --force" in capfd.readouterr().err
    assert main(["rmi", "--force", digest.short]) == 0
    assert capfd.readouterr().out == f"Untagged: bad:1\nDeleted: {digest}\n"
    assert (stored.unreadable(home), home.layers.all(), home.blobs.all()) == ([], [], [])


@pytest.mark.parametrize("kind", ["manifest", "config"])
@pytest.mark.parametrize("how", DAMAGES)
def test_what_comes_again_mends_a_damaged_image(how: str, kind: str, home: Home, tmp_path: Path) -> None:
    assert main(["save", "-o", str(tmp_path / "archive.tar"), "bad:1"]) == 0
    _digest, damaged = blob("bad:1", kind, home)
    home.blobs.path(damaged).chmod(0o600)
    DAMAGES[how](home.blobs.path(damaged))
    with pytest.raises(Damaged):
        stored.find("bad:1", home)
    assert main(["load", "-q", "-i", str(tmp_path / "archive.tar")]) == 0
    assert main(["run", "--rm", "bad:1", "true"]) == 0


def test_a_layer_of_which_nobody_knows_what_it_is_keeps_nobody_from_listing_and_pruning(
    home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    chain = stored.find("bad:1", home).chain_ids[-1]
    (home.layers.root / chain.encoded / "layer.json").write_bytes(b"")
    for words in (["images"], ["images", "--format", "json"], ["system", "df"], ["image", "prune", "-f"], ["system", "prune", "-f"]):
        assert main(words) == 0, words
    captured = capfd.readouterr()
    assert f"cannot read layer {chain}: " in captured.err
    assert json.loads(captured.out.splitlines()[3])["size"] == "Damaged"
    assert main(["rmi", "bad:1", "good:1"]) == 0
    assert home.layers.all() == []
