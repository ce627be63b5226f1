"""A name is not authority: ids, digests, the host image and what is derived mean what they mean, whatever images are called.

Each test has a victim's image, and one of an attacker who may name images as he likes: by tag, build, commit, import, load, pull.
"""

from __future__ import annotations

import io
import json
import os
import struct
from typing import TYPE_CHECKING

import pytest

from cellhold import image as images
from cellhold.build.builder import build
from cellhold.build.context import Context
from cellhold.build.options import Options
from cellhold.build.state import State
from cellhold.cli import main
from cellhold.errors import ImageNotFound, ImageRefused, InvalidSpec
from cellhold.image import ingest, stored, tags
from cellhold.image.archive.importing import import_root
from cellhold.image.archive.loading import load
from cellhold.image.archive.saving import save
from cellhold.image.platform import Platform
from cellhold.image.pulling import pull
from cellhold.image.reference import Reference
from cellhold.spec.digest import Digest
from cellhold.spec.spec import Spec
from cellhold.store.home import open_home
from cellhold_kernel.engine.local.program import InsideProgram, LayerMissing, program_for
from cellhold_kernel.images import kernel_layer
from cellhold_kernel.images.finding import find
from tars import Tar

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.image.stored import StoredImage
    from cellhold.store.home import Home
    from cellhold_kernel.images.found import Python

pytestmark = pytest.mark.requires("user-namespace", "overlayfs", "mount-api", "seccomp")
LOADER = "/lib64/ld-linux-x86-64.so.2"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A store of this test's own, empty."""
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "store"))
    return open_home()


def imported(home: Home, name: str | None, **files: bytes) -> StoredImage:
    tar = Tar()
    for path, content in files.items():
        tar.add(path, content)
    return import_root(io.BytesIO(tar.content()), name, home)


def elf() -> bytes:
    """The beginning of a program for glibc."""
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    name = LOADER.encode() + b"\0"
    return header + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(name), len(name), 1) + name


def with_python(home: Home, name: str, **more: bytes) -> StoredImage:
    """An image that looks like one with a Python and no kernel."""
    tar = Tar().add("usr/bin/python3.11", elf(), mode=0o755).symlink("usr/bin/python3", "python3.11")
    tar.add("usr/lib/python3.11/os.py").add("lib/x86_64-linux-gnu/libc-2.31.so")
    tar.symlink("lib/x86_64-linux-gnu/libc.so.6", "libc-2.31.so").add("lib64/ld-linux-x86-64.so.2", elf(), mode=0o755)
    for path, content in more.items():
        tar.add(path, content)
    return import_root(io.BytesIO(tar.content()), name, home)


def python_of(image: StoredImage, home: Home) -> Python:
    seen = stored.prepared(image, home, name=image.name)
    return find(seen.stacks[0].layers, env=seen.env, user=seen.user, cwd=seen.cwd).pythons[0]


def derived(image: StoredImage, home: Home) -> StoredImage:
    """What kernel_layer.py makes, without a container: the image with one more setting, under the key of the kernel layer."""
    state = State.from_base(image, Platform.host())
    state = state.after(state.next_key("KERNEL"), state.taken(None, 1.0), created_by="cellhold kernel layer")
    with ingest.making(home):
        return state.arrived(home, names=[], derived=(kernel_layer.key(image, python_of(image, home)), image.digest))


def archive(image: StoredImage, home: Home, name: str) -> io.BytesIO:
    """The image in an archive that gives it a name."""
    made = io.BytesIO()
    save([(image, name)], made, home=home)
    made.seek(0)
    return made


# ------------------------------------------------------------------------------------------------------- what is derived


