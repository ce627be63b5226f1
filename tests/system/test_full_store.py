"""Every command of `cellhold` on a store whose disk is full, and on one that is read-only.

What only looks, or ends something, does what it says; what has to write is refused in a sentence that names the store
and what helps. A command that is added to the table of the command line needs a row here.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from boxes import Said, call, cellhold, environment, eventually
from cellhold.cli.command import MODULES, main, parser
from cellhold.container import inventory
from cellhold.container.detached import Detached
from cellhold.container.recovery import tidy
from cellhold.store.home import open_home
from disks import fill, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.store.home import Home
    from registry import Registry

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer"),
    pytest.mark.leaks_allowed,  # what is on the disk is there until the last test of this file has ended; then nothing is
]

FULL, READ_ONLY = "full", "read-only"
HINTS = {FULL: "No space left on device\nhint: free space on its disk", READ_ONLY: "Read-only file system\nhint: mount its disk read-write"}
REFUSED = (1, 125)  # docker's for one of several, and for a container that cannot be made
KEPT = "for f in /f /v/f; do test -e $f || echo mine > $f; done; echo said"  # started again, it empties nothing on a full disk
RUNNING = "run -d --name x base:1 sleep 1000"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A command line, what is done before the disk is full or read-only, and what comes of it then.

    full, read_only: the exit status; None: it is refused, in the store's sentence. then: the states of container x afterwards.
    """

    words: str
    first: tuple[str, ...] = ()
    full: int | None = 0
    read_only: int | None = 0
    then: tuple[str, str] | None = None  # on a full disk, on a read-only one; "": it is gone
    ends: bool = False  # it goes on until container x is killed


def looks(words: str, *first: str) -> Row:
    """Of one that writes nothing."""
    return Row(words=words, first=first)


def makes(words: str, *first: str) -> Row:
    """Of one that can do nothing but write."""
    return Row(words=words, first=first, full=None, read_only=None)


def changes(words: str, *first: str) -> Row:
    """Of one that removes something, or changes a record that has a spare: a full disk does not keep it from that."""
    return Row(words=words, first=first, read_only=None)


def acts(words: str, then: str, *first: str) -> Row:
    """Of one that does something to container x, whatever can be written down of it."""
    return Row(words=words, first=first or (RUNNING,), then=(then, then))


