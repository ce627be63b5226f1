"""Files that give whoever runs them somebody else's rights: none can be made where a container can write to the host.

setting_ids.py tries each way; on the layer of a container without a bind each of them works, so that a refusal is a wall's.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import setting_ids
from boxes import command, eventually, run, shell, spec
from cellhold.linux.capabilities import NUMBERS
from cellhold.rootfs import volumes
from cellhold.spec.spec import Mount
from cellhold.store.home import open_home
from kernels import real, running
from people import furnish, person

if TYPE_CHECKING:
    from collections.abc import Iterator

    from people import Person

ROOT = ("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")
ROOTLESS = ("root", "rootless", "subordinate-ids", "user-namespace", "overlayfs", "mount-api", "seccomp")  # root: to make the users
pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of system calls are x86-64's")

SOURCE = Path(setting_ids.__file__).read_text()
PROGRAM = ("python3", "-I", "-S", "-c", SOURCE)
NOT_MADE = {"EPERM", "ENOSYS"}
BITS = stat.S_ISUID | stat.S_ISGID


def dangerous(directory: Path) -> dict[str, object]:
    """What lies there and has such bits, or capabilities."""
    found: dict[str, object] = {}
    for path in directory.rglob("*"):
        status = path.lstat()
        if status.st_mode & BITS and not stat.S_ISDIR(status.st_mode):
            found[str(path)] = oct(status.st_mode)
        elif not path.is_symlink() and "security.capability" in os.listxattr(path):
            found[str(path)] = os.getxattr(path, "security.capability")
    return found


def tried(directory: str, **values: Any) -> dict[str, str]:
    """What came of each way, there."""
    ran = run(spec("host", *PROGRAM, directory, **values))
    assert ran.outcome.status == 0, ran.err
    answers: dict[str, str] = json.loads(ran.out)
    return answers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of the host for anybody."""
    made = tmp_path / "folder"
    made.mkdir()
    made.chmod(0o777)
    return made


# ------------------------------------------------------------------------------------------------------------------- as root


@pytest.mark.requires(*ROOT)
def test_on_its_own_layer_a_container_can_make_them_in_every_way() -> None:
    answers = tried("/root")
    made = {way for way, answer in answers.items() if answer == "made"}
    assert set(answers) - made <= {way for way in answers if way.startswith("x32 ")}  # few kernels have those
    assert len(made) > 50


@pytest.mark.requires(*ROOT)
@pytest.mark.parametrize("user", ["0", "1000"])
def test_where_a_directory_of_the_host_is_writable_it_can_make_none(folder: Path, user: str) -> None:
    answers = tried("/w", mounts=(Mount(kind="bind", source=str(folder), target="/w"),), user=user, cwd="/")
    assert {way: answer for way, answer in answers.items() if answer not in NOT_MADE} == {}
    assert dangerous(folder) == {}
    assert len(list(folder.iterdir())) > 20  # it did make files


@pytest.mark.requires(*ROOT)
def test_nor_with_every_capability(folder: Path) -> None:
    every: dict[str, Any] = {"capabilities": frozenset(NUMBERS), "mounts": (Mount(kind="bind", source=str(folder), target="/w"),)}
    assert set(tried("/w", **every).values()) <= NOT_MADE
    (folder / "x").touch()
    nested = "unshare --user --map-root-user setcap cap_setuid=ep /w/x; unshare --user --map-users 0,1000,1 setcap cap_setuid=ep /w/x"
    run(spec("host", "sh", "-c", nested, **every))
    assert dangerous(folder) == {}


@pytest.mark.requires(*ROOT)
def test_nor_in_a_volume_that_outlives_it() -> None:
    home = open_home()
    volume = volumes.create("ids", home)
    try:
        answers = tried("/v", mounts=(Mount(kind="volume", source="ids", target="/v"),))
        assert set(answers.values()) <= NOT_MADE
        assert dangerous(volume.data) == {}
    finally:
        volumes.remove("ids", home)


@pytest.mark.requires(*ROOT)
def test_nor_by_a_volume_that_begins_with_what_the_image_has(busybox_root: Path, tmp_path: Path) -> None:
    image = Path(shutil.copytree(busybox_root, tmp_path / "image", symlinks=True))
    (image / "data").mkdir()
    (image / "data/program").touch()
    (image / "data/program").chmod(0o6755)
    (image / "data/shared").mkdir()
    (image / "data/shared").chmod(0o2775)
    home = open_home()
    try:
        looked = shell(
            image, "busybox stat -c %a /data/program /data/shared", mounts=(Mount(kind="volume", source="full", target="/data"),)
        )
        assert looked.out.split() == ["755", "2775"], looked.err
        assert dangerous(volumes.find("full", home).data) == {}
    finally:
        volumes.remove("full", home, force=True)


