"""Layers without root: by real users of this machine, one with subordinate ids and one without."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from boxes import eventually
from people import person
from tars import Tar, record, seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from people import Person

# root: to make the users
pytestmark = pytest.mark.requires("root", "rootless", "subordinate-ids", "user-namespace", "overlayfs", "mount-api")

KINDS = ("ranged", "single")
PROGRAM = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from cellhold.errors import CellholdError
from cellhold.layer.unpack import Unpacking
into, *parents = map(Path, sys.argv[1:])
into.mkdir()
try:
    with Unpacking(into) as unpacking:
        unpacking.feed(sys.stdin.buffer.read())
        print(json.dumps(asdict(unpacking.finish(lambda: parents))))
except CellholdError as error:
    print(json.dumps({"refused": str(error)}))
"""
PACK = """
import sys
from pathlib import Path
from cellhold.layer.pack import Packing, compare
tree, *lowers = map(Path, sys.argv[1:])
print(*(f"{change.kind} {change.path}" for change in compare(tree, lowers).changes), sep="\\n", file=sys.stderr)
with Packing(tree, compression="none") as packing:
    sys.stdout.buffer.write(b"".join(packing))
"""
NET_BIND = b"\x01\0\0\x02\0\x04" + bytes(14)


@pytest.fixture(scope="module")
def ranged() -> Iterator[Person]:
    with person("lr", subordinate=True) as who:
        yield who


@pytest.fixture(scope="module")
def single() -> Iterator[Person]:
    with person("ls", subordinate=False) as who:
        yield who


@pytest.fixture(params=KINDS)
def anybody(request: pytest.FixtureRequest) -> Iterator[Person]:
    who: Person = request.getfixturevalue(request.param)
    yield who
    assert eventually(lambda: not who.processes()), who.processes()


def unpack(who: Person, name: str, tar: Tar, *parents: str) -> tuple[Path, dict[str, Any]]:
    """The layer as this user unpacks it, and the account of it."""
    place = who.place / "home"
    shutil.rmtree(place / name, ignore_errors=True)
    words = [who.python, "-c", PROGRAM, *(str(place / directory) for directory in (name, *parents))]
    ran = subprocess.run(words, input=tar.gzip(), capture_output=True, check=False, timeout=120, **who.as_it())
    assert ran.returncode == 0, ran.stderr.decode()
    account: dict[str, Any] = json.loads(ran.stdout)
    return place / name, account


def test_owners_are_the_subordinate_ids_of_the_user(ranged: Person) -> None:
    layer, done = unpack(ranged, "owners", Tar().add("root", b"x").add("one", uid=1, gid=2).add("last", uid=65535, gid=65535, mode=0o4711))
    found = seen(layer)
    assert found["root"][2:4] == (ranged.uid, ranged.gid)
    assert found["one"][2:4] == (ranged.first, ranged.first + 1)
    assert found["last"][1:4] == (0o4711, ranged.first + 65534, ranged.first + 65534)
    assert done["owners_changed"] == 0


def test_without_a_range_every_file_belongs_to_the_user_and_that_is_counted(single: Person) -> None:
    layer, done = unpack(single, "owners", Tar().add("a", uid=5, mode=0o4711).directory("d", uid=70000, mode=0o1777).add("e"))
    assert {entry[1:4] for name, entry in seen(layer).items() if name != "."} == {
        (0o4711, single.uid, single.gid),
        (0o1777, single.uid, single.gid),
        (0o644, single.uid, single.gid),
    }
    assert done["owners_changed"] == 2


def test_whiteouts_opaque_directories_and_links_are_made(anybody: Person) -> None:
    layer, _done = unpack(anybody, "base", Tar().directory(".", mode=0o711).add("lower", b"body"))
    assert seen(layer)["lower"].content == b"body"
    top, done = unpack(anybody, "top", Tar().add(".wh.gone").add("d/.wh..wh..opq").add("d/f").link("l", "d/f").link("m", "lower"), "base")
    found = seen(top)
    assert found["gone"].content == "device 0:0"
    assert found["d"].xattrs == {"user.overlay.opaque": b"y"}
    assert (top / "l").stat().st_ino == (top / "d/f").stat().st_ino
    assert found["m"].content == b"body"
    assert found["."].mode == 0o711
    assert (done["whiteouts"], done["opaques"]) == (1, 1)


def test_file_capabilities_count_for_root_of_the_users_containers_only(anybody: Person) -> None:
    layer, done = unpack(anybody, "capable", Tar().records(record(b"SCHILY.xattr.security.capability", NET_BIND)).raw(b"f", b"x"))
    value = seen(layer)["f"].xattrs["security.capability"]
    assert (value[3], int.from_bytes(value[20:24], "little")) == (3, anybody.uid)
    assert done["xattrs_left_out"] == 0


def test_directories_that_their_owner_may_not_write_to_are_filled_all_the_same(anybody: Person) -> None:
    layer, _done = unpack(
        anybody, "locked", Tar().directory("d", mode=0o555).add("d/f", b"x", mode=0).directory("d/e", mode=0).add("d/e/g")
    )
    assert {name: entry.mode for name, entry in seen(layer).items() if name != "."} == {"d": 0o555, "d/f": 0, "d/e": 0, "d/e/g": 0o644}


def test_what_leads_out_is_refused(anybody: Person) -> None:
    outside = anybody.place / "home/outside"
    _layer, done = unpack(anybody, "hostile", Tar().symlink("a", str(anybody.place / "home")).add("a/f").add("../outside"))
    assert "leads out of the layer" in done["refused"]
    assert not outside.exists()
    assert not (anybody.place / "home/f").exists()


def test_an_id_that_the_user_does_not_have_is_refused_by_name(ranged: Person) -> None:
    _layer, done = unpack(ranged, "ids", Tar().add("f", uid=65536))
    assert "'f' belongs to 65536:0, and containers have the ids 0 to 65535 here" in done["refused"]


def test_what_was_unpacked_can_be_removed_by_the_user(ranged: Person) -> None:
    layer, _done = unpack(ranged, "removed", Tar().directory("d", uid=5, mode=0o700).add("d/f", uid=6))
    code = f"from pathlib import Path; from cellhold.store.delete import remove; remove(Path({str(layer)!r}))"
    ran = ranged.run_program(ranged.python, "-c", code)
    assert ran.returncode == 0, ran.stderr
    assert not os.path.lexists(layer)


def test_what_was_unpacked_is_packed_with_the_ids_of_the_tar(ranged: Person) -> None:
    lower, _done = unpack(ranged, "under", Tar().add("old").add("gone"))
    tar = Tar().directory(".").directory("d", uid=5, mode=0o700).add("d/f", b"x", uid=65535, mode=0).add(".wh.gone").add("old", b"new")
    layer, _done = unpack(ranged, "over", tar)
    ran = subprocess.run([ranged.python, "-c", PACK, layer, lower], capture_output=True, check=False, timeout=120, **ranged.as_it())
    assert ran.stderr.decode().split("\n") == ["A /d", "A /d/f", "D /gone", "C /old", ""]
    with tarfile.open(fileobj=io.BytesIO(ran.stdout)) as packed:
        assert {member.name: member.uid for member in packed} == {".": 0, "d": 5, "d/f": 65535, ".wh.gone": 0, "old": 0}
