"""Everything without root: by real users of this machine, one with subordinate ids and one without."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boxes import eventually
from people import CHECKOUT, RANGE, furnish, launcher_of, person, running, shell, virtual_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from images import Image
    from peers import Peers
    from people import Person
    from registry import Registry

# root: to make the users
pytestmark = pytest.mark.requires("root", "rootless", "subordinate-ids", "user-namespace", "overlayfs", "mount-api", "seccomp")

UNTIDY = "mkdir /d; touch /d/f; chown -R 1000:1000 /d; busybox chmod 700 /d; echo up; "  # what only the right ids can remove
KINDS = ("ranged", "single")


@pytest.fixture(scope="module")
def ranged(busybox_root: Path) -> Iterator[Person]:
    """A user with a range, an image in its place, and a directory to share."""
    with person("r", subordinate=True) as who:
        furnish(who, busybox_root)
        yield who


@pytest.fixture(scope="module")
def single(busybox_root: Path) -> Iterator[Person]:
    """The same without a range."""
    with person("s", subordinate=False) as who:
        furnish(who, busybox_root)
        yield who


@pytest.fixture(params=KINDS)
def anybody(request: pytest.FixtureRequest) -> Person:
    """Both of them, one after the other."""
    who: Person = request.getfixturevalue(request.param)
    return who


@pytest.fixture(autouse=True)
def _nothing_of_the_users_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which one of them has a process, or a container on disk: the leak detector looks at root's own."""
    used = [kind for kind in KINDS if kind in request.fixturenames]
    people: list[Person] = (
        [request.getfixturevalue("anybody")] if "anybody" in request.fixturenames else list(map(request.getfixturevalue, used))
    )
    yield
    for who in people:
        assert eventually(lambda who=who: not who.processes()), who.processes()  # type: ignore[misc]  # the loop's own
        assert who.containers() == []


def owners(directory: Path) -> dict[str, int]:
    return {path.name: path.lstat().st_uid for path in directory.iterdir()}


def test_with_a_range_root_inside_is_the_user_and_the_others_are_its_subordinate_ids(ranged: Person) -> None:
    shared = ranged.place / "shared"
    ran = shell(
        ranged,
        "cat /proc/self/uid_map; touch /s/root /s/first /s/last; chown 1:1 /s/first; chown 65535:65535 /s/last",
        "-v",
        f"{shared}:/s",
    )
    assert [line.split() for line in ran.stdout.splitlines()] == [["0", "0", "1"], ["1", "1", "65535"]], ran.stderr
    assert owners(shared) == {"root": ranged.uid, "first": ranged.first, "last": ranged.first + RANGE - 2}


def test_the_maps_on_the_host_are_those_of_subuid(ranged: Person) -> None:
    with running(ranged, "echo up; sleep 60") as caller:
        inside = int(Path(f"/proc/{launcher_of(caller)}/task/{launcher_of(caller)}/children").read_text().split()[0])
        rows = [[int(word) for word in line.split()] for line in Path(f"/proc/{inside}/uid_map").read_text().splitlines()]
        assert rows == [[0, ranged.uid, 1], [1, ranged.first, RANGE - 1]]


def test_without_a_range_root_is_the_only_user(single: Person) -> None:
    shared = single.place / "shared"
    ran = shell(single, "cat /proc/self/uid_map; touch /s/root; chown 1:1 /s/root || echo refused; id -G", "-v", f"{shared}:/s")
    assert ran.stdout.split() == ["0", "0", "1", "refused", "0"], ran.stderr
    assert owners(shared) == {"root": single.uid}


def test_another_user_takes_a_range_and_without_one_the_remedy_is_told(ranged: Person, single: Person) -> None:
    assert shell(ranged, "id -u; id -g", "--user", "1000").stdout.split() == ["1000", "1000"]
    refused = shell(single, "id -u", "--user", "1000")
    assert refused.returncode == 125
    assert "cannot use user=1000: without subordinate ids the container's only user is root" in refused.stderr
    assert f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {single.name}" in refused.stderr


def test_what_other_users_of_the_container_wrote_is_removed_with_it(ranged: Person) -> None:
    ran = shell(ranged, UNTIDY)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "up\n", "")
    assert ranged.containers() == []