@pytest.mark.requires(*ROOT)
@pytest.mark.parametrize(
    "mount",
    [
        Mount(kind="tmpfs", target="/t"),
        Mount(kind="bind", source="/usr", target="/t", read_only=True),
        Mount(kind="overlay", source="/usr/share", target="/t"),
    ],
    ids=lambda mount: mount.kind,
)
def test_what_cannot_be_written_to_or_is_thrown_away_takes_nothing_from_it(busybox_root: Path, mount: Mount) -> None:
    ran = shell(busybox_root, "busybox touch /x && busybox chmod 6755 /x && busybox stat -c %a /x", mounts=(mount,))
    assert ran.out == "6755\n", ran.err


@pytest.mark.requires(*ROOT)
def test_the_rest_of_a_day_s_work_goes_on_where_it_can_make_none(folder: Path) -> None:
    script = """
set -e
cd /w
mkdir -m 775 team; install -m 750 /usr/bin/id id; cp -p /usr/bin/id copy; chmod -R u=rwX,g=rX,o= .; umask 0; touch all
cp -p /usr/bin/passwd passwd 2>error || cat error; test -s passwd
tar cf - -C /usr/share/doc . | tar xf - -C team --no-same-owner
chmod 1750 team
stat -c '%n %a' id team all passwd
"""
    mounts = (Mount(kind="bind", source=str(folder), target="/w"),)
    ran = run(spec("host", "sh", "-c", script, mounts=mounts))
    assert ran.outcome.status == 0, ran.err
    assert "passwd" in ran.out
    assert "Operation not permitted" in ran.out
    assert dangerous(folder) == {}
    assert {"id 750", "team 1750", "all 666"} <= set(ran.out.splitlines())


@pytest.mark.requires(*ROOT)
def test_a_directory_of_a_group_gives_it_to_what_is_made_in_it(folder: Path) -> None:
    """mkdir(2) takes the bit from the directory above: git's shared repositories, and spools, go on."""
    os.chown(folder, 0, 1234)
    folder.chmod(0o2777)
    ran = run(spec("host", "sh", "-c", "mkdir /w/d && touch /w/d/f", mounts=(Mount(kind="bind", source=str(folder), target="/w"),)))
    assert ran.outcome.status == 0, ran.err
    assert (folder / "d").stat().st_mode & stat.S_ISGID
    assert (folder / "d/f").stat().st_gid == 1234