def test_no_name_leads_to_a_kernel_layer_and_none_takes_its_place(home: Home) -> None:
    victim = with_python(home, "victim:1")
    evil = imported(home, "evil:1", payload=b"of the attacker")
    key = kernel_layer.key(victim, python_of(victim, home))
    names = [
        f"localhost/cellhold-kernel:{victim.id.encoded[:12]}-{key[:8]}",
        f"localhost/cellhold-kernel:{key[:12]}",
        f"cellhold-kernel:{key[:8]}",
        f"my/{key[:64]}",
    ]
    for name in names:
        tags.tag("evil:1", name, home)
        load(archive(evil, home, f"docker.io/{name}" if name.startswith("my/") else name))
    assert program_for(Spec(image="victim:1")) == LayerMissing(image="victim:1")
    made = derived(victim, home)
    found = program_for(Spec(image="victim:1"))
    assert isinstance(found, InsideProgram)
    assert found.image == str(made.id)
    for name in names:
        tags.tag("evil:1", name, home)
    assert program_for(Spec(image="victim:1")) == found
    assert stored.find(str(found.image), home).digest == made.digest


def test_a_name_that_a_kernel_layer_is_given_and_loses_leaves_it_where_it_is(home: Home) -> None:
    victim = with_python(home, "victim:1")
    made = derived(victim, home)
    tags.tag(str(made.id), "mine:1", home)
    tags.remove("mine:1", home)
    tags.prune(home)
    found = program_for(Spec(image="victim:1"))
    assert isinstance(found, InsideProgram)
    assert found.image == str(made.id)


def test_a_kernel_layer_belongs_to_the_image_and_not_to_its_name(home: Home) -> None:
    first = with_python(home, "victim:1")
    derived(first, home)
    second = with_python(home, "other:1", more=b"not the same")
    tags.tag("other:1", "victim:1", home)
    assert program_for(Spec(image="victim:1")) == LayerMissing(image="victim:1")
    assert second.digest != first.digest


def test_kernel_layers_are_listed_removed_by_their_ids_and_go_with_their_image(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    victim = with_python(home, "victim:1")
    made = derived(victim, home)
    assert main(["images"]) == 0
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("<derived>"))
    assert row[:3] == ["<derived>", victim.id.short, made.id.short]
    assert main(["rmi", made.id.short]) == 0
    assert program_for(Spec(image="victim:1")) == LayerMissing(image="victim:1")
    assert home.names.read().derived == {}
    derived(victim, home)
    capsys.readouterr()
    assert main(["rmi", "victim:1"]) == 0
    assert capsys.readouterr().out.count("Deleted: ") == 2
    assert home.names.read().images == {}
    assert home.layers.all() == []


# ----------------------------------------------------------------------------------------------------------- ids and digests


@pytest.mark.parametrize("length", [12, 20, 63])
def test_no_image_is_called_as_the_id_of_another_one_reads(home: Home, length: int) -> None:
    victim = imported(home, "victim:1", file=b"1")
    imported(home, "evil:1", file=b"2")
    text = victim.id.encoded[:length]
    for name in (text, f"{text}:latest", f"docker.io/{text}", f"library/{text}", f"index.docker.io/library/{text}"):
        with pytest.raises(InvalidSpec, match=f"cannot tag evil:1 as {name}: {text} reads as the id of an image"):
            tags.tag("evil:1", name, home)
    tags.remove("victim:1", home)
    with pytest.raises(ImageNotFound):
        stored.find(text, home)


@pytest.mark.parametrize("kind", ["sha256", "sha512"])
def test_no_image_is_called_as_a_digest_reads(home: Home, kind: str) -> None:
    victim = imported(home, "victim:1", file=b"1")
    evil = imported(home, "evil:1", file=b"2")
    for name in (f"{kind}:{victim.id.encoded}", f"{kind}:{victim.id.encoded[:20]}", kind, f"docker.io/{kind}:1"):
        with pytest.raises(InvalidSpec, match=f"no image can be called {kind}: that is how a digest begins"):
            tags.tag("evil:1", name, home)
    with home.names.changed() as table:  # as an older version let it be written
        table.names[f"docker.io/library/sha256:{victim.id.encoded}"] = evil.digest
        table.names[f"docker.io/library/{victim.id.encoded[:12]}:latest"] = evil.digest
    assert stored.find(f"sha256:{victim.id.encoded}", home).digest == victim.digest
    assert stored.find(victim.id.encoded[:12], home).digest == victim.digest


