"""The same Dockerfiles by us and by `buildah bud --layers`: the same files, the same config, the same cache; where not, it says why.

`pytest -s` prints the table.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import builds
from cellhold.image.pulling import pull
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cellhold.store.home import Home
    from images import Image
    from peers import Peers
    from registry import Registry

pytestmark = [
    pytest.mark.peers,
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp"),
    pytest.mark.timeout(1200),
]

NAMES = sorted(path.name for path in builds.DOCKERFILES.iterdir() if path.is_dir() and path.name != "heredocs")  # buildah 1.28 has none
ARGUMENTS = {"variables": {"GIVEN": "given"}}
TARGETS = {"stages": "target"}


@dataclass(frozen=True)
class Difference:
    """One that is meant. where: a regular expression for "files PATH" or "config NAME"; why: what the table says."""

    where: str
    why: str


ALWAYS = (
    Difference(
        r"files (etc/(hosts|resolv\.conf|hostname)|run|proc|sys|dev)", "mount points that buildah 1.28 leaves behind (buildah#4242)"
    ),
    Difference(r"config (Hostname|Labels)", "buildah names itself and a container of its own"),
)
NEW = "a directory that is made gets the source's mode, as in BuildKit; buildah makes it 0755"
SET_ID = "set-user-id and set-group-id bits of the context are kept, as in BuildKit; buildah takes them away"
MEANT: dict[str, tuple[Difference, ...]] = {
    "copying": (Difference(r"files (new|merged)", NEW), Difference(r"files .*/inner", SET_ID)),
    "scratch": (Difference(r"config WorkingDir", "FROM scratch begins in /, as in BuildKit; buildah says nothing"),),
    "settings": (Difference(r"config ExposedPorts", "a range of ports is each of them, as docker has it; buildah keeps the range"),),
    "ignoring": (
        Difference(r"files .*/deep", "a directory above what a ! pattern takes back keeps its mode, as in BuildKit; buildah makes it 0755"),
    ),
    "links": (
        Difference(
            r"files (to-stays|data/stays)", "a destination that is a link to a file is followed, as BuildKit does; buildah replaces it"
        ),
    ),
    "rootfs": (
        Difference(
            r"files (sbin|var/run|usr/bin|run)(/program|/pid)?",
            "a directory copied onto a link to one goes where that leads, /sbin stays a link; BuildKit refuses, buildah destroys the link",
        ),
    ),
    "archives": (Difference(r"files owned(/.*)?", "--chown is for what an archive holds as well, as in BuildKit; buildah leaves it be"),),
    "modes": (Difference(r"files .*/(set[ug]id|group)", SET_ID),),
    "owners": (Difference(r"files mode", "--chmod is for the directory that is made as well, as in BuildKit"),),
}
_rows: list[str] = []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A store of this test's own."""
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "store"))
    return open_home()


@pytest.fixture
def base(busybox_image: Image, registry: Registry, peers: Peers, home: Home) -> str:
    """The image that all are built on."""
    reference = peers.push(busybox_image, registry.reference("busybox:1"))
    pull(reference, home=home)
    return reference


@pytest.fixture(scope="module", autouse=True)
def _table() -> Iterator[None]:
    yield
    print(f"\n\n{'Dockerfile':<12} {'steps':>5} {'files':>5}  {'nothing changed':<16} differences from buildah, and why")  # noqa: T201  # for -s
    print("\n".join(_rows))  # noqa: T201


@pytest.mark.parametrize("name", NAMES)
def test_a_dockerfile_gives_the_files_and_the_config_that_buildah_gives(  # noqa: PLR0913, PLR0917  # the fixtures
    name: str, base: str, home: Home, registry: Registry, peers: Peers, tmp_path: Path
) -> None:
    context = builds.prepare(name, tmp_path / name, base)
    args = ({} if name == "scratch" else {"BASE": base}) | ARGUMENTS.get(name, {})
    target = TARGETS.get(name)
    ours = builds.ours(context, home, args, target=target)
    theirs = builds.theirs(context, home, args, peers, registry.reference(f"built/{name}:1"), target=target)
    found = {f"files {path}": both for path, both in differing(builds.tree(ours.image, home), builds.tree(theirs.image, home)).items()}
    found |= {f"config {key}": both for key, both in differing(ours.settings, theirs.settings).items()}
    meant = MEANT.get(name, ())
    why = {where: next((one for one in (*meant, *ALWAYS) if re.fullmatch(one.where, where)), None) for where in found}
    assert {where: found[where] for where, reason in why.items() if reason is None} == {}
    assert set(meant) <= set(why.values()), "a difference that is meant is none any more"
    again = builds.ours(context, home, args, target=target)
    assert again.image.id == ours.image.id
    assert all(again.cached)
    assert not any(ours.cached) or name in {"stages", "rootfs"}
    said = "; ".join(one.why for one in meant) or "none"
    _rows.append(f"{name:<12} {len(ours.steps):>5} {len(builds.tree(ours.image, home)):>5}  {'same id, cached':<16} {said}")


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is not the same in both."""
    return {name: (ours.get(name), theirs.get(name)) for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)}


CACHING = """\
ARG BASE
FROM $BASE
COPY file /file
RUN echo one > /one
COPY directory /directory
ENV A=1
RUN echo "$A" > /two
"""


def _touch(context: Path) -> None:
    os.utime(context / "file", (1, 1))
    os.utime(context / "directory", (1, 1))


def _byte(context: Path) -> None:
    facts = (context / "directory/inside").stat()
    (context / "directory/inside").write_text("INSIDE\n")
    os.utime(context / "directory/inside", ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _replace(old: str, new: str) -> Callable[[Path], None]:
    def change(context: Path) -> None:
        path = context / "Dockerfile"
        path.write_text(path.read_text().replace(old, new))

    return change


CHANGES: dict[str, tuple[Callable[[Path], object], list[bool]]] = {
    "nothing": (lambda _context: None, [True, True, True, True]),
    "touch": (_touch, [True, True, True, True]),
    "a byte": (_byte, [True, True, False, False]),
    "a mode": (lambda context: (context / "file").chmod(0o755), [False, False, False, False]),
    "an ENV": (_replace("A=1", "A=2"), [True, True, True, False]),
    "another file": (lambda context: (context / "not-copied").write_text("x"), [True, True, True, True]),
    "a RUN": (_replace("one > /one", "two > /one"), [True, False, False, False]),
}


def test_the_cache_is_kept_and_left_where_buildah_keeps_and_leaves_it(base: str, home: Home, peers: Peers, tmp_path: Path) -> None:
    context = tmp_path / "caching"
    (context / "directory").mkdir(parents=True)
    (context / "file").write_text("file\n")
    (context / "directory/inside").write_text("inside\n")
    (context / "Dockerfile").write_text(CACHING)
    args = {"BASE": base}
    assert builds.ours(context, home, args).cached == builds.rebuilt_by_them(context, args, peers) == [False] * 4
    rows = {}
    for change, (make, wanted) in CHANGES.items():
        make(context)
        ours, theirs = builds.ours(context, home, args).cached, builds.rebuilt_by_them(context, args, peers)
        rows[change] = (ours, theirs)
        _rows.append(f"cache after {change:<14} ours {told(ours)}  buildah {told(theirs)}")
        assert ours == wanted, change
    assert {change: both for change, both in rows.items() if both[0] != both[1]} == {}


def told(cached: list[bool]) -> str:
    """C for a step from the cache, - for one that was made."""
    return "".join("C" if one else "-" for one in cached)
