"""Images of a real registry: pulled, run, pushed, saved, loaded, removed; and what others make of what we pass on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cellhold import Container, Spec
from cellhold.cli import main
from cellhold.errors import ImageNotFound, NotAllowed
from cellhold.image import layer_diff, stored, tags
from cellhold.image.archive import saving
from cellhold.image.archive.loading import load
from cellhold.image.progress import Doing
from cellhold.image.pulling import pull
from cellhold.image.pushing import push
from cellhold.image.reference import Reference
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.image.progress import Progress
    from cellhold.store.home import Home
    from images import Image
    from peers import Peers
    from registry import Registry

pytestmark = pytest.mark.requires("user-namespace", "overlayfs", "mount-api", "seccomp")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A store of this test's own, empty."""
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "store"))
    return open_home()


@pytest.fixture
def reference(busybox_image: Image, registry: Registry, peers: Peers) -> str:
    """A small image in the registry."""
    return peers.push(busybox_image, registry.reference("busybox:1"))


def output(image: str, *args: str) -> str:
    reader, writer = os.pipe()
    with os.fdopen(reader) as file, Container.create(Spec(image=image, args=args)) as box:
        box.start(stdout=writer)
        os.close(writer)
        text = file.read()
        assert box.wait().status == 0
    return text


def kept(home: Home) -> list[str]:
    """All that the store has of images."""
    places = (home.root / "blobs", home.root / "layers", home.root / "scratch")
    return sorted(
        str(path.relative_to(home.root)) for place in places if place.exists() for path in files(place) if "init" not in path.parts
    )


def files(place: Path) -> Iterator[Path]:
    return (path for path in place.rglob("*") if path.is_file() and not path.is_symlink())


def test_a_pulled_image_runs_and_the_second_pull_sends_nothing(home: Home, reference: str) -> None:
    told: list[Progress] = []
    first = pull(reference, tell=told.append)
    assert {progress.doing for progress in told} >= {Doing.DOWNLOADING, Doing.DONE}
    assert output(reference, "/bin/sh", "-c", "echo hello").strip() == "hello"
    told.clear()
    assert pull(reference, tell=told.append).digest == first.digest
    assert {progress.doing for progress in told} == {Doing.WAITING, Doing.EXISTS}
    assert home.names.read().names == {str(Reference.parse(reference)): first.digest}


@pytest.mark.peers
def test_what_we_push_has_the_digest_that_it_came_with_and_podman_runs_it(
    home: Home, reference: str, registry: Registry, peers: Peers
) -> None:
    came = pull(reference)
    there = registry.reference("again/busybox:2")
    tags.tag(reference, there, home)
    told: list[Progress] = []
    assert push(there, tell=told.append) == came.digest
    assert {progress.doing for progress in told} == {Doing.MOUNTED}
    told.clear()
    push(there, tell=told.append)
    assert {progress.doing for progress in told} == {Doing.EXISTS}
    assert json.loads(peers.skopeo("inspect", "--tls-verify=false", f"docker://{there}"))["Digest"] == str(came.digest)
    assert peers.podman_run(there, "/bin/sh", "-c", "echo from podman").strip() == "from podman"


@pytest.mark.peers
def test_what_buildah_makes_of_it_in_dockers_words_we_run(
    home: Home, reference: str, registry: Registry, peers: Peers, tmp_path: Path
) -> None:
    (tmp_path / "added").write_text("by buildah\n")
    derived = registry.reference("derived:1")
    peers.buildah_derive(reference, f"docker://{derived}", copy=tmp_path / "added", to="/added", options=("--format", "docker"))
    found = pull(derived)
    assert found.manifest.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert output(derived, "/bin/cat", "/added") == "by buildah\n"
    assert [layer.chain_id for layer in layer_diff.layers(found, home)][:-1] == list(pull(reference).chain_ids)


def test_a_debian_of_three_layers_is_itself(
    home: Home, debian_python_image: Image, registry: Registry, peers: Peers, capfd: pytest.CaptureFixture[str]
) -> None:
    del home
    reference = peers.push(debian_python_image, registry.reference("debian-python:1"))
    told = "id -un; date +%Y | wc -l; grep -c ^ID= /etc/os-release; python3 -c 'import ipykernel, sqlite3, ssl; print(6 * 7)'"
    assert main(["run", "--rm", reference, "sh", "-c", told]) == 0
    assert capfd.readouterr().out == "root\n1\n1\n42\n"
    assert main(["which", reference, "/usr/bin/python3"]) == 0
    assert "layer 2" in capfd.readouterr().out


def test_ten_processes_that_pull_the_same_image_do_the_work_once(home: Home, reference: str, registry: Registry) -> None:
    before = registry.log.read_text().count("GET /v2/busybox/blobs/")
    command = [sys.executable, "-m", "cellhold.cli", "pull", "--quiet", reference]
    pulling = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(10)]
    ended = [(process.communicate(), process.returncode) for process in pulling]
    assert [(errors, status) for (_out, errors), status in ended] == [("", 0)] * 10
    found = stored.find(reference, home)
    assert registry.log.read_text().count("GET /v2/busybox/blobs/") - before == len(found.manifest.layers) + 1


def test_ten_containers_of_one_image_have_its_layers_once(home: Home, reference: str) -> None:
    pull(reference)
    before = kept(home)
    boxes = [Container.create(Spec(image=reference, args=("/bin/sleep", "100"))) for _ in range(10)]
    try:
        for box in boxes:
            box.start()
        assert kept(home) == before
    finally:
        for box in boxes:
            box.remove(force=True)


