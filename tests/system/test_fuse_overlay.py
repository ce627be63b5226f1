"""Where the kernel refuses a user its overlay, as on another overlay, fuse-overlayfs makes it; the rest is as it always is."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boxes import eventually
from people import furnish, launcher_of, person, running, shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from people import Person

# root: to make the user, and the overlay that it lives on
pytestmark = pytest.mark.requires("root", "rootless", "subordinate-ids", "user-namespace", "overlayfs", "mount-api", "seccomp")

_FUSE = Path("/dev/fuse")


@pytest.fixture(scope="module", autouse=True)
def _fuse_is_for_everybody() -> Iterator[None]:
    """As udev sets it up: 0666."""
    before = _FUSE.stat().st_mode & 0o777
    _FUSE.chmod(0o666)
    yield
    _FUSE.chmod(before)


@pytest.fixture(scope="module")
def nested(busybox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A user whose home is on an overlay, as that of somebody inside a container is."""
    disk = tmp_path_factory.mktemp("disk")
    with person("n", subordinate=True) as who:
        home = who.place / f"popen-{os.environ.get('PYTEST_XDIST_WORKER', 'gw0')}/home"  # a mount of this worker's (leaks.py)
        home.mkdir(parents=True)
        (who.place / "home").rmdir()
        (who.place / "home").symlink_to(home)
        subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)
        try:
            for name in ("lower", "upper", "work"):
                (disk / name).mkdir()
            os.chown(disk / "upper", who.uid, who.gid)
            options = f"lowerdir={disk}/lower,upperdir={disk}/upper,workdir={disk}/work"
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, home], check=True)
            try:
                furnish(who, busybox_root)
                yield who
            finally:
                subprocess.run(["umount", home], check=True)
        finally:
            subprocess.run(["umount", disk], check=True)


@pytest.fixture(autouse=True)
def _nothing_is_left(nested: Person) -> Iterator[None]:
    """Neither a container nor a process: not the one that serves the overlay either."""
    yield
    assert eventually(lambda: not nested.processes()), nested.processes()
    assert nested.containers() == []


def test_the_layers_are_overlaid_and_others_of_the_containers_users_can_write(nested: Person) -> None:
    script = (
        "rm /bin/df; touch /new; chown 1000:1000 /new; stat -c %u /new; ls /bin/df; grep ' / ' /proc/mounts; echo x > /etc/x; cat /etc/x"
    )
    ran = shell(nested, f"mkdir -p /etc; {script}")
    assert ran.stdout.startswith("1000\nfuse-overlayfs / fuse rw,nodev"), ran.stderr
    assert ran.stdout.endswith("\nx\n")
    assert "/bin/df: No such file" in ran.stderr
    assert (nested.place / "image/bin/df").is_symlink()


def test_every_tree_of_the_host_image_is_writable_and_stays_as_it_is(nested: Person) -> None:
    ran = nested.run(
        "run", "--rm", "host", "sh", "-c", "python3 -c 'print(6 * 7)'; touch /usr/new /etc/new && grep -c ^fuse-overlayfs /proc/mounts"
    )
    assert ran.stdout.split()[0] == "42", ran.stderr
    assert int(ran.stdout.split()[1]) >= 2
    assert not Path("/usr/new").exists()


def test_what_was_written_and_deleted_is_told_and_committed(nested: Person) -> None:
    image = nested.place / "image.tar"
    subprocess.run(["tar", "-C", nested.place / "image", "-cf", image, "."], check=True)
    assert nested.run("import", str(image), "tools:1").returncode == 0
    script = "rm /bin/df; mkdir /kept; echo kept > /kept/file; ln /kept/file /kept/link; echo up; sleep 60"
    words = nested.cellhold("run", "--rm", "--name", "box", "tools:1", "/bin/sh", "-c", script)
    with subprocess.Popen(words, stdout=subprocess.PIPE, **nested.as_it()) as caller:
        assert caller.stdout is not None
        try:
            assert caller.stdout.readline() == b"up\n"
            assert nested.run("diff", "box").stdout.split("\n")[:-1] == ["C /bin", "D /bin/df", "A /kept", "A /kept/file", "A /kept/link"]
            refused = nested.run("commit", "box", "mine:1")
        finally:
            caller.kill()
    # The layer cannot be kept here, since an overlay takes no mark of what is deleted: that is said, and nothing of it is left.
    assert refused.returncode == 1
    assert "cannot unpack the layer: it deletes a file, and the store's file system takes no mark of that" in refused.stderr
    assert "set CELLHOLD_HOME" in refused.stderr
    assert nested.run("images", "--quiet").stdout.count("\n") == 1


def test_whoever_is_killed_the_process_that_serves_the_overlay_ends(nested: Person) -> None:
    for victims in (("caller",), ("launcher",), ("server",), ("launcher", "caller")):
        with running(nested, "echo up; sleep 600") as caller:
            launcher = launcher_of(caller)
            children = [int(pid) for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]
            server = next(pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "fuse-overlayfs\n")
            for victim in victims:
                os.kill({"caller": caller.pid, "launcher": launcher, "server": server}[victim], signal.SIGKILL)
            if victims == ("server",):
                caller.kill()  # what has lost its files does not end by itself
        assert eventually(lambda: not nested.processes()), victims
        assert shell(nested, "true").returncode == 0


def test_where_it_may_not_be_used_the_reason_and_the_remedy_are_told(nested: Person) -> None:
    _FUSE.chmod(0o600)
    try:
        ran = shell(nested, "true")
    finally:
        _FUSE.chmod(0o666)
    assert ran.returncode == 125
    assert "cannot overlay layers in" in ran.stderr
    assert "the kernel refuses (Invalid argument)" in ran.stderr
    assert "apt install fuse-overlayfs, which mounts them if /dev/fuse may be opened" in ran.stderr


def test_a_layer_in_memory_needs_none_of_it(nested: Person) -> None:
    assert shell(nested, "grep -c fuse /proc/mounts", "--storage", "tmpfs").stdout == "0\n"


def test_doctor_tells_who_makes_the_overlays(nested: Person) -> None:
    said = nested.run("doctor")
    assert said.returncode == 0
    assert (
        "+ overlayfs          can put a writable layer over read-only ones (by fuse-overlayfs, as the kernel refuses it in" in said.stdout
    )
