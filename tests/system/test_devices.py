"""Devices of the host in a container: as docker's --device, and no others."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from boxes import command, run
from cellhold.container.container import Container
from cellhold.errors import InvalidSpec
from cellhold.spec.spec import Device, Spec

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")

TUN = "/dev/net/tun"
_OPEN = f"import os; os.close(os.open({TUN!r}, os.O_RDWR)); print('opened')"


def test_a_device_is_the_containers_root_s_to_use() -> None:
    spec = Spec(args=("python3", "-c", _OPEN), devices=(Device(source=TUN, target=TUN),))
    assert run(spec).out == "opened\n"
    assert "FileNotFoundError" in run(Spec(args=("python3", "-c", _OPEN))).err


def test_it_has_another_name_and_less_access_where_that_was_asked_for() -> None:
    code = "import os; os.open('/dev/mine', os.O_RDONLY); os.open('/dev/mine', os.O_RDWR)"
    ran = run(Spec(args=("python3", "-c", code), devices=(Device(source=TUN, target="/dev/mine", access="r"),)))
    assert "PermissionError: [Errno 1] Operation not permitted: '/dev/mine'" in ran.err  # of the second


def test_the_others_are_there_and_can_be_used_and_nothing_can_be_added() -> None:
    script = "echo x > /dev/null && head -c1 /dev/urandom | wc -c && ls -l /dev/net/tun && ! touch /dev/more"
    ran = run(Spec(args=("sh", "-c", script), devices=(Device(source=TUN, target=TUN),)))
    known = os.stat(TUN)
    assert ran.out.startswith(f"1\n{stat.filemode(known.st_mode)} 1 root root {os.major(known.st_rdev)}, ")
    assert "Read-only file system" in ran.err


def test_the_command_takes_docker_s_flag(tmp_path: Path) -> None:
    assert command("run", "--rm", "--device", f"{TUN}:/dev/t:rw", "host", "ls", "/dev/t").stdout == "/dev/t\n"
    made = command("create", "--name", "kept", "--device", TUN, "host", "ls", TUN)
    assert made.returncode == 0, made.stderr
    assert command("start", "-a", "kept").stdout == f"{TUN}\n"
    assert command("rm", "kept").returncode == 0
    for wrong, told in (
        ("/dev/nosuch", "No such file or directory"),
        (str(tmp_path), "a device must be below /dev"),
        ("/dev/null:/dev/x:q", "not of r, w and m"),
        ("/dev/null:/dev/../etc/x", "a device must be below /dev"),
        ("null", "not DEVICE[:PATH][:rwm]"),
        (f"{tmp_path}:/dev/x", "not a device node"),
    ):
        refused = command("run", "--rm", "--device", wrong, "host", "true")
        assert (refused.returncode, told in refused.stderr) == (125, True), refused.stderr


def test_what_is_no_device_leaves_nothing() -> None:
    with pytest.raises(InvalidSpec, match="not a device node"):
        Container.create(Spec(args=("true",), devices=(Device(source="/etc/passwd", target="/dev/passwd"),)))


def test_labels_of_selinux_are_told_to_do_nothing(tmp_path: Path) -> None:
    ran = command("run", "--rm", "-v", f"{tmp_path}:/data:ro,z", "host", "true")
    assert (ran.returncode, "note: volume options z and Z do nothing here" in ran.stderr) == (0, True)
