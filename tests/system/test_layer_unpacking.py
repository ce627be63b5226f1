"""Layers that nobody trusts, unpacked: what becomes of them on disk, and what is refused in one sentence."""

from __future__ import annotations

import gzip
import os
import subprocess
import tarfile
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
import zstandard

from cellhold.layer.unpack import Unpacking
from tars import END, Tar, names, record, seen
from unpacking import refused, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


pytestmark = pytest.mark.requires("root", "user-namespace", "mount-api", "overlayfs")


# ------------------------------------------------------------------------------------------------------------ what it comes to


def test_files_have_the_owners_modes_times_and_attributes_of_the_tar(layer: Path) -> None:
    tar = Tar().directory("d", mode=0o2750, uid=7, gid=8, mtime=1000.25)
    tar.add("d/f", b"content", mode=0o4755, uid=65535, gid=65535, mtime=-5, pax={"SCHILY.xattr.user.a": "b"})
    tar.symlink("d/s", "/etc/shadow", uid=3, gid=4, mtime=12).add("d/p", type=tarfile.FIFOTYPE, mode=0o640, mtime=13)
    unpack(layer, tar)
    found = seen(layer)
    assert found["d"][:5] == ("d", 0o2750, 7, 8, 1000.25)
    assert found["d/f"] == ("-", 0o4755, 65535, 65535, -5.0, b"content", {"user.a": b"b"})
    assert found["d/s"][:6] == ("l", 0o777, 3, 4, 12.0, "/etc/shadow")
    assert found["d/p"][:5] == ("p", 0o640, 0, 0, 13.0)


def test_the_account_of_it_has_the_digest_of_the_tar_and_counts(layer: Path) -> None:
    tar = Tar().add("f", b"x").add(".wh.gone").add("d/.wh..wh..opq").add("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
    done = unpack(layer, tar.gzip())
    assert str(done.diff_id) == f"sha256:{sha256(tar.content()).hexdigest()}"
    assert (done.compression, done.size_bytes, done.entries) == ("gzip", len(tar.content()), 4)
    assert (done.whiteouts, done.opaques, done.devices_left_out, done.owners_changed) == (1, 1, 1, 0)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress], ids=["none", "gzip", "zstd"])
def test_every_compression_split_anywhere_gives_the_same(layer: Path, compress: Callable[[bytes], bytes]) -> None:
    data = compress(Tar().add("f", bytes(range(256)) * 40).content())
    layer.mkdir()
    with Unpacking(layer) as unpacking:
        for start in range(0, len(data), 97):
            unpacking.feed(data[start : start + 97])
        unpacking.finish()
    assert seen(layer)["f"].content == bytes(range(256)) * 40


def test_gzip_of_several_members_and_zstd_of_several_frames_are_one_stream(layer: Path) -> None:
    data = Tar().add("f", b"x" * 5000).content()
    unpack(layer, gzip.compress(data[:700]) + gzip.compress(data[700:]))
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    unpack(layer.with_name("other"), skippable + zstandard.compress(data[:700]) + skippable + zstandard.compress(data[700:]))
    assert seen(layer)["f"] == seen(layer.with_name("other"))["f"]


def test_nothing_at_all_and_a_tar_without_entries_are_empty_layers(layer: Path) -> None:
    assert unpack(layer, b"").size_bytes == 0
    assert unpack(layer.with_name("other"), END).entries == 0
    assert names(layer) == names(layer.with_name("other")) == set()


def test_it_is_a_layer_of_an_overlay_that_hides_what_it_says(layer: Path, tmp_path: Path) -> None:
    base, top = layer, layer.with_name("top")
    unpack(base, Tar().add("gone", b"1").add("opaque/a").add("again/a").add("kept/a").add("first/a"))
    marks = Tar().add(".wh.gone").add("opaque/.wh..wh..opq").add("opaque/b").add(".wh.again").add("again/b").add("first/b").add(".wh.first")
    unpack(top, marks, lambda: [base])
    script = f"mount -t overlay overlay -o userxattr,lowerdir={top}:{base} {tmp_path} && cd {tmp_path} && find . -mindepth 1"
    shown = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert set(shown.split()) == {"./opaque", "./opaque/b", "./again", "./again/b", "./kept", "./kept/a", "./first", "./first/b"}


