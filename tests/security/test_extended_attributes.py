"""Extended attributes that no limit counts: a tmpfs keeps access control lists in memory that is charged to nobody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from boxes import MIB, eventually, run, spec
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Mount
from people import person

if TYPE_CHECKING:
    from collections.abc import Iterator

    from people import Person

ROOT = ("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")
ROOTLESS = ("root", "rootless", "subordinate-ids", "user-namespace", "overlayfs", "mount-api", "seccomp")  # root: to make the users
# Access control lists of so many entries, on a directory of each place: what came of setting them, in bytes or as an errno's name.
PROGRAM = """
import errno, json, os, struct, sys
def acl(users):
    entries = [(1, 7, -1), *[(2, 7, 0)] * users, (4, 7, -1), (16, 7, -1), (32, 7, -1)]  # acl(5), linux/posix_acl_xattr.h
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
found = {}
for place in sys.argv[1:]:
    os.mkdir(f"{place}/d")
    for name in ("system.posix_acl_access", "system.posix_acl_default"):
        for users in (8, 200, 1000, 8000):
            try:
                os.setxattr(f"{place}/d", name, acl(users))
                found[f"{place} {name} {users}"] = "set"
            except OSError as error:
                found[f"{place} {name} {users}"] = errno.errorcode[error.errno]
print(json.dumps(found))
"""
WORDS = ("python3", "-I", "-S", "-c", PROGRAM)


def check(text: str, *places: str) -> None:
    """Short lists can be set in each place, and long ones in none."""
    answers: dict[str, str] = json.loads(text)
    assert len(answers) == 8 * len(places)
    assert {how: answer for how, answer in answers.items() if answer != ("set" if int(how.split()[-1]) <= 200 else "E2BIG")} == {}


@pytest.mark.requires(*ROOT)
@pytest.mark.parametrize("storage", ["disk", "tmpfs"])
def test_what_a_file_in_memory_takes_beside_its_pages_is_small(storage: str) -> None:
    values: dict[str, Any] = {"limits": Limits(memory_bytes=256 * MIB), "mounts": (Mount(kind="tmpfs", target="/scratch"),)}
    places = ("/dev/shm", "/scratch", "/root")
    ran = run(spec("host", *WORDS, *places, storage=storage, **values))
    assert ran.outcome.status == 0, ran.err
    check(ran.out, *places)


@pytest.fixture(scope="module", params=["ranged", "single"])
def anybody(request: pytest.FixtureRequest) -> Iterator[Person]:
    """A user with subordinate ids, then one without."""
    with person(f"x{request.param[0]}", subordinate=request.param == "ranged") as who:
        yield who
        assert eventually(lambda: not who.processes())


@pytest.mark.requires(*ROOTLESS)
def test_without_root_as_well(anybody: Person) -> None:
    ran = anybody.run("run", "--rm", "--storage", "tmpfs", "host", *WORDS, "/dev/shm")
    assert ran.returncode == 0, ran.stderr
    check(ran.stdout, "/dev/shm")
