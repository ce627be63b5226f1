"""Trees into tars: a container's writable layer, a whole stack, and the list of what was changed."""

from __future__ import annotations

import gzip
import io
import os
import socket
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import zstandard

from cellhold.errors import ImageRefused
from cellhold.layer.bounds import Bounds
from cellhold.layer.pack import Packing, compare
from cellhold.layer.unpack import Unpacking
from cellhold.seccomp.cache import cached_program
from cellhold.store import ids, subids, tree
from tars import Tar, names, seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.layer.pack import Packed

pytestmark = pytest.mark.requires("root", "user-namespace", "mount-api", "overlayfs")

SOUND = (
    Tar()
    .directory(".", mode=0o711, mtime=3)
    .directory("d", mode=0o2750, uid=7, gid=8, mtime=1000)
    .add("d/f", b"content" * 999, mode=0o4755, uid=65535, mtime=5, pax={"SCHILY.xattr.user.a": "b"})
    .add("d/" + "long" * 40, b"x", mtime=-5)
    .add("d/ümlaut", b"y", mtime=2**34)
    .symlink("d/s", "/etc/" + "shadow" * 30, uid=3, gid=4, mtime=12)
    .link("e", "d/f")
    .add("p", type=tarfile.FIFOTYPE, mode=0o640, mtime=13)
    .add(".wh.gone")
    .add("o/.wh..wh..opq")
    .add("o/x", b"z")
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory on a disk."""
    path = Path(subprocess.check_output(["mktemp", "-d", "/var/tmp/chlayerXXXXXX"], text=True).strip())
    yield path
    tree.remove(path)


def unpack(into: Path, data: bytes | Tar, *parents: Path) -> Path:
    into.mkdir(mode=0o755)
    with Unpacking(into) as unpacking:
        unpacking.feed(data.content() if isinstance(data, Tar) else data)
        unpacking.finish(lambda: parents)
    return into


def pack(path: Path, **options: Any) -> tuple[bytes, Packed]:
    with Packing(path, **{"compression": "none", **options}) as packing:
        data = b"".join(packing)
    assert packing.packed is not None
    return data, packing.packed


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


def comparable(path: Path) -> dict[str, Any]:
    """What a tree is, but for the times of whiteouts, which have none, and of directories that no tar names."""
    return {name: entry._replace(mtime=0) if entry.kind == "c" else entry for name, entry in seen(path).items()}


def test_a_layer_packed_and_unpacked_again_is_the_same(place: Path) -> None:
    first = unpack(place / "first", SOUND)
    data, packed = pack(first)
    second = unpack(place / "second", data)
    assert comparable(first) == comparable(second)
    assert (second / "e").stat().st_ino == (second / "d/f").stat().st_ino
    assert packed.left_out == 0


def test_other_tools_read_it(place: Path) -> None:
    data, packed = pack(unpack(place / "layer", SOUND))
    found = members(data)
    assert len(found) == packed.entries
    assert found["d/f"].pax_headers == {"SCHILY.xattr.user.a": "b"}
    assert {name for name in found if ".wh." in name} == {".wh.gone", "o/.wh..wh..opq"}
    listed = subprocess.run(["tar", "tf", "-"], input=data, capture_output=True, check=True).stdout.decode().splitlines()
    assert len(listed) == packed.entries


def test_names_come_in_order_and_the_same_tree_gives_the_same_bytes(place: Path) -> None:
    first = unpack(place / "first", SOUND)
    data, _packed = pack(first)
    assert data == pack(unpack(place / "second", data))[0]
    plain = [name.replace("/.wh..wh..opq", "/").replace(".wh.", "") for name in members(data)]
    assert plain == sorted(plain, key=lambda name: name.replace("/", "\0").encode())


def test_times_later_than_the_limit_become_the_limit(place: Path) -> None:
    data, _packed = pack(unpack(place / "layer", SOUND), mtime_limit_seconds=500)
    assert {member.mtime for member in members(data).values()} <= {-5, 0, 3, 5, 12, 13, 500}


@pytest.mark.parametrize(("compression", "plain"), [("gzip", gzip.decompress), ("none", bytes)])
def test_the_account_has_both_digests_and_both_sizes(place: Path, compression: Literal["gzip", "none"], plain: Any) -> None:
    data, packed = pack(unpack(place / "layer", SOUND), compression=compression)
    tar = plain(data)
    assert (str(packed.digest), packed.compressed_bytes) == (f"sha256:{sha256(data).hexdigest()}", len(data))
    assert (str(packed.diff_id), packed.size_bytes) == (f"sha256:{sha256(tar).hexdigest()}", len(tar))


def test_zstd_is_made_as_well(place: Path) -> None:
    data, packed = pack(unpack(place / "layer", SOUND), compression="zstd")
    assert sha256(zstandard.ZstdDecompressor().decompressobj().decompress(data)).hexdigest() == packed.diff_id.encoded


def test_what_a_container_has_written_has_the_containers_ids(place: Path) -> None:
    base = ids.FIRST + 5 * ids.COUNT
    upper = place / "upper"
    upper.mkdir()
    for name, owner in (("root", base), ("user", base + 1000), ("hosts", 1234)):
        (upper / name).write_text(name)
        (upper / name).chmod(0o600)
        os.chown(upper / name, owner, owner)
    os.chown(upper, base, base)
    with pytest.raises(PermissionError):  # what belongs to nobody in there is not read with anybody's rights
        pack(upper, ids=subids.own(base))
    (upper / "hosts").unlink()
    found = members(pack(upper, ids=subids.own(base))[0])
    assert {name: member.uid for name, member in found.items()} == {".": 0, "root": 0, "user": 1000}


def test_what_hostile_containers_leave_is_packed_or_left_out(place: Path) -> None:
    (place / "a").symlink_to("/etc/shadow")
    (place / "b").symlink_to("/etc")
    os.mkfifo(place / "fifo")
    (place / ".wh.fake").write_text("not deleted")
    (place / "new\nline\x1b").write_text("x")
    Path(os.fsdecode(os.fsencode(place) + b"/\xff\xfe")).write_text("y")
    (place / "closed").mkdir(mode=0)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place / "socket"))
        data, packed = pack(place)
    found = members(data)
    assert {name for name in found if found[name].issym()} == {"a", "b"}
    assert set(found) == {".", "a", "b", "fifo", "new\nline\x1b", "\udcff\udcfe", "closed"}
    assert packed.left_out == 2


def test_a_tree_too_deep_is_refused(place: Path) -> None:
    (place / "/".join("d" * 30)).mkdir(parents=True)
    with pytest.raises(ImageRefused, match=r"cannot pack the tree: .* lies more than 20 directories deep"):
        pack(place, bounds=Bounds(depth=20))


def test_the_reader_works_under_the_filter_of_containers(place: Path) -> None:
    program = cached_program(frozenset(), Path(os.environ["CELLHOLD_HOME"]) / "seccomp")
    assert set(members(pack(unpack(place / "layer", Tar().add("f")), compression="gzip", seccomp=program)[0])) == {".", "f"}


def test_leaving_half_way_leaves_nothing_running(place: Path) -> None:
    (place / "big").write_bytes(os.urandom(8 << 20))
    with Packing(place) as packing:
        assert next(iter(packing))
        supervisor = packing._child._pid
    assert packing.packed is None
    assert not Path(f"/proc/{supervisor}").exists()


# ---------------------------------------------------------------------------------------------- with a real overlay

BASE = (
    Tar()
    .directory("same")
    .add("same/f")
    .directory("d")
    .add("d/kept")
    .add("d/changed")
    .add("d/gone")
    .add("o/a")
    .add("o/b")
    .add("gone/x")
    .add("f")
)
SCRIPT = (
    "rm -r gone d/gone; echo 1 >> d/changed; echo 2 > d/new; rm -r o; mkdir o; echo b > o/b; "
    "rm f; mkdir f; mkdir -p new/deep; : > same/t; rm same/t"
)


@pytest.fixture(params=["kernel", "fuse-overlayfs", "fuse-overlayfs on an overlay"])
def stack(place: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, Path]]:
    """(upper, lower) of an overlay in which a program has worked. On another overlay no device node marks what was deleted."""
    lower = unpack(place / "lower", BASE)
    for name in ("disk", "under", "over", "scratch", "merged"):
        (place / name).mkdir(mode=0o755)
    nested = request.param.endswith("an overlay")
    if nested:
        under = f"lowerdir={place}/under,upperdir={place}/over,workdir={place}/scratch"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", under, place / "disk"], check=True)
    try:
        upper, work = place / "disk/upper", place / "disk/work"
        upper.mkdir(mode=0o755)
        work.mkdir(mode=0o755)
        layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
        kernel = f"mount -t overlay overlay -o userxattr,{layers} {place}/merged"
        mount = kernel if request.param == "kernel" else f"fuse-overlayfs -o {layers} {place}/merged"
        work_in_it = f"{mount}; (cd {place}/merged; {SCRIPT}); cp -a {place}/merged {place}/expected; umount {place}/merged"
        subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", work_in_it], check=True)
        yield upper, lower
    finally:
        if nested:
            subprocess.run(["umount", place / "disk"], check=True)


def test_a_whole_stack_packed_is_what_the_container_saw(place: Path, stack: tuple[Path, Path]) -> None:
    upper, lower = stack
    exported = unpack(place / "exported", pack(upper, lowers=[lower])[0])
    assert names(exported) == names(place / "expected")
    assert {name: entry.content for name, entry in seen(exported).items()} == {
        name: entry.content for name, entry in seen(place / "expected").items()
    }


def test_a_layer_of_what_was_written_shows_the_same_over_the_same_layers(place: Path, stack: tuple[Path, Path]) -> None:
    upper, lower = stack
    committed = unpack(place / "committed", pack(upper)[0], lower)
    exported = unpack(place / "exported", pack(committed, lowers=[lower])[0])
    assert names(exported) == names(place / "expected")


def test_changes_are_those_of_docker_diff(stack: tuple[Path, Path]) -> None:
    upper, lower = stack
    found = [(change.kind, change.path) for change in compare(upper, [lower]).changes]
    assert sorted(found) == sorted(
        [
            ("C", "/d"),
            ("C", "/d/changed"),
            ("D", "/d/gone"),
            ("A", "/d/new"),
            ("C", "/f"),
            ("D", "/gone"),
            ("A", "/new"),
            ("A", "/new/deep"),
            ("C", "/o"),
            ("D", "/o/a"),
            ("C", "/o/b"),
            ("C", "/same"),
        ]
    )
    assert [path for _kind, path in found] == sorted(path for _kind, path in found)


def test_over_nothing_everything_is_added(place: Path) -> None:
    layer = unpack(place / "layer", Tar().add("d/f").add(".wh.gone"))
    assert [(change.kind, change.path) for change in compare(layer, []).changes] == [("A", "/d"), ("A", "/d/f")]