def test_the_host_image_runs_this_machines_programs_and_shows_no_secret(anybody: Person) -> None:
    script = "python3 -c 'print(6 * 7)'; cat /etc/shadow; ls -A /home /root; touch /usr/new /etc/new && echo written"
    ran = anybody.run("run", "--rm", "host", "sh", "-c", script)
    assert "42\n" in ran.stdout, ran.stderr
    assert ran.stdout.endswith("written\n")
    assert "/etc/shadow: No such file" in ran.stderr
    assert str(anybody.place) not in ran.stdout
    assert not Path("/usr/new").exists()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("sh", "-c", "exit 7"), 7),
        (("/etc/passwd",), 126),
        (("nonsuch",), 127),
        (("sh", "-c", "kill -9 $$"), 137),
    ],
)
def test_the_status_is_the_programs_or_dockers(single: Person, words: tuple[str, ...], status: int) -> None:
    assert single.run("run", "--rm", "--rootfs", str(single.place / "image"), *words).returncode == status


def test_a_tar_whose_root_directory_is_somebody_s_is_imported(anybody: Person) -> None:
    archive = anybody.place / "owned.tar"
    words = ["tar", "--owner=1000", "--group=1000", "-C", str(anybody.place / "image"), "-cf", str(archive), "."]
    subprocess.run(words, check=True)
    archive.chmod(0o644)
    made = anybody.run("import", str(archive), "owned:1")
    assert made.returncode == 0, made.stderr
    owner = anybody.run("run", "--rm", "owned:1", "/bin/busybox", "stat", "-c", "%u", "/bin/busybox")
    assert owner.stdout == ("1000\n" if anybody.first else "0\n"), owner.stderr
    assert anybody.run("rmi", "owned:1").returncode == 0
    assert not os.listdir(anybody.store / "scratch")


def test_images_are_pulled_run_committed_and_removed(anybody: Person, busybox_image: Image, registry: Registry, peers: Peers) -> None:
    reference = peers.push(busybox_image, registry.reference("busybox:1"))
    assert anybody.run("pull", "--quiet", reference).stdout.strip() == reference
    look = "id -u; stat -c %u /bin/busybox; echo kept > /kept; echo up; sleep 100"
    words = anybody.cellhold("run", "--rm", "--name", "box", reference, "/bin/sh", "-c", look)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **anybody.as_it()) as caller:
        assert caller.stdout is not None
        try:
            assert [caller.stdout.readline() for _ in range(3)] == ["0\n", "0\n", "up\n"]
            assert anybody.run("diff", "box").stdout == "A /kept\n"
            committed = anybody.run("commit", "box", "mine:1")
            assert committed.stderr == ""
        finally:
            caller.kill()
    assert anybody.run("run", "--rm", "mine:1", "/bin/cat", "/kept").stdout == "kept\n"
    assert "kept" in anybody.run("which", "mine:1", "/kept").stdout
    removed = anybody.run("rmi", "--force", "mine:1", reference)
    assert removed.returncode == 0, removed.stderr
    assert [path.name for path in (anybody.store / "layers").iterdir()] == ["init"]


def test_the_time_limit_holds(single: Person) -> None:
    ran = shell(single, "sleep 60", "--time", "1s")
    assert ran.returncode == 137
    assert "wall-time limit of 1s" in ran.stderr


def test_an_image_that_the_user_may_not_look_into_is_refused_by_name(single: Person) -> None:
    private = single.place / "private"
    (private / "image").mkdir(parents=True)
    private.chmod(0o700)
    for image, reason in ((private, "you may not look into that directory"), (private / "image", "no such directory")):
        ran = single.run("run", "--rm", "--rootfs", str(image), "true")
        assert ran.returncode == 125
        assert f"cannot use image={image}: {reason}" in ran.stderr


@pytest.mark.parametrize("limit", [("--memory", "64m"), ("--cpus", "0.5"), ("--pids-limit", "64"), ("--cpuset-cpus", "0")])
def test_a_limit_that_takes_a_control_group_is_refused_with_a_remedy(single: Person, limit: tuple[str, str]) -> None:
    ran = shell(single, "true", *limit)
    assert ran.returncode == 125
    assert f"cannot enforce {limit[0][2:].split('-')[0]}" in ran.stderr
    assert "delegated to you" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_default_limit_that_nobody_asked_for_is_let_go_and_told(single: Person) -> None:
    ran = shell(single, "true", "--trace")
    assert ran.returncode == 0
    assert "processes are not counted or limited" in ran.stderr


