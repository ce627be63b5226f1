"""What cannot be read is never litter: it stays with all that it stands for until somebody removes it by its name and by force."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from boxes import call, eventually
from cellhold.container import inventory
from cellhold.container.detached import Detached
from cellhold.container.recovery import sweep, tidy
from cellhold.errors import Damaged
from cellhold.network import networks
from cellhold.rootfs import volumes
from cellhold.spec.spec import Mount, Spec
from cellhold.store import ids, record
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from boxes import Said
    from cellhold.store.home import Home

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "empty": lambda _text: b"",
    "zeros": lambda text: bytes(len(text)),
    "cut off": lambda text: text.strip()[:-20],
    "garbage": lambda _text: os.urandom(200),
    "no Unicode": lambda text: b"\xff\xfe" + text,
    "a list": lambda text: b"[" + text + b"]",
    "deep": lambda _text: b"[" * 200_000,
    "wrong types": lambda text: json.dumps({name: {"x": [1]} for name in json.loads(text)}).encode(),
    "gone": lambda _text: None,
}
NEWER = b'{"version": 99, "unheard": [1, 2]}'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A store of this test's own."""
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "s"))
    found = open_home()
    yield found
    for one in inventory.list_containers(found):
        Detached(one.id, found).remove(force=True)
    tidy(found)