def test_what_may_be_a_name_or_an_id_means_neither(home: Home) -> None:
    victim = imported(home, "victim:1", file=b"1")
    evil = imported(home, "evil:1", file=b"2")
    text = victim.id.encoded[:8]
    tags.tag("evil:1", text, home)
    with pytest.raises(ImageNotFound, match="one image is called so, and the id of another begins so"):
        stored.find(text, home)
    with pytest.raises(ImageNotFound, match="one image is called so"):
        images.is_here(text)
    assert stored.find(f"{text}:latest", home).digest == evil.digest
    assert stored.find(victim.id.encoded[:13], home).digest == victim.digest


def test_a_digest_of_a_repository_is_only_one_that_the_repository_has(home: Home) -> None:
    victim = imported(home, "python:3.12", file=b"1")
    evil = imported(home, "nb/evil:1", file=b"2")
    assert stored.find(f"python@{victim.digest}", home).digest == victim.digest
    assert stored.find(f"nb/evil@{evil.digest}", home).digest == evil.digest
    for text in (f"python@{evil.digest}", f"python:3.12@{evil.digest}", f"localhost/nb/evil@{evil.digest}"):
        assert not stored.has(text, home), text


# ------------------------------------------------------------------------------------------------------- names with a meaning


@pytest.mark.parametrize("name", ["host", "host:1", "docker.io/host", "scratch", "library/scratch:2", f"x@{Digest.of(b'x')}"])
def test_names_with_a_meaning_are_given_to_no_image(home: Home, tmp_path: Path, name: str) -> None:
    evil = imported(home, "evil:1", file=b"2")
    with pytest.raises(InvalidSpec, match="cannot tag"):
        tags.tag("evil:1", name, home)
    with pytest.raises(InvalidSpec, match="cannot import"):
        imported(home, name, file=b"3")
    with pytest.raises(InvalidSpec, match="cannot build"):
        build("FROM evil:1\n", "Dockerfile", Context(tmp_path), home, Options(names=(name,)))
    if "@" not in name:
        with pytest.raises(InvalidSpec, match="cannot pull"):
            pull(name, home=home)
        load(archive(evil, home, str(Reference.parse(name))))
    assert set(home.names.read().names) == {"docker.io/library/evil:1"}


def test_an_image_built_from_host_is_no_image_of_anywhere_else(home: Home, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    ours = build('FROM host\nCMD ["x"]\n', "Dockerfile", Context(tmp_path / "context"), home, Options(names=("ours:1",)))
    assert ours.on_host
    assert json.loads(ours.config.raw)["cellhold"] == {"from": "host"}
    with pytest.raises(ImageRefused, match="was built FROM host on another machine"), ingest.making(home):
        ingest.arrive(ours.manifest, ingest.Nowhere(), home, names=["docker.io/library/evil:1"])
    assert stored.find("ours:1", home).on_host
    assert not stored.has("evil:1", home)
    child = build("FROM ours:1\nENV a=1\n", "Dockerfile", Context(tmp_path / "context"), home, Options(names=("child:1",)))
    assert child.on_host
    assert json.loads(child.config.raw)["cellhold"] == {"from": "host"}


def test_the_store_of_an_earlier_version_is_read(home: Home) -> None:
    victim = imported(home, "victim:1", file=b"1")
    place = home.root / "images.json"
    old = json.loads(place.read_text())
    del old["derived"]
    place.write_text(json.dumps({**old, "version": 1}))
    assert stored.find("victim:1", home).digest == victim.digest
    tags.tag("victim:1", "again:1", home)
    assert json.loads(place.read_text())["version"] == 2
    assert os.listdir(home.root / "blobs/drafts") == []
