"""The directories of the host that a policy lists: what is below them is opened without following a link, and that is what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold.errors import ImageNotFound, InvalidSpec, NotAllowed
from cellhold.spec.spec import Mount, Spec
from cellhold_kernel.gate.host_directories import hold
from cellhold_kernel.settings.policy import Policy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with one in it, beside one that is nobody's."""
    (tmp_path / "data/in").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    return tmp_path / "data"


def volume(source: object, kind: str = "bind", *, read_only: bool = True) -> Spec:
    return Spec(mounts=(Mount(kind=kind, source=str(source), target="/x", read_only=read_only),))


def inode(spec: Spec) -> int:
    (mount,) = spec.mounts
    assert mount.opened is not None
    return mount.opened.identity[1]


def test_what_lies_below_a_listed_directory_is_opened_and_so_is_that_itself(data: Path) -> None:
    for way in ("", ":ro", ":rw"):
        rules = Policy(volumes=(f"{data}{way}",))
        assert inode(hold(volume(data), rules)) == data.stat().st_ino
        assert inode(hold(volume(data / "in"), rules)) == (data / "in").stat().st_ino
        assert inode(hold(volume(data / "in", "overlay", read_only=False), rules)) == (data / "in").stat().st_ino


def test_no_link_below_it_is_followed(data: Path) -> None:
    rules = Policy(volumes=(f"{data}:rw",))
    (data / "up").symlink_to("../secret")
    (data / "root").symlink_to("/")
    for path in ("up", "root", "root/etc"):
        with pytest.raises(NotAllowed, match=f"cannot use volume={data / path}:/x:ro: "):
            hold(volume(data / path), rules)


def test_a_link_that_is_swapped_in_after_the_check_of_the_name_is_not_followed(data: Path) -> None:
    rules = Policy(volumes=(f"{data}:rw",))
    (mount,) = volume(data / "in").mounts
    assert rules.names_volume(mount)
    (data / "in").rmdir()
    (data / "in").symlink_to("/etc")
    with pytest.raises(NotAllowed):
        hold(volume(data / "in"), rules)


def test_the_directory_itself_is_what_the_administrator_wrote_links_and_all(data: Path, tmp_path: Path) -> None:
    (tmp_path / "listed").symlink_to(data)
    for rules in (Policy(volumes=(str(tmp_path / "listed"),)), Policy(volumes=(str(data),))):
        for path in (data / "in", tmp_path / "listed/in"):
            assert inode(hold(volume(path), rules)) == (data / "in").stat().st_ino


@pytest.mark.parametrize("path", ["../secret", "../data2", "..", "in/../../secret"])
def test_what_lies_beside_it_is_above_the_ceiling(path: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "data2").mkdir()
    with pytest.raises(NotAllowed, match="above the ceiling volumes"):
        hold(volume(data / path), Policy(volumes=(str(data),)))


def test_it_is_written_to_only_where_the_list_says_so(data: Path) -> None:
    rules = Policy(volumes=(f"{data}:ro", f"{data / 'in'}:rw"))
    assert hold(volume(data / "in", read_only=False), rules)
    with pytest.raises(NotAllowed, match="above the ceiling volumes"):
        hold(volume(data, read_only=False), rules)


def test_what_is_not_there_is_told(data: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"cannot use volume=.*gone:/x:ro: No such file or directory"):
        hold(volume(data / "gone"), Policy(volumes=(str(data),)))
    with pytest.raises(InvalidSpec, match=r"cannot bind .*gone to /x: no such file or directory on the host"):
        hold(volume(data / "gone"), Policy())


def test_without_a_list_a_kernelspecs_directory_is_what_its_name_leads_to(data: Path) -> None:
    (data / "link").symlink_to("in")
    assert inode(hold(volume(data / "link"), Policy())) == (data / "in").stat().st_ino


def test_an_image_is_opened_below_the_fixed_part_of_its_pattern(data: Path, tmp_path: Path) -> None:
    (data / "out").symlink_to(tmp_path / "secret")
    for pattern in (f"{data}/*", f"{data}/i[n]", f"{data}/in", f"{tmp_path}/d*/in", "/*", "*"):
        held = hold(Spec(image=str(data / "in")), Policy(images=("host", pattern))).rootfs
        assert held is not None
        assert held.identity[1] == (data / "in").stat().st_ino
    with pytest.raises(NotAllowed):
        hold(Spec(image=str(data / "out")), Policy(images=(f"{data}/*",)))
    for path in (data / "../secret", data / "in/../in", tmp_path / "secret"):
        with pytest.raises(NotAllowed, match="above the ceiling images"):
            hold(Spec(image=str(path)), Policy(images=(f"{data}/*",)))


def test_an_image_that_is_no_directory_needs_nothing_opened(data: Path) -> None:
    for name in ("host", "python:3.12"):
        assert hold(Spec(image=name), Policy(images=("host", "docker.io/library/python:3.12"))).rootfs is None
    with pytest.raises(ImageNotFound, match="no such directory"):
        hold(Spec(image=str(data / "gone")), Policy())


def test_what_has_been_opened_already_is_left_alone(data: Path) -> None:
    first = hold(volume(data / "in"), Policy())
    (data / "in").rename(data / "elsewhere")
    assert inode(hold(first, Policy(volumes=("/srv",)))) == (data / "elsewhere").stat().st_ino