@pytest.fixture
def do(home: Home, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run a command of `cellhold`, in this process."""
    assert home.root.exists()
    return partial(call, capfd)


def damage(path: Path, how: str) -> None:
    """Make the file what a power cut, a bad disk or another program may have made of it."""
    content = DAMAGES[how](path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def use_all(do: Callable[..., Said], image: str) -> None:
    """Every command that clears something, or makes something, with nobody's name in it."""
    for words in (
        ("run", "--rm", "--rootfs", image, "true"),
        ("create", "--rootfs", image, "true"),
        ("ps", "-a"),
        ("system", "df"),
        ("image", "prune", "-af"),
        ("volume", "prune", "-af"),
        ("network", "prune", "-f"),
        ("builder", "prune"),
        ("system", "prune", "-af", "--volumes"),
        ("info",),
        ("volume", "ls"),
        ("network", "ls"),
        ("images",),
    ):
        assert do(*words).status == 0, words
    sweep()


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_volume_keeps_its_files_whatever_is_done(how: str, home: Home, do: Callable[..., Said], busybox_root: Path) -> None:
    assert do("volume", "create", "v").status == 0
    place = home.volumes / "v"
    (place / "_data/file").write_text("mine")
    damage(place / "volume.json", how)
    use_all(do, str(busybox_root))
    for words in (
        ("run", "--rm", "-v", "v:/d", "--rootfs", str(busybox_root), "true"),
        ("create", "-v", "v:/d", "--rootfs", str(busybox_root), "true"),
        ("volume", "create", "v"),
        ("volume", "inspect", "v"),
        ("volume", "rm", "v"),
    ):
        said = do(*words)
        assert said.status in (1, 125), words
        assert f"cannot read volume v: {place / 'volume.json'} is damaged: " in said.err, words
        assert "`cellhold volume rm --force v` removes it" in said.err
    listed = do("volume", "ls")
    assert "Damaged" in listed.out
    assert f"its files are in {place / '_data'}" in listed.err
    assert (place / "_data/file").read_text() == "mine"
    assert do("volume", "rm", "--force", "v").status == 0
    assert not place.exists()
    assert do("volume", "create", "v").status == 0


@pytest.fixture
def kept(home: Home, busybox_root: Path) -> Detached:
    """A container that has run, with a file of its own and a volume."""
    mounts = (Mount(kind="volume", source="v", target="/v"), Mount(kind="volume", source="", target="/w"))
    spec = Spec(image=str(busybox_root), args=("sh", "-c", "echo mine > /f; echo mine > /w/f"), name="kept", mounts=mounts)
    made = Detached.create(spec, home=home)
    made.start()
    assert made.wait(60).status == 0
    return made


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_container_keeps_all_that_it_has(
    how: str, home: Home, kept: Detached, do: Callable[..., Said], busybox_root: Path
) -> None:
    place, text = home.container(kept.id), (home.container(kept.id) / "record.json").read_bytes()
    base, named = ids.claimed_by(home.ids, kept.id), kept.record.volumes
    damage(place / "record.json", how)
    use_all(do, str(busybox_root))
    for words in (("start", "kept"), ("rm", "kept")):  # nobody knows its name
        assert "there is no such container" in do(*words).err
    for command in ("start", "stop", "kill", "restart", "pause", "rm", "wait", "inspect", "logs", "exec", "diff", "rename"):
        more = {"exec": ("true",), "rename": ("other",)}.get(command, ())
        said = do(command, kept.id, *more)
        assert said.status in (1, 125), command
        assert f"cannot read container {kept.id}: {place}/record.json is damaged: " in said.err, (command, said)
    listed = do("ps", "-a")
    assert any(line.startswith(kept.id) and "Damaged" in line for line in listed.out.splitlines())
    assert f"hint: what it has written is in {place}/storage; `cellhold rm --force {kept.id}` removes all of it" in listed.err
    assert do("ps", "-aq").out.split()[-1] == kept.id
    assert do("volume", "rm", named[0]).status == 1  # which it may have
    assert sorted(one.name for one in volumes.list_readable(home)) == sorted(named)
    assert (place / "storage/0/upper/f").read_text() == "mine\n"
    assert ids.claimed_by(home.ids, kept.id) == base
    if how != "gone":  # the same bytes, and it is whole again
        (place / "record.json").write_bytes(text)
        assert do("start", "-a", "kept").status == 0
        damage(place / "record.json", how)
    assert do("rm", "--force", kept.id).status == 0
    assert not place.exists()
    assert ids.claimed_by(home.ids, kept.id) is None
    assert do("volume", "rm", *named).status == 0


def test_a_record_with_one_member_more_or_less_is_no_damage(home: Home, kept: Detached, do: Callable[..., Said]) -> None:
    path = home.container(kept.id) / "record.json"
    whole = json.loads(path.read_text())
    for name in ("restarts", "oom_kills", "networks", "version", "health", "base"):
        less = {key: value for key, value in whole.items() if key != name}
        path.write_text(json.dumps({**less, "colour": "red", "spec": {**whole["spec"], "unheard": [1]}}))
        assert do("start", "-a", "kept").status == 0, name
        assert json.loads(path.read_text())["colour"] == "red"
    spec = {key: value for key, value in whole["spec"].items() if key not in ("aliases", "egress", "health", "devices")}
    path.write_text(json.dumps({**whole, "spec": spec}))
    assert do("start", "-a", "kept").status == 0
    assert do("rm", "kept").status == 0


@pytest.mark.parametrize("how", ["empty", "gone", "newer"])
def test_one_that_is_damaged_while_it_runs_goes_on_and_is_killed_by_force(
    how: str, home: Home, do: Callable[..., Said], busybox_root: Path
) -> None:
    made = Detached.create(Spec(image=str(busybox_root), args=("sleep", "1000")), home=home)
    made.start()
    pid, path = made.record.pid, home.container(made.id) / "record.json"
    text = path.read_bytes()
    if how == "newer":
        path.write_bytes(NEWER)
    else:
        damage(path, how)
    sweep()
    assert made.id in do("ps").out
    os.kill(pid or 0, 0)
    if how == "newer":
        assert "a later version of Cellhold has made it" in do("rm", "--force", made.id).err
        os.kill(pid or 0, 0)
        path.write_bytes(text)
    assert do("rm", "--force", made.id).status == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)
    assert eventually(lambda: not any(home.containers.iterdir()))


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_network_stays_and_goes_by_force(how: str, home: Home, do: Callable[..., Said], busybox_root: Path) -> None:
    assert do("network", "create", "n").status == 0
    damage(home.networks / "n/network.json", how)
    if how == "gone":
        (home.networks / "n/leases/0123456789ab").touch()  # else there is nothing of it
    use_all(do, str(busybox_root))
    for words in (("network", "rm", "n"), ("network", "create", "n"), ("network", "inspect", "n")):
        said = do(*words)
        assert said.status in (1, 125)
        assert f"cannot read network n: {home.networks}/n/network.json is damaged: " in said.err, said
        assert "`cellhold network rm --force n` removes it" in said.err
    assert "Damaged" in do("network", "ls").out
    assert (home.networks / "n").exists()
    assert do("network", "rm", "--force", "n").status == 0
    assert do("network", "create", "n").status == 0