def test_an_opaque_root_hides_every_name_of_the_layers_below(layer: Path) -> None:
    top = layer.with_name("top")
    unpack(layer, Tar().add("a/x").add("b/x").add("c"))
    unpack(top, Tar().add(".wh..wh..opq").add("b/y"), lambda: [layer])
    found = seen(top)
    assert {name: found[name].content for name in ("a", "c")} == {"a": "device 0:0", "c": "device 0:0"}
    assert found["b"].xattrs == {"user.overlay.opaque": b"y"}


# ------------------------------------------------------------------------------------------------------ the layers below


def test_a_hard_link_to_a_file_of_a_lower_layer_copies_it_up(layer: Path) -> None:
    top = layer.with_name("top")
    tar = Tar().symlink("lib", "usr/lib").add("usr/lib/f", b"body", mode=0o640, uid=5, mtime=50, pax={"SCHILY.xattr.user.a": "b"})
    unpack(layer, tar)
    unpack(top, Tar().directory(".").link("g", "lib/f"), lambda: [layer])
    found = seen(top)
    assert found["g"] == found["usr/lib/f"] == ("-", 0o640, 5, 0, 50.0, b"body", {"user.a": b"b"})
    assert (top / "g").stat().st_ino == (top / "usr/lib/f").stat().st_ino
    assert "lib" not in found


def test_directories_that_the_tar_only_implies_look_as_they_do_below(layer: Path) -> None:
    top = layer.with_name("top")
    unpack(layer, Tar().directory(".", mode=0o700, mtime=9).directory("d", mode=0o1777, uid=4, gid=5, mtime=77).add("d/x"))
    unpack(top, Tar().add("d/new/f"), lambda: [layer])
    found = seen(top)
    assert found["."][1:5] == (0o700, 0, 0, 9.0)
    assert found["d"][1:5] == (0o1777, 4, 5, 77.0)
    assert found["d/new"][1:5] == (0o755, 0, 0, 0.0)


def test_the_layers_below_are_not_asked_for_when_nobody_needs_them(layer: Path) -> None:
    def asked() -> Sequence[Path]:
        raise AssertionError

    unpack(layer, Tar().directory(".").add("f"), asked)


# ------------------------------------------------------------------------------------------------------------ hostile names


@pytest.mark.parametrize("name", ["../f", "a/../../f", "..", "/../f", "a/b/../../../f"])
def test_a_name_that_leads_out_is_refused(layer: Path, name: str) -> None:
    assert "leads out of the layer" in refused(layer, Tar().add(name, b"x"))
    assert sorted(os.listdir(layer.parent)) == ["tree"]


@pytest.mark.parametrize("target", ["../../etc/passwd", "a/../../f", "/../f"])
def test_a_hard_link_out_is_refused(layer: Path, target: str) -> None:
    assert "leads out of the layer" in refused(layer, Tar().link("f", target))


def test_a_hard_link_to_an_absolute_name_is_one_within_the_layer(layer: Path) -> None:
    assert "not in it or in the layers below" in refused(layer, Tar().link("f", "/etc/passwd"))
    unpack(layer.with_name("other"), Tar().add("etc/passwd", b"ours").link("f", "/etc/passwd"))
    assert seen(layer.with_name("other"))["f"].content == b"ours"


def test_an_absolute_name_begins_at_the_root_of_the_layer(layer: Path) -> None:
    unpack(layer, Tar().raw(b"/etc/f", b"x").raw(b"//./a//./b", b"y"))
    assert names(layer) == {"etc", "etc/f", "a", "a/b"}


@pytest.mark.parametrize(
    ("target", "lands"), [("/etc", "etc/f"), ("/../../etc", "etc/f"), ("nowhere/deep", "nowhere/deep/f"), ("../../..", "f"), ("b", "b/f")]
)
def test_an_entry_below_a_link_lands_where_the_link_leads_within_the_layer(layer: Path, target: str, lands: str) -> None:
    before = os.listdir("/etc")
    unpack(layer, Tar().symlink("a", target).add("a/f", b"x"))
    assert seen(layer)[lands].content == b"x"
    assert seen(layer)["a"].content == target
    assert os.listdir("/etc") == before


def test_links_in_a_circle_are_refused_as_parents(layer: Path) -> None:
    assert "lead to one another" in refused(layer, Tar().symlink("a", "b").symlink("b", "a").add("a/f"))