def test_a_limit_on_disk_takes_a_tmpfs_and_holds_there(anybody: Person) -> None:
    refused = shell(anybody, "true", "--disk", "8m")
    assert (refused.returncode, "storage=tmpfs" in refused.stderr) == (125, True)
    ran = shell(anybody, "dd if=/dev/zero of=/x bs=1M count=20", "--disk", "8m", "--storage", "tmpfs")
    assert ran.returncode == 1
    assert "No space left on device" in ran.stderr


def test_a_limit_of_setrlimit_holds(single: Person) -> None:
    assert shell(single, "ulimit -n", "--ulimit", "nofile=64:64").stdout == "64\n"


def test_when_the_caller_is_killed_the_launcher_clears(ranged: Person) -> None:
    with running(ranged, f"{UNTIDY} sleep 600") as caller:
        caller.kill()
        caller.wait()
        assert eventually(lambda: not ranged.processes() and not ranged.containers())


def test_when_both_are_killed_the_next_command_clears(ranged: Person) -> None:
    with running(ranged, f"{UNTIDY} sleep 600") as caller:
        launcher = launcher_of(caller)
        os.kill(launcher, signal.SIGSTOP)  # so that it cannot do anything in between
        caller.kill()
        os.kill(launcher, signal.SIGKILL)
        caller.wait()
    assert eventually(lambda: not ranged.processes())
    assert len(ranged.containers()) == 1
    assert shell(ranged, "true").returncode == 0
    assert ranged.containers() == []


def test_when_the_launcher_is_killed_its_container_ends_and_the_caller_is_told_and_clears(ranged: Person) -> None:
    with running(ranged, f"{UNTIDY} sleep 600", stderr=subprocess.PIPE) as caller:
        os.kill(launcher_of(caller), signal.SIGKILL)
        assert caller.stderr is not None
        told = caller.stderr.read().decode()
        assert caller.wait(60) == 137
    assert "ended together with the process that watched it" in told
    assert "Traceback" not in told
    assert ranged.containers() == []


def test_containers_are_listed_and_ended_by_their_user_alone(ranged: Person, single: Person) -> None:
    with running(ranged, "trap 'exit 5' TERM; echo up; while :; do sleep 1; done") as caller:
        name = ranged.run("ps", "-q").stdout.strip()
        assert name in ranged.run("ps").stdout
        assert single.run("ps", "-a", "-q").stdout == ""
        assert f"cannot find container '{name}'" in single.run("kill", name).stderr
        assert ranged.run("stop", name).stdout == f"{name}\n"
        assert caller.wait(60) == 5
    with running(ranged, "echo up; sleep 600") as caller:
        assert ranged.run("kill", ranged.run("ps", "-q").stdout.strip()).returncode == 0
        assert caller.wait(60) == 137


def test_nothing_of_the_callers_environment_or_descriptors_is_inside(single: Person) -> None:
    ran = shell(single, "env; for f in /proc/self/fd/*; do echo $f; done; cat /proc/1/environ /proc/1/maps; ls /proc/1/fd /proc/1/root")
    assert "JUPYTER_TOKEN" not in ran.stdout
    assert {line.partition("=")[0] for line in ran.stdout.splitlines() if "=" in line} == {"HOSTNAME", "HOME", "PATH", "PWD", "SHLVL"}
    numbers = {int(line.rpartition("/")[2]) for line in ran.stdout.splitlines() if line.startswith("/proc/self/fd/")}
    assert max(numbers) <= 3  # the fourth is the shell's, reading the directory
    assert ran.stderr.count("Permission denied") == 4


def test_the_walls_that_root_has_are_up(anybody: Person) -> None:
    facts_of_it = "grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status"
    ran = shell(anybody, f"{facts_of_it}; busybox unshare -U true; mount -t tmpfs x /tmp; echo 1 > /proc/sys/kernel/hostname")
    facts = dict(line.split(":\t") for line in ran.stdout.splitlines() if ":\t" in line)
    assert facts == {"CapEff": "00000000a80405fb", "CapBnd": "00000000a80405fb", "NoNewPrivs": "1", "Seccomp": "2"}
    assert ran.stderr.count("Operation not permitted") + ran.stderr.count("ermission denied") == 2, ran.stderr
    assert "Read-only file system" in ran.stderr


