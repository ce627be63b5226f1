"""`cellhold cp`: both ways, docker's rules for what is where, running or not, and nothing that leads out."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, call, command, eventually
from cellhold.container import cp as copying
from cellhold.container.detached import Detached
from cellhold.errors import CopyFailed
from cellhold.init import file_transfer
from cellhold.spec.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer")

FILES = "mkdir -p /d/sub; echo one > /d/f; echo two > /d/sub/g; busybox ln -s f /d/link; busybox ln -s /etc /out; busybox chown -R 5:6 /d"
LOOK = "test -e /out && test $(busybox stat -c %u /d/sub/g) = 5"


STATES = ("running", "stopped")


@contextmanager
def filled(name: str, state: str, image: Path) -> Iterator[Detached]:
    """One with some files."""
    script = f"test -e /out || {{ {FILES}; }}; exec sleep 1000"
    made = Detached.create(Spec(image=str(image), args=("sh", "-c", script), name=name))
    made.start()
    assert eventually(lambda: looked(made) == 0)
    if state == "stopped":
        made.stop(0)
    yield made
    made.remove(force=True)


def looked(made: Detached) -> int:
    """Return 0 if all files are there."""
    with made.exec("sh", "-c", LOOK) as process:
        return process.wait(60)


@pytest.fixture(params=STATES)
def box(request: pytest.FixtureRequest, busybox_root: Path) -> Iterator[Detached]:
    """One of the test's own; each test sees it running, and again stopped."""
    with filled("box", request.param, busybox_root) as made:
        yield made


@pytest.fixture(scope="module", params=STATES)
def source(request: pytest.FixtureRequest, busybox_root: Path) -> Iterator[Detached]:
    """One that no test changes, likewise."""
    with filled("source", request.param, busybox_root) as made:
        yield made


def cp(*words: str) -> tuple[int, str]:
    ran = command("cp", *words)
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stderr


def test_out_of_it_by_docker_s_rules(box: Detached, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    assert cp("box:/d/f", str(tmp_path / "new")) == (0, "")
    assert (tmp_path / "new").read_text() == "one\n"
    assert cp("box:/d", str(there)) == (0, "")
    assert {str(path.relative_to(there)) for path in there.rglob("*")} == {"d", "d/f", "d/link", "d/sub", "d/sub/g"}
    assert os.readlink(there / "d/link") == "f"
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in there.rglob("*")} == {(0, 0)}
    assert cp("box:/d/.", str(tmp_path / "contents")) == (0, "")
    assert (tmp_path / "contents/sub/g").read_text() == "two\n"
    assert cp("-L", "box:/d/link", str(tmp_path / "followed")) == (0, "")
    assert (tmp_path / "followed").read_text() == "one\n"
    assert cp("-a", "box:/d/f", str(tmp_path / "owned")) == (0, "")
    assert (tmp_path / "owned").stat().st_uid == 5
    assert box.state in ("running", "stopped")