@pytest.mark.requires(*ROOT)
def test_cp_into_such_a_container_leaves_the_bits_out_or_says_why_not(busybox_root: Path, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "program"
    source.write_text("x")
    source.chmod(0o6755)
    command("run", "-d", "--name", "ids", "-v", f"{folder}:/w", "--rootfs", str(busybox_root), "sleep", "100")
    try:
        assert command("cp", str(source), "ids:/w/plain").returncode == 0
        refused = command("cp", "-a", str(source), "ids:/w/kept")
        assert "kept: the container may make no set-user-id or set-group-id files, as it can write to the host's" in refused.stderr
        assert (folder / "plain").stat().st_mode & 0o7777 == 0o755
        assert dangerous(folder) == {}
    finally:
        command("rm", "-f", "ids")


@pytest.mark.requires(*ROOT)
def test_a_build_makes_them_as_ever(busybox_root: Path, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    made = subprocess.run(["tar", "-C", str(busybox_root), "-cf", str(context / "root.tar"), "."], check=True)
    assert made.returncode == 0
    text = "FROM scratch\nADD root.tar /\nRUN busybox touch /x && busybox chmod 6755 /x\n"
    (context / "Dockerfile").write_text(text)
    built = command("build", "-t", "ids:1", str(context))
    assert built.returncode == 0, built.stderr
    try:
        assert command("run", "--rm", "ids:1", "busybox", "stat", "-c", "%a", "/x").stdout == "6755\n"
    finally:
        command("rmi", "-f", "ids:1")


@pytest.mark.requires(*ROOT)
def test_nor_can_a_cell_whose_notebook_has_its_folder_writable(tmp_path: Path) -> None:
    with running(real(memory="256m"), cwd=str(tmp_path)) as notebook:
        made = notebook.run(
            "%container mount=rw\nimport os, shutil\nshutil.copy('/usr/bin/id', '/workspace/id')\nos.chmod('/workspace/id', 0o4755)"
        )
        assert "Operation not permitted: '/workspace/id'" in made.error
        assert (tmp_path / "id").stat().st_mode & 0o7777 == 0o755


# -------------------------------------------------------------------------------------------------------------- without root


@pytest.fixture(scope="module", params=["ranged", "single"])
def anybody(request: pytest.FixtureRequest, busybox_root: Path) -> Iterator[Person]:
    """A user with subordinate ids, then one without."""
    with person(f"i{request.param[0]}", subordinate=request.param == "ranged") as who:
        furnish(who, busybox_root)
        yield who
        assert eventually(lambda: not who.processes())


@pytest.fixture
def shared(anybody: Person) -> Iterator[Path]:
    """Its directory, emptied in the end."""
    directory = anybody.place / "shared"
    yield directory
    for path in directory.iterdir():
        path.unlink()


@pytest.mark.requires(*ROOTLESS)
def test_without_root_it_can_make_none_in_the_user_s_name(anybody: Person, shared: Path) -> None:
    ran = anybody.run("run", "--rm", "-v", f"{shared}:/w", "host", *PROGRAM, "/w")
    assert set(json.loads(ran.stdout).values()) <= NOT_MADE, ran.stderr
    assert dangerous(shared) == {}
    alone = anybody.run("run", "--rm", "host", *PROGRAM, "/root")
    assert "made" in json.loads(alone.stdout).values(), alone.stderr


SEND = """
import array, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as ours:
    ours.bind(sys.argv[1].replace("@", chr(0)))
    ours.listen()
    print("up", flush=True)
    client, _ = ours.accept()
    fd = os.open("/s/program", os.O_CREAT | os.O_RDWR, 0o755)
    socket.send_fds(client, [b"x"], [fd, os.open("/s", os.O_RDONLY)])
    client.recv(1)
"""
TAKE = """
import os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as ours:
    ours.connect(sys.argv[1].replace("@", chr(0)))
    _, fds, _, _ = socket.recv_fds(ours, 1, 2)
    for go in (lambda: os.fchmod(fds[0], 0o4755), lambda: os.open("new", os.O_CREAT | os.O_RDWR, 0o4755, dir_fd=fds[1])):
        try:
            go()
        except OSError as error:
            print(error.strerror)
"""


@pytest.mark.requires(*ROOTLESS)
@pytest.mark.parametrize(
    ("way", "name"), [(("-v", "{shared}:/s:ro"), "/s/socket"), (("--network", "host"), "@cellhold-{uid}")], ids=["a directory", "a network"]
)
def test_nor_by_a_container_that_has_it_from_another_one(anybody: Person, shared: Path, way: tuple[str, ...], name: str) -> None:
    """They have the same ids. As root each has its own, and what another one's root owns is nobody's to change."""
    name, way = name.format(uid=anybody.uid), tuple(word.format(shared=shared) for word in way)
    network = ("--network", "host") if "--network" in way else ()
    sending = anybody.cellhold("run", "--rm", *network, "-v", f"{shared}:/s", "host", "python3", "-I", "-S", "-c", SEND, name)
    with subprocess.Popen(sending, stdout=subprocess.PIPE, text=True, **anybody.as_it()) as sender:
        assert sender.stdout is not None
        assert sender.stdout.readline() == "up\n"
        taken = anybody.run("run", "--rm", *way, "host", "python3", "-I", "-S", "-c", TAKE, name)
        assert taken.stdout.count("Operation not permitted") == 2, taken.stderr
        assert sender.wait(60) == 0
    assert (shared / "program").stat().st_mode & 0o7777 == 0o755
    assert dangerous(shared) == {}


@pytest.mark.requires(*ROOTLESS)
def test_nor_by_a_standard_stream_that_is_a_file(anybody: Person, shared: Path) -> None:
    """The command hands over pipes; whoever uses the library may hand over anything."""
    script = f"""
from cellhold import Container, Spec
from cellhold.errors import NotSupported
image = "{anybody.place}/image"
mode = "busybox cat /bin/busybox; for file in /proc/self/fd/1 /dev/stdout; do busybox chmod 4755 $file; done"
with open("{shared}/out", "wb") as out, Container.create(Spec(image=image, args=("sh", "-c", mode))) as box:
    box.start(stdout=out.fileno())
    box.wait(60)
with open("{shared}/out2", "wb") as out, Container.create(Spec(image=image, args=("sleep", "100"))) as box:
    box.start()
    try:
        box.exec("chmod", "4755", "/dev/stdout", stdout=out.fileno())
    except NotSupported as error:
        print(error)
"""
    ran = anybody.run_program(anybody.python, "-c", script)
    assert "without root a file cannot be a standard stream" in ran.stdout, ran.stderr
    assert (shared / "out").stat().st_size > 1000
    assert dangerous(shared) == {}
