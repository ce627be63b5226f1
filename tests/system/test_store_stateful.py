"""Random commands on a store, from a process that is killed at a random moment, on a disk that is full at times, with files damaged.

What is promised: what was reported to be made, or written, is there until its removal is asked for; what a killed process was
doing is done, or not; what cannot be read is listed as damaged, and no sweep or prune removes it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from boxes import environment, eventually
from cellhold.cli import main
from cellhold.container import inventory
from cellhold.container.detached import Detached
from cellhold.container.recovery import sweep, tidy
from cellhold.errors import CellholdError
from cellhold.image import stored
from cellhold.network import networks
from cellhold.rootfs import volumes
from cellhold.spec.networks import BRIDGE
from cellhold.store.home import open_home
from disks import fill, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.store.home import Home

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups"),
    pytest.mark.timeout(1800),
    pytest.mark.random,
]

ROUNDS = 200
NAMES = {"container": ("x", "y", "z", "q"), "volume": ("v", "w"), "network": ("n", "o"), "image": ("i:1", "i:2", "i:3")}
WORKER = """
import json, sys
from cellhold.container import commit
from cellhold.container.detached import Detached
from cellhold.errors import CellholdError
from cellhold.image import tags
from cellhold.network import networks
from cellhold.spec.networks import BRIDGE
from cellhold.rootfs import volumes
from cellhold.spec.spec import Mount, Spec
from cellhold.store.home import open_home
from cellhold.container.recovery import sweep, tidy
home = open_home()

def run(name, volume, token):
    script = f"echo {token} > /{token} && echo {token} > /v/{token}"
    mounts = (Mount(kind="volume", source=volume, target="/v"),)
    box = Detached.create(Spec(image="base:1", args=("sh", "-c", script), name=name, mounts=mounts))
    box.start()
    return box.wait(120).status

def clear():
    sweep(home)
    tidy(home)
    tags.prune(home)
    volumes.prune(home)

DO = {
    "run": run,
    "clear": clear,
    "make volume": lambda name: volumes.create(name, home).name,
    "make network": lambda name: networks.create(name, home).subnet,
    "tag": lambda name: tags.tag("base:1", name, home),
    "commit": lambda container, name: str(commit.commit(container, name, home)),
    "remove container": lambda name: Detached.find(name).remove(force=True),
    "remove volume": lambda name: volumes.remove(name, home),
    "remove network": lambda name: networks.remove(name, home),
    "remove image": lambda name: tags.remove(name, home),
}
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    what, *values = json.loads(line)
    try:
        answer = {"value": DO[what](*values)}
    except CellholdError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer, default=str), flush=True)