def test_a_file_over_a_link_replaces_the_link_and_not_what_it_points_to(layer: Path) -> None:
    victim = layer.parent / "victim"
    victim.write_text("safe")
    unpack(layer, Tar().symlink("a", str(victim)).add("a", b"evil").symlink("b", "a").link("c", "b"))
    assert victim.read_text() == "safe"
    assert seen(layer)["a"].content == b"evil"
    assert seen(layer)["c"].content == "a"  # a hard link to a link is one more name of the link itself


def test_the_last_entry_of_a_name_counts_whatever_it_is(layer: Path) -> None:
    tar = Tar().add("x/deep/f").add("x", b"file").add("y", b"file").add("y/f").add("z", b"1").add("z", b"2")
    unpack(layer, tar.add("w/f").symlink("w", "z").directory("v", mode=0o700).add("v/f").directory("v", mode=0o711))
    found = seen(layer)
    assert found["x"].content == b"file"
    assert found["z"].content == b"2"
    assert found["w"].content == "z"
    assert (found["y/f"].kind, found["v/f"].kind, found["v"].mode) == ("-", "-", 0o711)


def test_the_root_may_be_named_and_be_nothing_but_a_directory(layer: Path) -> None:
    unpack(layer, Tar().directory("./", mode=0o750, uid=3, mtime=5))
    assert seen(layer)["."][:5] == ("d", 0o750, 3, 0, 5.0)
    for number, tar in enumerate((Tar().add("."), Tar().symlink("/", "/etc"), Tar().raw(b"", b"x"))):
        assert "root is not a directory" in refused(layer.with_name(str(number)), tar)


@pytest.mark.parametrize(
    ("tar", "sentence"),
    [
        (Tar().directory("d").link("f", "d"), "hard link to a directory"),
        (Tar().link("f", "f"), "hard link to itself"),
        (Tar().add("d/f").symlink("e", "d").link("e/f", "d/f"), "hard link to itself"),
        (Tar().add("x" * 256), "255 are allowed"),
        (Tar().add("/".join(["x" * 200] * 30)), "4096 are allowed"),
        (Tar().add("/".join("d" * 300)), "255 are allowed"),
        (Tar().symlink("s", ""), "cannot be made"),
        (Tar().symlink("s", "x" * 5000), "what no path can be"),
        (Tar().records(record(b"path", b"a\0b")).raw(), "NUL"),
        (Tar().add("f", uid=65536), "'f' belongs to 65536:0"),
        (Tar().add("f", gid=1 << 31), "'f' belongs to 0:2147483648"),
        (Tar().records(record(b"uid", b"-1")).raw(), "belongs to -1:0"),
        (Tar().records(record(b"uid", b"+1")).raw(), "is not a number"),
        (Tar().records(record(b"uid", b"1_0")).raw(), "is not a number"),
        (Tar().records(record(b"size", b"-1")).raw(), "has -1 bytes"),
        (Tar().records(record(b"size", b"9999999999999999999")).raw(), "bytes"),
        (Tar().raw(size=b"\xff" * 12), "has -1 bytes"),
        (Tar().raw(size=b"\x80" + b"\x7f" * 11), "bytes"),
        (Tar().raw(kind=b"Z"), "kind that no tool knows"),
        (Tar().raw(mode=b"0000_44\0"), "mode is not a number"),
        (Tar().raw(checksum=b"000001\0 "), "checksum is wrong"),
        (Tar().records(b"99 path=x\n"), "malformed"),
        (Tar().records(b"10 path=ab\n"), "malformed"),
        (Tar().records(b"0 path=ab\n"), "malformed"),
        (Tar().records(b"path"), "malformed"),
        (Tar().raw(b"long", b"x", kind=b"L", size=b"\x80" + b"\0" * 6 + b"\x01\0\0\0\0"), "are allowed"),
        (Tar().add(".wh."), "whiteout of nothing"),
        (Tar().add("d/.wh.."), "whiteout of nothing"),
        (Tar().add(".wh..."), "whiteout of nothing"),
        (Tar().add(".wh.d/f"), "lies in a whiteout"),
        (Tar().link("f", "nothing"), "not in it or in the layers below"),
    ],
)
def test_what_no_sane_tool_writes_is_refused_in_one_sentence(layer: Path, tar: Tar, sentence: str) -> None:
    said = refused(layer, tar)
    assert sentence in said
    assert said.startswith("cannot unpack the layer: ")
    assert said.isprintable()
    assert len(said) < 500