def test_an_image_that_is_saved_skopeo_reads_both_ways_and_it_loads_again_as_it_was(
    home: Home, reference: str, peers: Peers, tmp_path: Path
) -> None:
    found = pull(reference)
    with (tmp_path / "saved.tar").open("wb") as file:
        saving.save([(found, None)], file, home=home)
    peers.skopeo_copy(f"oci-archive:{tmp_path}/saved.tar", f"oci:{tmp_path}/one:1")
    peers.skopeo_copy(f"docker-archive:{tmp_path}/saved.tar", f"oci:{tmp_path}/two:1")
    tags.remove(reference, home)
    assert kept(home) == []
    assert [image.digest for image in load(tmp_path / "saved.tar")] == [found.digest]
    assert output(reference, "/bin/echo", "loaded") == "loaded\n"


def test_what_docker_save_would_write_and_a_layout_directory_load_as_well(home: Home, reference: str, peers: Peers, tmp_path: Path) -> None:
    peers.skopeo_copy(f"docker://{reference}", f"docker-archive:{tmp_path}/docker.tar:some/name:7", "--src-tls-verify=false")
    peers.skopeo_copy(f"docker://{reference}", f"oci:{tmp_path}/layout:1", "--src-tls-verify=false")
    (loaded,) = load(tmp_path / "docker.tar")
    assert loaded.name == "some/name:7"
    assert output("some/name:7", "/bin/echo", "loaded") == "loaded\n"
    (nameless,) = load(tmp_path / "layout")
    assert nameless.id == loaded.id
    assert output(str(nameless.id), "/bin/echo", "by its id") == "by its id\n"
    assert home.root / "scratch" not in home.root.iterdir() or os.listdir(home.root / "scratch") == []


def test_an_image_in_use_is_not_removed_and_a_removed_one_leaves_nothing(home: Home, reference: str) -> None:
    pull(reference)
    with Container.create(Spec(image=reference, args=("/bin/sleep", "100"))) as box:
        box.start()
        with pytest.raises(NotAllowed, match=f"cannot remove image {reference}: container {box.name} is made of it"):
            tags.remove(reference, home)
        tags.remove(reference, home, force=True)
        with pytest.raises(ImageNotFound):
            stored.find(reference, home)
        assert box.poll() is None
        assert all(home.layers.has(chain) for chain in box.image.chain_ids)
    tags.collect(home)
    assert kept(home) == []


def test_an_image_that_was_given_another_name_meanwhile_is_not_removed(home: Home, reference: str) -> None:
    found = pull(reference)
    tags.tag(reference, "another:1", home)
    assert tags._take([found], found.names, home) == ()
    assert stored.find("another:1", home).names == ("docker.io/library/another:1",)


@pytest.mark.parametrize("moment", [0.3, 0.8, 1.5])
def test_a_pull_that_is_killed_is_in_nobodys_way(home: Home, reference: str, moment: float) -> None:
    process = subprocess.Popen([sys.executable, "-m", "cellhold.cli", "pull", "--quiet", reference], stdout=subprocess.DEVNULL)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert output(pull(reference).name, "/bin/echo", "whole") == "whole\n"
    tags.remove(reference, home)
    assert kept(home) == []


def test_the_commands_say_what_docker_says(home: Home, reference: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--rm", reference, "/bin/echo", "ran"]) == 0
    out, err = capfd.readouterr()
    assert out == "ran\n"
    assert f"Unable to find image '{reference}' locally" in err
    assert main(["images", "-q"]) == 0
    assert capfd.readouterr().out.strip() == stored.find(reference, home).id.short
    assert main(["inspect", reference, "nonsuch"]) == 1
    out, err = capfd.readouterr()
    assert json.loads(out)[0]["RootFS"]["Layers"] == [str(diff_id) for diff_id in stored.find(reference, home).config.diff_ids]
    assert "cannot use image=nonsuch: it is not here" in err
    assert main(["history", reference]) == 0
    assert capfd.readouterr().out.startswith("IMAGE")
    assert main(["layers", "--tree", reference]) == 0
    assert " D " in capfd.readouterr().out
    assert main(["which", reference, "/bin/sh"]) == 0
    assert "from layer 1" in capfd.readouterr().out
    assert main(["which", reference, "/nonsuch"]) == 1
    capfd.readouterr()
    assert main(["rmi", reference]) == 0
    assert capfd.readouterr().out.startswith(f"Untagged: {reference}\nDeleted: sha256:")
    assert main(["run", "--rm", "--pull", "never", reference, "/bin/true"]) == 125
    assert "it is not here" in capfd.readouterr().err


def test_files_that_cannot_be_read_or_written_are_sentences(home: Home, reference: str, capfd: pytest.CaptureFixture[str]) -> None:
    pull(reference, home=home)
    for words, sentence in (
        (["load", "-i", "/nonsuch.tar"], "cannot read /nonsuch.tar: No such file or directory"),
        (["load", "-i", "a" * 6000], "a: File name too long"),
        (["import", "/nonsuch.tar"], "cannot read /nonsuch.tar: No such file or directory"),
        (["save", "-o", "/nonsuch/x.tar", reference], "cannot write /nonsuch/x.tar: No such file or directory"),
        (["save", "--format", "oci-dir", "-o", "/usr", reference], "cannot write /usr: File exists"),
        (["save", "--format", "oci-dir", reference], "cannot save a directory to standard output"),
    ):
        assert main(words) == 1
        assert sentence in capfd.readouterr().err
    assert main(["image", "prune", "--all", "--force"]) == 0
    assert "Deleted: sha256:" in capfd.readouterr().out
    assert kept(home) == []