def test_into_it_by_docker_s_rules(box: Detached, tmp_path: Path) -> None:
    source = tmp_path / "tree"
    (source / "deep").mkdir(parents=True)
    (source / "deep/f").write_bytes(os.urandom(3 * MIB))
    (source / "deep/f").chmod(0o640)
    os.chown(source / "deep/f", 7, 8)
    (source / "link").symlink_to("/etc/shadow")
    assert cp(str(source), "box:/d/") == (0, "")
    assert cp(str(source / "deep/f"), "box:/renamed") == (0, "")
    assert cp("-a", str(source / "deep/f"), "box:/kept") == (0, "")
    back = tmp_path / "back"
    assert cp("-a", "box:/d/tree", str(back)) == (0, "")
    assert (back / "deep/f").read_bytes() == (source / "deep/f").read_bytes()
    assert stat.S_IMODE((back / "deep/f").stat().st_mode) == 0o640
    assert (back / "deep/f").stat().st_uid == 0
    assert os.readlink(back / "link") == "/etc/shadow"
    assert cp("-a", "box:/kept", str(tmp_path / "kept")) == (0, "")
    assert ((tmp_path / "kept").stat().st_uid, (tmp_path / "kept").stat().st_gid) == (7, 8)
    assert box.name == "box"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("source:/nosuch {here}/x", "/nosuch: No such file or directory"),
        ("source:/d/f/ {here}/x", "not a directory"),
        ("source:/d {here}/file", "a directory cannot take the place of a file"),
        ("source:/d/f {here}/nosuch/x", "No such file or directory"),
        ("source:/d/f {here}/nosuch/", "no such directory"),
        ("{here}/nosuch source:/", "No such file or directory"),
        ("{here}/file source:/nosuch/x", "No such file or directory"),
        ("{here} source:/d/f", "a directory cannot take the place of a file"),
        ("{here}/file {here}/other", "exactly one of the two must be in a container"),
        ("source:/d source:/e", "exactly one of the two must be in a container"),
        ("nosuch:/d {here}", "there is no such container"),
    ],
)
def test_a_mistake_is_one_sentence(source: Detached, tmp_path: Path, words: str, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("here")
    said = call(capfd, "cp", *words.format(here=tmp_path).split())
    assert (said.status, told in said.err) == (1, True), said
    assert (tmp_path / "file").read_text() == "here"
    assert source.name == "source"


def test_a_tar_either_way(box: Detached, tmp_path: Path) -> None:
    out = io.BytesIO()
    copying.out_as_tar(box, "/d", out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert archive.getnames() == ["d", "d/f", "d/link", "d/sub", "d/sub/g"]
        member = archive.extractfile("d/sub/g")
        assert member is not None
        assert member.read() == b"two\n"
        assert archive.getmember("d/f").uid == 5
    copying.into_from_tar(box, io.BytesIO(out.getvalue()), "/tmp")
    copying.out(box, "/tmp/d/sub/g", str(tmp_path / "g"))
    assert (tmp_path / "g").read_text() == "two\n"
    with pytest.raises(CopyFailed, match="not a tar"):
        copying.into_from_tar(box, io.BytesIO(b"x" * 2000), "/tmp")


def test_a_link_in_the_container_leads_to_the_container_s_own(box: Detached, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("planted")
    before = (tmp_path / "passwd").stat()
    assert cp(str(tmp_path / "passwd"), "box:/out/planted") == (0, "")
    assert not os.path.exists("/etc/planted")
    assert cp("box:/out/planted", str(tmp_path / "back")) == (0, "")
    assert (tmp_path / "back").read_text() == "planted"
    assert (tmp_path / "passwd").stat().st_mtime == before.st_mtime
    assert box.name == "box"


@pytest.mark.parametrize("path", [b"../x", b"/x", b"a/../../x", b"a//b", b"."])
def test_what_a_hostile_container_calls_its_files_leads_nowhere(tmp_path: Path, path: bytes) -> None:
    stream = (
        file_transfer.pack_head(file_transfer.DIRECTORY, 0o755, (0, 0), 0, 0, b"")
        + file_transfer.pack_head(file_transfer.FILE, 0o644, (0, 0), 0, 1, path)
        + b"x"
        + file_transfer.LAST
    )
    (tmp_path / "in").mkdir()
    with pytest.raises(file_transfer.CannotCopy):
        file_transfer.receive(io.BytesIO(stream), os.fsencode(tmp_path / "in"), base=b"base", contents=False, owners=False, root=False)  # type: ignore[arg-type]
    assert sorted(os.listdir(tmp_path)) == ["in"]


def test_a_link_that_comes_first_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "victim").mkdir()
    target = os.fsencode(tmp_path / "victim")
    stream = (
        file_transfer.pack_head(file_transfer.DIRECTORY, 0o755, (0, 0), 0, 0, b"")
        + file_transfer.pack_head(file_transfer.LINK, 0o777, (0, 0), 0, len(target), b"a")
        + target
        + file_transfer.pack_head(file_transfer.FILE, 0o644, (0, 0), 0, 1, b"a/f")
        + b"x"
        + file_transfer.LAST
    )
    with pytest.raises(file_transfer.CannotCopy):
        file_transfer.receive(io.BytesIO(stream), os.fsencode(tmp_path / "in"), base=b"base", contents=False, owners=False, root=False)  # type: ignore[arg-type]
    assert os.listdir(tmp_path / "victim") == []


def test_set_user_id_bits_do_not_reach_the_host_unless_asked_for(busybox_root: Path, tmp_path: Path) -> None:
    (busybox_root / "suid").write_text("x")
    (busybox_root / "suid").chmod(0o4755)
    made = Detached.create(Spec(image=str(busybox_root), args=("true",)))
    try:
        copying.out(made, "/suid", str(tmp_path / "plain"))
        copying.out(made, "/suid", str(tmp_path / "kept"), owners=True)
    finally:
        made.remove()
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o4755


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("origin", ["/d/sub/..", "/d/sub/../../d", "/nonsuch/../d", "d/./sub/..", "/d/sub/../"])
def test_dots_in_a_source_lead_nowhere_on_the_host(tmp_path: Path, origin: str, capfd: pytest.CaptureFixture[str]) -> None:
    above = tmp_path / "HOST"
    (above / "in").mkdir(parents=True)
    assert call(capfd, "cp", f"source:{origin}", str(above / "in")) == (0, "", "")
    assert {path.name for path in above.iterdir()} == {"in"}
    assert {str(path.relative_to(above / "in")) for path in above.rglob("*")} - {"in"} >= {"d", "d/f", "d/sub", "d/sub/g"}


@pytest.mark.usefixtures("box")
def test_dots_in_a_source_of_the_host_lead_nowhere_in_the_container(tmp_path: Path) -> None:
    (tmp_path / "s/x").mkdir(parents=True)
    (tmp_path / "s/one").write_text("1")
    assert cp(f"{tmp_path}/s/x/..", "box:/d/sub") == (0, "")
    assert cp(f"{tmp_path}/s/x/../one", "box:/d/sub/..") == (0, "")
    back = tmp_path / "back"
    assert cp("box:/d", str(back)) == (0, "")
    assert {str(path.relative_to(back)) for path in back.rglob("*")} == {
        "f",
        "link",
        "one",
        "sub",
        "sub/g",
        "sub/s",
        "sub/s/one",
        "sub/s/x",
    }


def test_a_record_is_not_called_by_dots(tmp_path: Path) -> None:
    for base in (b"..", b".", b"", b"a/b", b"a\0b"):
        record = file_transfer.pack_head(file_transfer.FILE, 0o644, (0, 0), 0, 1, b"") + b"x" + file_transfer.LAST
        with pytest.raises(file_transfer.CannotCopy, match="not a name"):
            file_transfer.receive(io.BytesIO(record), os.fsencode(tmp_path), base=base, contents=False, owners=False, root=False)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