def test_the_default_network_is_made_anew_only_by_force(home: Home, do: Callable[..., Said]) -> None:
    assert "bridge" in do("network", "ls").out
    damage(home.networks / "bridge/network.json", "cut off")
    said = do("run", "--rm", "--network", "bridge", "host", "true")
    assert (said.status, "cannot read network bridge: " in said.err) == (125, True)
    assert do("network", "rm", "-f", "bridge").status == 0
    assert networks.find("bridge", home).name == "bridge"
    assert "it is the one that is always there" in do("network", "rm", "-f", "bridge").err


def test_what_a_later_version_has_made_is_refused_in_every_table_and_left(
    home: Home, kept: Detached, do: Callable[..., Said], busybox_root: Path
) -> None:
    assert do("network", "create", "n").status == 0
    home.builds.put_sum("a" * 64, "sum")
    files = (
        home.container(kept.id) / "record.json",
        home.volumes / "v/volume.json",
        home.networks / "n/network.json",
        home.root / "builds" / ("a" * 64),
    )
    for path in files:
        path.write_bytes(NEWER)
    for words in (
        ("ps", "-a"),
        ("volume", "ls"),
        ("network", "ls"),
        ("system", "df"),
        ("run", "--rm", "--rootfs", str(busybox_root), "true"),
    ):
        assert do(*words).status == 0
    refused: tuple[tuple[str, ...], ...] = (
        ("rm", "-f", kept.id),
        ("start", kept.id),
        ("volume", "rm", "-f", "v"),
        ("run", "-v", "v:/v", "host", "true"),
        ("network", "rm", "-f", "n"),
        ("network", "create", "n"),
    )
    for command in refused:
        said = do(*command)
        assert (said.status in (1, 125), "a later version of Cellhold has made it" in said.err) == (True, True), (command, said)
    assert "No space came free" in do("image", "prune", "-f").out
    assert all(path.read_bytes() == NEWER for path in files)
    files[0].write_bytes(b"")
    assert do("rm", "-f", kept.id).status == 0


def test_nothing_is_collected_while_nobody_knows_what_it_is_needed_for(home: Home, kept: Detached, do: Callable[..., Said]) -> None:
    needed = home.blobs.put(b"needed")
    for path, remedy in (
        (home.container(kept.id) / "record.json", ("rm", "-f", kept.id)),
        (home.root / "builds" / ("a" * 64), ("builder", "prune")),
    ):
        home.builds.put_sum("a" * 64, "sum")
        path.write_bytes(b"")
        said = do("image", "prune", "-af")
        assert said.status == 0
        assert "No space came free: cannot read " in said.out
        assert home.blobs.has(needed)
        assert do(*remedy).status == 0
    assert do("image", "prune", "-af").status == 0
    assert not home.blobs.has(needed)