"""


class Worker:
    """A process that does what it is asked, one thing after the other."""

    def __init__(self) -> None:
        words = [sys.executable, "-c", WORKER]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
        self._is_ready = False

    def do(self, *asked: str, seconds: float | None) -> dict[str, Any] | None:
        """Its answer; None if it is killed after so many seconds, whatever it has done by then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not self._is_ready:
            assert self._process.stdout.readline() == '"ready"\n'
            self._is_ready = True
        self._process.stdin.write(f"{json.dumps(asked)}\n")
        self._process.stdin.flush()
        if seconds is not None:
            time.sleep(seconds)
            self._process.kill()
        line = self._process.stdout.readline()  # what it had reported before it was killed counts
        return json.loads(line) if line.endswith("\n") else None

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass(kw_only=True)
class Contents:
    """What there is: of each kind a name, and the words that were written into it."""

    container: dict[str, set[str]] = field(default_factory=dict)
    volume: dict[str, set[str]] = field(default_factory=dict)
    network: dict[str, set[str]] = field(default_factory=dict)
    image: dict[str, set[str]] = field(default_factory=dict)

    def of(self, kind: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = getattr(self, kind)
        return found


def words_in(directory: Path) -> set[str]:
    """The names of the files that have their name as their content: the others were cut off as they were written."""
    return {path.name for path in directory.glob("t*") if path.is_file() and path.read_text() == f"{path.name}\n"}


def look(home: Home) -> Contents:
    """What there is, by the lists of the library and the files themselves."""
    found = Contents()
    for one in inventory.list_containers(home):
        found.container[one.name] = words_in(home.container(one.id) / "storage/0/upper")
    for volume in volumes.list_readable(home):
        found.volume[volume.name] = words_in(volume.data)
    for network in networks.every(home):
        found.network[network.name] = {network.subnet}
    for image in stored.every(home):
        for name in image.names:
            found.image[str(name).removeprefix("docker.io/library/")] = {
                word for chain in image.chain_ids for word in words_in(home.layers.tree(chain))
            }
    return found


class Machine:
    """A store, what was reported of it, and who works on it."""

    def __init__(self, home: Home, dice: random.Random) -> None:
        self.home, self.dice = home, dice
        self.reported = look(home)
        self.workers = [Worker(), Worker()]
        self.story: list[object] = []
        self.counts: dict[str, int] = {}

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def round(self, number: int) -> None:
        """One thing that happens, and a look at what came of it."""
        if self.dice.random() < 0.25:
            self.damage()
            return
        kind = self.dice.choice(("container", *NAMES))  # which are what takes most steps
        name = self.dice.choice(NAMES[kind])
        asked = self.request(kind, name, f"t{number}")
        seconds = self.dice.uniform(0, 0.3) if self.dice.random() < 0.5 else None
        free_kib = self.dice.choice((0, 4, 16, 64, 256)) if self.dice.random() < 0.3 else None
        filler = None if free_kib is None else fill(self.home.root, free_kib=free_kib)
        try:
            answer = self.do(*asked, seconds=seconds)
        finally:
            if filler is not None:
                filler.unlink()
        self.story.append((number, asked, seconds, free_kib, answer))
        self.count(f"{asked[0]} {'killed' if answer is None else 'refused' if 'error' in answer else 'done'}")
        self.settle()
        self.compare(asked, answer)

    def do(self, *asked: str, seconds: float | None = None) -> dict[str, Any] | None:
        answer = self.workers[0].do(*asked, seconds=seconds)
        if seconds is not None:
            self.workers.pop(0).end()
            self.workers.append(Worker())
        return answer

    def request(self, kind: str, name: str, token: str) -> tuple[str, ...]:
        """Something to ask for: to make what is not there, to remove what is."""
        if self.dice.random() < 0.05:
            return ("clear",)
        if name in self.reported.of(kind):
            return (f"remove {kind}", name)
        if kind == "container":
            return ("run", name, self.dice.choice(NAMES["volume"]), token)
        if kind == "image":
            container = self.dice.choice(("", *self.reported.container))
            return ("commit", container, name) if container else ("tag", name)
        return (f"make {kind}", name)

    def settle(self) -> None:
        """Wait for programs that still run, as whoever started them was killed, and clear what that has left."""
        assert eventually(lambda: not any(one.is_alive for one in inventory.list_containers(self.home)), seconds=60)
        sweep(self.home)

    def compare(self, asked: tuple[str, ...], answer: dict[str, Any] | None) -> None:
        """Nothing that was reported is lost; only what was asked for has changed, and has if that was reported."""
        found = look(self.home)
        targets = self.targets(asked)
        may_go = targets if asked[0].startswith("remove") and (answer is None or "value" in answer) else set()
        for kind in NAMES:
            before, now = self.reported.of(kind), found.of(kind)
            for name in before.keys() - {name for kind_of, name in may_go if kind_of == kind}:
                assert name in now, f"{kind} {name} is lost"
                assert before[name] <= now[name], f"{kind} {name} has lost {before[name] - now[name]}"
            for name in now.keys() - before.keys():
                assert (kind, name) in targets, f"{kind} {name} came from nowhere"
        if answer is not None and "value" in answer:
            self.check_done(asked, answer["value"], found)
        self.reported = found

    def targets(self, asked: tuple[str, ...]) -> set[tuple[str, str]]:
        """What may change by that."""
        what, *values = asked
        if what == "run":
            return {("container", values[0]), ("volume", values[1])}
        if what in ("tag", "commit"):
            return {("image", values[-1])}
        return {(what.split()[1], values[0])} if values else set()

    def check_done(self, asked: tuple[str, ...], value: Any, found: Contents) -> None:
        """What was reported to be done is."""
        what, *values = asked
        if what == "run":
            container, volume, token = values
            assert container in found.container
            assert volume in found.volume
            if value == 0:
                assert token in found.container[container]
                assert token in found.volume[volume]
        elif what.startswith("remove"):
            assert values[0] not in found.of(what.split()[1])
        elif what == "commit":
            assert self.reported.container[values[0]] <= found.image[values[1]]
        elif what == "tag":
            assert values[0] in found.image
        elif what.startswith("make"):
            assert values[0] in found.of(what.split()[1])
            assert what != "make network" or found.network[values[0]] == {value}

    def damage(self) -> None:
        """Cut a file off; whatever clears the store leaves what it stands for, and says that it is damaged. Then it is put right."""
        files = [
            *self.home.containers.glob("*/record.json"),
            *self.home.volumes.glob("*/volume.json"),
            *self.home.networks.glob("*/network.json"),
            *self.home.root.glob("images.json"),
        ]
        path = self.dice.choice(files)
        text = path.read_bytes()
        os.truncate(path, self.dice.choice((0, self.dice.randrange(len(text.strip()) - 1))))
        seconds = self.dice.uniform(0, 0.25) if self.dice.random() < 0.3 else None
        answer = self.do("clear", seconds=seconds)
        self.story.append(("damage", path, path.stat().st_size, seconds, answer))
        self.count(f"damaged {path.name}")
        if path.name == "images.json":
            with pytest.raises(CellholdError, match=r"images\.json"):
                self.home.names.read()
        else:
            listed = [*inventory.unreadable(self.home), *volumes.unreadable(self.home), *networks.unreadable(self.home)]
            assert [(one.place, one.is_damaged) for one in listed] == [(path.parent, True)]
        path.write_bytes(text)
        self.settle()
        self.compare(("clear",), None)


@pytest.fixture
def home(tmp_path: Path, busybox_root: Path) -> Iterator[Home]:
    """A store on a small disk, with an image."""
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(busybox_root, arcname=".")
    with small_disk(tmp_path / "s") as store, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLHOLD_HOME", str(store))
        assert main(["import", str(tmp_path / "root.tar"), "base:1"]) == 0
        made = open_home()
        networks.find(BRIDGE, made)
        yield made
        for one in inventory.list_containers(made):
            Detached(one.id, made).remove(force=True)
        tidy(made)


def test_nothing_that_was_reported_is_lost(home: Home) -> None:
    seed = int(os.environ.get("CELLHOLD_TEST_SEED", "16"))
    machine = Machine(home, random.Random(seed))  # noqa: S311  # to be repeated
    try:
        for number in range(ROUNDS):
            machine.round(number)
    except BaseException:
        sys.stdout.write(f"\nCELLHOLD_TEST_SEED={seed}, the last of the rounds:\n" + "\n".join(map(str, machine.story[-12:])) + "\n")
        raise
    finally:
        for worker in machine.workers:
            worker.end()
    sys.stdout.write("\n" + ", ".join(f"{count} x {what}" for what, count in sorted(machine.counts.items())) + "\n")
    for what in ("run done", "run killed", "commit done", "remove container done", "damaged record.json", "damaged volume.json"):
        assert machine.counts.get(what), what
