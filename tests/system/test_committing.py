"""What a container has written: listed, made an image of, exported; on each kind of writable layer that can be looked at."""

from __future__ import annotations

import io
import os
import select
import subprocess
import sys
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cellhold import Container, Limits, Spec
from cellhold.build.builder import build
from cellhold.build.context import Context
from cellhold.build.options import Options
from cellhold.container import commit
from cellhold.container.detached import Detached
from cellhold.errors import ContainerNotFound, InvalidSpec, NotAllowed, NotSupported
from cellhold.image import stored, tags
from cellhold.image.archive.importing import import_root
from cellhold.image.pulling import pull
from cellhold.image.pushing import push
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.store.home import Home
    from images import Image
    from peers import Peers
    from registry import Registry

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp")
WRITE = "echo one > /added; rm /etc/passwd; echo two >> /etc/group; mkdir /d; echo x > /d/f; chmod 4755 /d/f; echo done; sleep 100"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "store"))
    return open_home()


@pytest.fixture
def image(busybox_image: Image, registry: Registry, peers: Peers, home: Home) -> str:
    """A small image, pulled."""
    reference = peers.push(busybox_image, registry.reference("busybox:1"))
    assert pull(reference, home=home).names
    return reference


def running(spec: Spec) -> Container:
    """A container that has written, and runs on."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as file:
        box = Container.create(spec)
        box.start(stdout=writer, stderr=2)
        os.close(writer)
        assert file.readline() == "done\n"
    return box


@pytest.fixture(params=["a directory", "a disk image"])
def box(request: pytest.FixtureRequest, image: str) -> Iterator[Container]:
    limits = Limits(disk_bytes=32 << 20 if request.param == "a disk image" else None)
    made = running(Spec(image=image, args=("/bin/sh", "-c", WRITE), name="writer", limits=limits))
    with made:
        yield made


def test_a_diff_is_dockers(box: Container, home: Home) -> None:
    told = {change.path: change.kind for change in commit.diff("writer", home).changes}
    assert told == {"/added": "A", "/etc": "C", "/etc/passwd": "D", "/etc/group": "C", "/d": "A", "/d/f": "A"}
    assert commit.diff(box.id[:6], home) == commit.diff("writer", home)


@pytest.mark.peers
def test_a_commit_is_an_image_that_we_and_podman_run(box: Container, home: Home, registry: Registry, peers: Peers) -> None:
    there = registry.reference("committed:1")
    made = commit.commit("writer", there, home, message="what I did", author="me")
    base = stored.find(box.spec.image, home)
    assert made.chain_ids[:-1] == base.chain_ids
    assert made.config.cmd == base.config.cmd
    assert (made.config.history[-1].comment, made.config.history[-1].author) == ("what I did", "me")
    peers.validate("config", made.config.raw)
    peers.validate("manifest", made.manifest.raw)
    look = "cat /added /d/f; ls /etc/passwd; tail -n 1 /etc/group; stat -c '%a %u' /d/f"
    wanted = ["one", "x", "two", "4755 0"]
    assert output(there, "/bin/sh", "-c", look).splitlines() == wanted
    assert push(there) == made.digest
    assert peers.podman_run(there, "/bin/sh", "-c", f"{look} 2>/dev/null").splitlines() == wanted
    assert box.poll() is None


def output(image: str, *args: str) -> str:
    reader, writer = os.pipe()
    with os.fdopen(reader) as file, Container.create(Spec(image=image, args=args)) as box:
        box.start(stdout=writer)
        os.close(writer)
        text = file.read()
        box.wait()
    return text


def test_an_export_is_the_whole_root_and_imports_as_an_image(box: Container, home: Home) -> None:
    exported = io.BytesIO()
    commit.export(box.id, exported, home)
    with tarfile.open(fileobj=io.BytesIO(exported.getvalue())) as archive:
        names = {name.removeprefix("./") for name in archive.getnames()}
    assert {"added", "d/f", "bin/sh"} <= names
    assert "etc/passwd" not in names
    exported.seek(0)
    made = import_root(exported, "rootfs:1", home)
    assert len(made.chain_ids) == 1
    assert output("rootfs:1", "/bin/sh", "-c", "cat /added") == "one\n"


def test_a_commit_is_of_the_image_that_the_container_was_made_of_whatever_has_its_name_now(image: str, home: Home) -> None:
    """Both have the same layers: only their ids tell them apart."""
    for word in ("first", "second"):
        built(f"FROM {image}\nENV WORD={word}\nUSER 0:0\n", word, home)
    tags.tag("first", "tool:1", home)
    with running(Spec(image="tool:1", args=("/bin/sh", "-c", WRITE), name="old")):
        tags.tag("second", "tool:1", home)
        made = commit.commit("old", "made:1", home)
        assert "WORD=first" in made.config.env
        tags.tag("second", "first", home)  # so that it has no name any more
        tags.prune(home)
        assert "WORD=first" in commit.commit("old", "made:2", home).config.env
    with running(Spec(image="tool:1", args=("/bin/sh", "-c", WRITE), name="new")):
        assert "WORD=second" in commit.commit("new", "made:3", home).config.env


@pytest.mark.parametrize("read_only", [False, True])
def test_a_volume_of_the_image_that_is_none_here_is_a_directory_of_the_layer(image: str, home: Home, *, read_only: bool) -> None:
    built(f"FROM {image}\nRUN mkdir /there && echo kept > /there/f && ln -s /tmp /link\nVOLUME /there /deep/er /link/x", "vols", home)
    script = "ls -d /there /deep/er /tmp/x; cat /there/f; grep -c -e there -e deep /proc/mounts"
    spec = Spec(image="vols", args=("/bin/sh", "-c", script), image_volumes=False, read_only=read_only, limits=Limits(disk_bytes=32 << 20))
    reader, writer = os.pipe()
    with os.fdopen(reader) as file, Container.create(spec) as made:
        made.start(stdout=writer, stderr=writer)
        os.close(writer)
        assert file.read() == "/deep/er\n/there\n/tmp/x\nkept\n0\n"
    kept = Detached.create(replace(spec, name="kept"))
    try:
        kept.start()
        assert kept.wait().status == 1  # as grep has it
        kept.start()
        assert kept.wait().status == 1
    finally:
        kept.remove(force=True)


def built(text: str, name: str, home: Home) -> None:
    """An image of a Dockerfile."""
    build(text, "Dockerfile", Context(None), home, Options(names=(name,), build_args={}))


def test_what_cannot_be_looked_at_is_a_sentence(image: str, home: Home) -> None:
    with pytest.raises(ContainerNotFound, match="cannot find container 'nonsuch': there is no such container"):
        commit.diff("nonsuch", home)
    spec = Spec(image=image, args=("/bin/sh", "-c", WRITE))
    hosts = Spec(image="host", args=("sh", "-c", "echo done; sleep 100"), name="hosts")
    with (
        running(replace(spec, storage="tmpfs", name="memory")),
        pytest.raises(NotSupported, match="container memory has written: its layer"),
    ):
        commit.diff("memory", home)
    with (
        running(hosts),
        pytest.raises(NotAllowed, match="cannot make an image of container hosts: it was made from host, which is not an OCI image"),
    ):
        commit.commit("hosts", "x:1", home)
    with running(replace(spec, name="fine")), pytest.raises(InvalidSpec, match="no upper case"):
        commit.commit("fine", "Wrong:1", home)


def test_a_commit_that_is_killed_leaves_no_container_frozen(image: str) -> None:
    reader, writer = os.pipe()
    spec = Spec(image=image, args=("/bin/sh", "-c", "while :; do echo tick; sleep 0.1; done"), name="ticking")
    hold = (
        "import time; from cellhold.container import commit; from cellhold.store import record; from cellhold.store.home import open_home\n"
        "with commit.frozen(record.find('ticking', open_home().containers)): print('frozen', flush=True); time.sleep(100)"
    )
    with os.fdopen(reader, "rb", buffering=0) as ticks, Container.create(spec) as box:
        box.start(stdout=writer)
        os.close(writer)
        assert ticks.read(5) == b"tick\n"
        with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"frozen\n"
            os.set_blocking(reader, False)
            while ticks.read(65536):
                pass
            assert not select.select([reader], [], [], 1)[0]
            holder.kill()
        assert select.select([reader], [], [], 60)[0]