def test_a_claim_on_ids_that_cannot_be_read_stays_its_owners_and_comes_back(home: Home, kept: Detached, do: Callable[..., Said]) -> None:
    base = ids.claimed_by(home.ids, kept.id)
    assert base is not None
    claim = home.ids / str((base - ids.FIRST) // ids.COUNT)
    claim.write_bytes(b"")
    sweep()
    assert claim.exists()
    assert do("run", "--rm", "host", "true").status == 0  # with ids of its own
    assert do("start", "-a", "kept").status == 0
    assert ids.claimed_by(home.ids, kept.id) == base
    claim.unlink()
    assert do("start", "-a", "kept").status == 0
    assert ids.claimed_by(home.ids, kept.id) == base


def test_garbage_among_events_logs_and_leases_is_left_out(home: Home, kept: Detached, do: Callable[..., Said]) -> None:
    before = do("events", "--since", "1000000000", "--until", "0s").out
    with (home.root / "events").open("ab") as file:
        file.write(
            b'\xff\xfe\n{"time": 1}\n' + b"[" * 200_000 + b'\n{"time": 1e300, "type": "a", "action": "b", "id": "c", "attributes": {}}\n'
        )
    assert do("events", "--since", "1000000000", "--until", "0s").out == before
    with (home.container(kept.id) / "log").open("ab") as file:
        file.write(b"\xff\xfe\n\0\0\0\n2026 stdout\n")
    assert do("logs", "-t", "kept").status == 0
    (home.container(kept.id) / "ended").write_bytes(b"\xff")
    (home.container(kept.id) / "health").write_bytes(b"\xff\n\n\n\n")
    assert do("ps", "-a").status == 0
    networks.find("bridge", home)
    (home.networks / "bridge/last").write_bytes(b"\xff\xff")
    (home.networks / "bridge/leases" / kept.id).write_bytes(b"\xff")
    sweep()
    assert not (home.networks / "bridge/leases" / kept.id).exists()  # it does not run, so that it has none
    assert do("network", "ls").status == 0


def old_layout(home: Home, image: str) -> str:
    """What the version before this one left: files without a version, and containers that were its process's."""
    place = home.volumes / "v"
    (place / "_data").mkdir(parents=True)
    (place / "_data/file").write_text("mine")
    (place / "volume.json").write_text(json.dumps({"created": 1.5, "labels": {"a": "b"}, "anonymous": False}))
    (home.volumes / "half/_data").mkdir(parents=True)
    network = {"name": "n", "id": "0123456789ab", "bridge": "chxxxx-01234567", "subnet": "10.87.9.0/24", "gateway": "10.87.9.1"}
    (home.networks / "n/leases").mkdir(parents=True)
    (home.networks / "n/network.json").write_text(json.dumps({**network, "internal": False, "dns": [], "created": 1.5, "labels": {}}))
    (home.networks / "half/leases").mkdir(parents=True)
    made = Detached.create(Spec(image=image, args=("true",), name="old"), home=home)
    directory = home.container(made.id)
    known: dict[str, Any] = json.loads((directory / "record.json").read_text())
    (directory / "record.spare").unlink()
    (directory / "record.json").write_text(
        json.dumps({key: value for key, value in known.items() if key not in ("base", "removing", "more")})
    )
    own = home.container("0123456789ab")
    (own / "storage/0/upper").mkdir(parents=True)
    (own / "storage/0/upper/file").touch()
    (own / "record.json").write_text(json.dumps({**known, "id": own.name, "name": "own", "kept": False}))
    home.container("0123456789ac").mkdir()
    return made.id


def test_a_store_of_the_version_before_is_read(home: Home, do: Callable[..., Said], busybox_root: Path) -> None:
    made = old_layout(home, str(busybox_root))
    assert sweep() == ["0123456789ab", "0123456789ac"] or set(sweep()) <= {"0123456789ab", "0123456789ac"}
    assert [path.name for path in record.directories(home.containers)] == [made]
    assert do("start", "-a", "old").status == 0
    assert volumes.find("v", home).labels == {"a": "b"}
    assert do("run", "--rm", "-v", "v:/v", "--rootfs", str(busybox_root), "cat", "/v/file").status == 0
    assert do("run", "--rm", "-v", "half:/v", "--rootfs", str(busybox_root), "true").status == 0
    assert networks.find("n", home).subnet == "10.87.9.0/24"
    assert do("network", "create", "half").status == 0
    assert do("network", "rm", "n", "half").status == 0


def test_a_damaged_thing_is_no_other_ones_trouble(home: Home, do: Callable[..., Said]) -> None:
    assert do("volume", "create", "good").status == 0
    assert do("volume", "create", "bad").status == 0
    damage(home.volumes / "bad/volume.json", "empty")
    with pytest.raises(Damaged):
        volumes.find("bad", home)
    assert do("volume", "rm", "bad", "good").out == "good\n"