ROWS = (
    makes("run --rm base:1 true"),
    makes("create base:1 true"),
    changes("start kept"),
    acts("stop -t 0 x", "stopped"),
    Row(words="restart -t 0 x", first=(RUNNING,), read_only=None, then=("running", "stopped")),
    acts("kill x", "stopped"),
    acts("pause x", "paused"),
    acts("unpause x", "running", RUNNING, "pause x"),
    looks("wait kept"),
    changes("rm kept"),
    Row(words="rm -f x", first=(RUNNING,), read_only=None, then=("", "stopped")),
    changes("rename kept other"),
    changes("update --pids-limit 100 kept", "update --pids-limit 99 kept"),
    looks("exec x true", RUNNING),
    Row(
        words="attach x", first=("run -d --name x base:1 sh -c 'while echo tick; do sleep 0.1; done'",), full=137, read_only=137, ends=True
    ),
    looks("top x", RUNNING),
    changes("cp kept:/f -"),
    looks("ps -a"),
    looks("stats --no-stream", RUNNING),
    looks("logs kept"),
    looks("events --since 1000000000 --until 1s"),
    makes("volume create w"),
    looks("volume ls"),
    looks("volume inspect v"),
    changes("volume rm w", "volume create w"),
    changes("volume prune -af", "volume create w"),
    makes("network create w"),
    looks("network ls"),
    looks("network inspect n"),
    changes("network rm w", "network create w"),
    changes("network prune -f", "network create w"),
    makes("network connect n x", "run -d --name x --network bridge base:1 sleep 1000"),
    Row(words="network disconnect n x", first=("run -d --name x --network n base:1 sleep 1000",), read_only=None),
    looks("system df"),
    changes("system prune -af --volumes"),
    looks("system info"),
    looks("info"),
    makes("build -q {context}"),
    changes("builder prune", "build -q {context}"),
    makes("pull {host}/image:1"),
    looks("push {host}/other:1", "tag base:1 {host}/other:1"),
    makes("load -i {saved}"),
    looks("save -o {out} base:1"),
    makes("import {archive} w:1"),
    looks("diff kept"),
    makes("commit kept w:1"),
    looks("export -o {out} kept"),
    looks("images"),
    looks("inspect base:1 kept"),
    looks("history base:1"),
    changes("tag base:1 w:1"),
    changes("rmi w:1", "tag base:1 w:1"),
    looks("image ls"),
    looks("image inspect base:1"),
    looks("image history base:1"),
    changes("image tag base:1 w:1"),
    changes("image rm w:1", "tag base:1 w:1"),
    changes("image prune -af", "import {archive} w:1"),
    makes("image pull {host}/image:1"),
    looks("image push {host}/other:1", "tag base:1 {host}/other:1"),
    makes("image load -i {saved}"),
    looks("image save -o {out} base:1"),
    makes("image import {archive} w:1"),
    looks("layers base:1"),
    looks("which base:1 /bin/sh"),
    looks("doctor"),
    looks("completion bash"),
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A store on a small disk; names: what the words of a row stand for."""

    home: Home
    names: dict[str, str]

    def do(self, words: str, capfd: pytest.CaptureFixture[str]) -> Said:
        """Run a command of `cellhold` in this process."""
        return call(capfd, *split(words, self.names))

    def have(self, words: str, capfd: pytest.CaptureFixture[str]) -> None:
        said = self.do(words, capfd)
        assert said.status == 0, (words, said)

    def prepare(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Have on the disk an image, a volume, a network and a container that is kept, and nothing else."""
        for one in inventory.list_containers(self.home):
            if one.name != "kept":
                self.have(f"rm -f {one.id}", capfd)
        if self.do("inspect base:1", capfd).status:
            self.have("import {archive} base:1", capfd)
        if not inventory.list_containers(self.home):
            assert self.do(f"run --name kept -v v:/v base:1 sh -c '{KEPT}'", capfd).out == "said\n"
        self.have("wait kept", capfd)
        if self.do("network inspect n", capfd).status:
            self.have("network create n", capfd)
        for kind, mine in (("volume", {"v"}), ("network", {"bridge", "n"})):
            every = {path.name for path in (self.home.root / f"{kind}s").iterdir() if path.is_dir()}
            for name in every - mine:
                self.have(f"{kind} rm {name}", capfd)
        names = {"w:1", self.names["host"] + "/other:1", self.names["host"] + "/image:1"}
        for name in names & set(self.do("images --format '{{.Repository}}:{{.Tag}}'", capfd).out.split()):
            self.have(f"rmi {name}", capfd)


def split(words: str, names: dict[str, str]) -> list[str]:
    return [word.format(**names) if word[0] == "{" and word[1] != "{" else word for word in shlex.split(words)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, busybox_root: Path, registry: Registry) -> Iterator[Place]:
    """A disk for all tests of this file."""
    around = tmp_path_factory.mktemp("s")
    with tarfile.open(around / "root.tar", "w") as tar:
        tar.add(busybox_root, arcname=".")
    (around / "context").mkdir()
    (around / "context/Dockerfile").write_text("FROM base:1\nRUN echo built > /built\n")
    names = {"archive": str(around / "root.tar"), "context": str(around / "context"), "saved": str(around / "saved.tar")}
    names |= {"host": registry.host, "out": str(around / "out.tar")}
    with small_disk(around / "s") as store, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLHOLD_HOME", str(store))
        made = Place(home=open_home(), names=names)
        for words in (
            "import {archive} w:1",
            "save -o {saved} w:1",
            "tag w:1 {host}/image:1",
            "push {host}/image:1",
            "rmi -f w:1 {host}/image:1",
        ):
            assert main(split(words, names)) == 0, words
        yield made
        for one in inventory.list_containers(made.home):
            Detached(one.id, made.home).remove(force=True)
        assert main(["network", "prune", "-f"]) == 0
        tidy(made.home)


@contextmanager
def made_so(how: str, store: Path) -> Iterator[None]:
    """Have the disk full, or read-only for whoever opens something on it: it is mounted a second time upon itself."""
    if how == FULL:
        filler = fill(store)
        try:
            yield
        finally:
            filler.unlink()
        return
    subprocess.run(["mount", "--bind", store, store], check=True)
    try:
        read_only = ["mount", "-o", "remount,bind,ro", str(store)]  # busy as long as somebody writes to what was opened through it
        assert eventually(lambda: subprocess.run(read_only, check=False, capture_output=True).returncode == 0)
        yield
    finally:
        assert eventually(lambda: subprocess.run(["umount", store], check=False, capture_output=True).returncode == 0)


def until_killed(words: str, place: Place) -> Said:
    """Run a command that goes on, and end container x once it has written something."""
    with subprocess.Popen(
        cellhold(*split(words, place.names)), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        os.kill(inventory.find("x", place.home).pid or 0, signal.SIGKILL)
        out, err = running.communicate(timeout=60)
    return Said(running.returncode, out, err)


@pytest.mark.parametrize("how", [FULL, READ_ONLY])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.words)
def test_a_command_says_what_helps_or_does_what_it_says(row: Row, how: str, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    place.prepare(capfd)
    for words in row.first:
        place.have(words, capfd)
    with made_so(how, place.home.root):
        said = until_killed(row.words, place) if row.ends else place.do(row.words, capfd)
        wanted = row.full if how == FULL else row.read_only
        if wanted is None:
            assert said.status in REFUSED, said
            assert f"cannot write to the store {place.home.root}: {HINTS[how]}" in said.err
        else:
            assert said.status == wanted, said
        if row.then is not None:
            then = row.then[how == READ_ONLY]
            assert eventually(lambda: "".join(one.state for one in inventory.list_containers(place.home) if one.name == "x") == then)
    assert (place.home.volumes / "v/_data/f").read_text() == "mine\n"


def test_all_is_there_afterwards(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    place.prepare(capfd)
    assert place.do("start -a kept", capfd)[:2] == (0, "said\n")
    assert (place.home.volumes / "v/_data/f").read_text() == "mine\n"
    place.have("run --rm --network n base:1 true", capfd)


def leaves(one: argparse.ArgumentParser, above: tuple[str, ...] = ()) -> Iterator[str]:
    """The commands below a parser, with those above them."""
    below = [action for action in one._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield " ".join(above)
    for action in below:
        for name, made in action.choices.items():
            yield from leaves(made, (*above, name))


def test_every_command_has_a_row() -> None:
    ours = {name for names in MODULES.values() for name in names}
    commands = [words for words in leaves(parser()) if words.split()[0] in ours]
    assert [words for words in commands if not any(f"{row.words} ".startswith(f"{words} ") for row in ROWS)] == []