def test_doctor_says_that_it_works_and_what_is_missing(ranged: Person, single: Person) -> None:
    first, second = ranged.run("doctor"), single.run("doctor")
    for said in (first, second):
        assert said.returncode == 0, said.stderr
        assert "Containers can run here." in said.stdout
        assert "- cgroups            cannot make control groups" in said.stdout
    assert "+ subordinate-ids" in first.stdout
    assert f"- subordinate-ids    cannot give a container without root more than one user: /etc/subuid has no range for {single.name}" in (
        second.stdout
    )


def test_an_image_with_something_mounted_inside_is_refused_and_a_bind_of_it_shows_both(single: Person) -> None:
    image = single.place / "image"
    become = f"exec setpriv --reuid {single.uid} --regid {single.gid} --clear-groups "
    mounted = f"mount -t tmpfs none {image}/var && touch {image}/var/inside && {become}"
    refused, bound = (
        subprocess.run(
            ["unshare", "--mount", "sh", "-c", mounted + " ".join(single.cellhold("run", "--rm", *words))],
            capture_output=True, text=True, check=False, env=single.as_it()["env"], cwd=single.place,
        )
        for words in (("--rootfs", str(image), "true"), ("-v", f"{image}:/v", "host", "ls", "/v/var", "/v/bin/busybox"))
    )  # fmt: skip
    assert refused.returncode == 125
    assert f"{image}/var is mounted inside it" in refused.stderr
    assert {"inside", "/v/bin/busybox"} <= set(bound.stdout.split()), bound.stderr


@pytest.fixture(scope="module")
def programmer(ranged: Person) -> Person:
    """The user with a virtual environment of its own: an interpreter that it may write to, and Jupyter."""
    return virtual_environment(ranged)


@pytest.mark.usefixtures("ranged")
def test_the_users_interpreter_is_out_of_reach_whatever_capabilities_are_given(programmer: Person) -> None:
    python = Path(programmer.python)
    before = python.read_bytes()
    assert python.stat().st_uid == programmer.uid
    script = "for f in /proc/1/exe /proc/1/root/bin/sh /proc/1/fd/0; do cat $f >/dev/null; echo bad > $f; done"
    ran = shell(programmer, script, "--cap-add", "SYS_PTRACE", "--cap-add", "DAC_READ_SEARCH", "--cap-add", "SYS_ADMIN")
    assert ran.stderr.count("ermission denied") == 6, ran.stderr
    assert python.read_bytes() == before


@pytest.mark.usefixtures("ranged")
def test_a_notebook_runs_in_a_container_and_gets_another_one(programmer: Person) -> None:
    installed = programmer.run("kernel", "install", "--user")
    assert installed.returncode == 0, installed.stderr
    script = programmer.place / "notebook.py"
    script.write_text(
        "import nbclient, nbformat\n"
        "cells = ['1+1', \"import os; os.chown('/root', 5, 5); open('/proc/self/uid_map').read().split()\",\n"
        "    '%container hostname=another', 'import socket; socket.gethostname(), \"os\" in globals()']\n"
        "notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])\n"
        "nbclient.NotebookClient(notebook, kernel_name='cellhold', timeout=100).execute()\n"
        "outputs = [cell.outputs[-1] for cell in notebook.cells]\n"
        "print([output.data['text/plain'] for output in outputs if 'data' in output])\n"
    )
    ran = programmer.run_program(programmer.python, str(script))
    assert ran.stdout == str(["2", "['0', '0', '1', '1', '1', '65535']", "('another', False)"]) + "\n", ran.stderr
    # Jupyter kills a host kernel that takes more than some seconds to end; what it had not removed by then the next command clears.
    assert eventually(lambda: not programmer.processes())
    assert shell(programmer, "true").returncode == 0
    assert programmer.containers() == []


@pytest.mark.usefixtures("ranged")
def test_jupyters_own_suite_for_kernels_passes(programmer: Person) -> None:
    assert programmer.run("kernel", "install", "--user").returncode == 0
    shutil.copy(CHECKOUT / "tests/kernel/test_protocol.py", programmer.place)
    ran = programmer.run_program(programmer.python, "-m", "unittest", "-v", "test_protocol", patience=400)
    assert ran.returncode == 0, ran.stderr
    assert "Ran 13 tests" in ran.stderr
    assert ran.stderr.count(" ... ok\n") == 12, ran.stderr  # history passes, too, but for its part "range", which is for no IPython
    assert eventually(lambda: not programmer.processes())
    assert shell(programmer, "true").returncode == 0