def test_a_name_that_moves_the_cursor_does_not_reach_the_sentence(layer: Path) -> None:
    assert refused(layer, Tar().add("../\x1b[2J\n\r" + "x" * 90)).isprintable()


def test_aufs_leavings_are_skipped_and_a_whiteout_of_a_whiteout_is_one_of_its_name(layer: Path) -> None:
    unpack(layer, Tar().add(".wh..wh.plnk/1.2").add(".wh..wh.aufs").add("a/.wh..wh.orph/x").add("f").add(".wh..whx"))
    assert {name: entry.kind for name, entry in seen(layer).items()} == {".": "d", "f": "-", ".whx": "c"}


def test_devices_are_left_out_and_a_device_that_is_a_whiteout_in_disguise_too(layer: Path) -> None:
    tar = Tar().add("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3).add("sda", type=tarfile.BLKTYPE, devmajor=8)
    done = unpack(layer, tar.add("etc", type=tarfile.CHRTYPE))
    assert done.devices_left_out == 3
    assert names(layer) == set()


def test_marks_of_overlayfs_and_labels_of_another_system_are_dropped(layer: Path) -> None:
    hostile = ("user.overlay.opaque", "user.overlay.redirect", "trusted.overlay.opaque", "security.selinux", "security.ima", "system.x")
    kept = {"user.fine": "yes"}
    done = unpack(layer, Tar().directory("d", pax={f"SCHILY.xattr.{name}": "y" for name in hostile} | {"SCHILY.xattr.user.fine": "yes"}))
    assert {name: value.decode() for name, value in seen(layer)["d"].xattrs.items()} == kept
    assert done.xattrs_left_out == len(hostile)


def test_file_capabilities_are_kept_as_the_container_will_see_them(layer: Path) -> None:
    net_bind = b"\x01\0\0\x02\0\x04" + bytes(14)  # cap_net_bind_service=ep, revision 2
    unpack(layer, Tar().records(record(b"SCHILY.xattr.security.capability", net_bind)).raw(b"f", b"x"))
    found = seen(layer)["f"].xattrs["security.capability"]
    assert found[4:20] == net_bind[4:]
    assert found[3] == 2 or found[20:24] == bytes(4)  # revision 3 says whose root: 0 on disk, as the container's root is


def test_access_lists_are_kept(layer: Path) -> None:
    entries = ((1, 7, 0xFFFFFFFF), (2, 5, 1000), (4, 5, 0xFFFFFFFF), (0x10, 5, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF))
    acl = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + owner.to_bytes(4, "little") for tag, bits, owner in entries
    )
    unpack(layer, Tar().records(record(b"SCHILY.xattr.system.posix_acl_access", acl)).raw(b"f", b"x"))
    assert seen(layer)["f"].xattrs == {"system.posix_acl_access": acl}


def test_a_default_access_list_and_a_set_group_id_bit_change_nothing_below(layer: Path) -> None:
    entries = ((1, 7), (4, 5), (0x20, 0))
    acl = (2).to_bytes(4, "little") + b"".join(t.to_bytes(2, "little") + b.to_bytes(2, "little") + b"\xff" * 4 for t, b in entries)
    tar = Tar().records(record(b"SCHILY.xattr.system.posix_acl_default", acl)).raw(b"d", kind=b"5", mode=b"0002755\0", gid=b"0000012\0")
    unpack(layer, tar.add("d/f", b"x", mode=0o666).directory("d/e"))
    found = seen(layer)
    assert (found["d"].mode, found["d"].xattrs) == (0o2755, {"system.posix_acl_default": acl})
    assert found["d/f"][1:4] == (0o666, 0, 0)
    assert (found["d/e"].mode, found["d/e"].xattrs) == (0o755, {})


@pytest.mark.parametrize(("mtime", "there"), [(b"\xff" * 12, True), (b"\x80" + b"\x7f" * 11, True), (b"77777777777\0", True)])
def test_times_that_no_clock_shows_are_no_harm(layer: Path, mtime: bytes, *, there: bool) -> None:
    unpack(layer, Tar().raw(mtime=mtime))
    assert (layer / "f").exists() is there
