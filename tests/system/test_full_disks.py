"""Images and a disk that is full: the command ends, with one sentence, and nothing half-written is left or believed."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cellhold.cli import files
from cellhold.container.detached import Detached
from cellhold.image.archive.importing import import_root
from cellhold.spec.spec import Spec
from cellhold.store.home import open_home
from disks import fill, small_disk
from tars import Tar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.store.home import Home

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp")
IMAGE = "small:1"
PATIENCE_SECONDS = 120.0
MIB = 1 << 20
WRITER = """
import sys, time
from cellhold.cli import files
with files.writing(sys.argv[1]) as file:
    file.write(bytes(8 << 20))
    file.flush()
    print("written", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busybox_root: Path) -> Home:
    """A store with an image that is larger than what is left of the small disk."""
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "store"))
    made = open_home()
    tar = Tar().add("bin/busybox", (busybox_root / "bin/busybox").read_bytes(), mode=0o755).symlink("bin/sleep", "busybox")
    import_root(io.BytesIO(tar.add("big", os.urandom(4 * MIB)).content()), IMAGE, made)
    return made


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A disk with 1 MiB left."""
    with small_disk(tmp_path / "disk") as disk:
        fill(disk, free_kib=1024)
        yield disk


def run(*words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cellhold.cli", *words]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE_SECONDS)


@pytest.fixture
def container(home: Home) -> Iterator[str]:
    box = Detached.create(Spec(image=IMAGE, args=("/bin/sleep", "1000")), home=home)
    box.start()
    yield box.id
    box.remove(force=True)


@pytest.mark.parametrize("command", ["save", "export"])
def test_an_archive_that_does_not_fit_is_no_file(command: str, container: str, full: Path) -> None:
    what = IMAGE if command == "save" else container
    (full / "old.tar").write_text("an older one")
    for name in ("new.tar", "old.tar"):
        done = run(command, "-o", str(full / name), what)
        assert (done.returncode, done.stderr) == (1, f"cellhold: cannot write {full / name}: No space left on device\n")
    assert sorted(path.name for path in full.iterdir()) == ["filler", "old.tar"]
    assert (full / "old.tar").read_text() == "an older one"


@pytest.mark.parametrize("command", ["save", "export"])
def test_standard_output_that_takes_no_more_is_a_sentence(command: str, container: str, full: Path) -> None:
    with (full / "out").open("wb") as file:
        done = run(command, IMAGE if command == "save" else container, stdout=file.fileno())
    assert (done.returncode, done.stderr) == (1, "cellhold: cannot write standard output: No space left on device\n")


def test_a_layout_that_does_not_fit_is_no_directory(home: Home, full: Path) -> None:
    del home
    done = run("save", "--format", "oci-dir", "-o", str(full / "layout"), IMAGE)
    assert done.returncode == 1
    assert done.stderr == f"cellhold: cannot write {full / 'layout'}: No space left on device\n"
    assert os.listdir(full) == ["filler"]


def test_what_is_written_has_the_mode_of_what_it_replaces_and_links_and_pipes_are_written_to(home: Home, tmp_path: Path) -> None:
    del home
    place = tmp_path / "out"
    place.mkdir()
    (place / "old.tar").touch(mode=0o640)
    (place / "link.tar").symlink_to("old.tar")
    assert run("save", "-o", str(place / "link.tar"), IMAGE).returncode == 0
    assert (place / "link.tar").is_symlink()
    assert (place / "old.tar").stat().st_mode & 0o777 == 0o640
    assert (place / "old.tar").stat().st_size > 4 * MIB
    assert run("save", "-o", "/dev/null", IMAGE).returncode == 0
    assert sorted(os.listdir(place)) == ["link.tar", "old.tar"]


def test_who_is_killed_while_it_writes_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.mkdir()
    with subprocess.Popen([sys.executable, "-c", WRITER, str(place / "new.tar")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()
    assert os.listdir(place) == []


def test_where_no_file_can_be_without_a_name_it_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    for text in (b"first", b"second"):
        with files.writing(str(tmp_path / "new")) as file:
            file.write(text)
    with pytest.raises(ZeroDivisionError), files.writing(str(tmp_path / "new")) as file:
        file.write(bytes([3 // 0]))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"new": b"second"}


@pytest.mark.parametrize("instruction", ["COPY", "ADD"])
def test_a_build_whose_copy_fills_the_disk_ends(instruction: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM scratch\n{instruction} big /x\n")
    (context / "big").write_bytes(os.urandom(40 * MIB))
    with small_disk(tmp_path / "disk") as disk:
        monkeypatch.setenv("CELLHOLD_HOME", str(disk / "store"))
        done = run("build", str(context))
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert list((disk / "store/scratch").iterdir()) == []


@pytest.mark.parametrize("content", [b'{"schemaVersion": 2, "manifests": []}', b"[]"])
def test_an_archive_without_an_image_is_a_sentence(home: Home, tmp_path: Path, content: bytes) -> None:
    del home
    name = "index.json" if content.startswith(b"{") else "manifest.json"
    (tmp_path / "archive.tar").write_bytes(Tar().add(name, content).content())
    done = run("load", "-i", str(tmp_path / "archive.tar"))
    assert done.returncode == 1
    assert "cellhold: cannot load the archive: it holds no image\nhint: " in done.stderr
