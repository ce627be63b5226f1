"""Whoever is given CAP_SYS_ADMIN inside may mount; what covers /proc and /sys stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from boxes import command, eventually
from cellhold.rootfs.plan import MASKED, READ_ONLY
from people import furnish, person, shell

if TYPE_CHECKING:
    from pathlib import Path

ROOT = ("root", "user-namespace", "overlayfs", "mount-api", "seccomp")
ROOTLESS = ("root", "rootless", "subordinate-ids", "user-namespace", "overlayfs", "mount-api", "seccomp")  # root: to make the users

UNMOUNT = """
for path in MASKED READ_ONLY /proc /sys; do
    before=$(stat -c %d:%i $path 2>/dev/null)
    umount $path 2>/dev/null && echo unmounted $path
    umount -l $path 2>/dev/null && echo let go of $path
    case " READ_ONLY /sys " in *" $path "*) mount -o remount,rw,bind $path 2>/dev/null && echo writable $path ;; esac
    [ "$before" = "$(stat -c %d:%i $path 2>/dev/null)" ] || echo another $path
done
mkdir /x
mount -t proc proc /x 2>/dev/null && echo another proc
mount -t sysfs sys /x 2>/dev/null && echo another sysfs
unshare -p -f mount -t proc proc /x 2>/dev/null && echo proc of a new namespace
unshare -U -r -m -p -f mount -t proc proc /x 2>/dev/null && echo proc in a lesser one
unshare -m umount /proc/kcore 2>/dev/null && echo unmounted in a new namespace
unshare -m mount -o remount,rw,bind /proc/sys 2>/dev/null && echo writable in a new namespace
mount --bind /proc /x 2>/dev/null && echo looked under
mount --move /proc /x 2>/dev/null && echo moved
nsenter --mount=/proc/1/ns/mnt true 2>/dev/null && umount /proc/kcore 2>/dev/null && echo entered
(echo 1 > /proc/sys/kernel/printk) 2>/dev/null && echo wrote to /proc/sys
mount -t tmpfs none /x && mkdir /x/a && umount /x && echo may mount
"""


def filled() -> str:
    """The script with all paths."""
    return UNMOUNT.replace("MASKED", " ".join(MASKED)).replace("READ_ONLY", " ".join(READ_ONLY))


@pytest.mark.requires(*ROOT)
def test_nothing_that_covers_proc_and_sys_can_be_taken_away(busybox_root: Path) -> None:
    script = filled()
    ran = command("run", "--rm", "--cap-add", "SYS_ADMIN", "--rootfs", str(busybox_root), "busybox", "sh", "-c", script)
    assert ran.stdout == "may mount\n", ran.stderr
    try:
        command("run", "-d", "--name", "admin", "--cap-add", "SYS_ADMIN", "--rootfs", str(busybox_root), "busybox", "sleep", "1000")
        ran = command("exec", "admin", "busybox", "sh", "-c", script)  # who comes later is behind the same walls
        assert ran.stdout == "may mount\n", ran.stderr
    finally:
        command("rm", "-f", "admin")


@pytest.mark.requires(*ROOTLESS)
@pytest.mark.parametrize("subordinate", [True, False])
def test_nor_without_root(busybox_root: Path, *, subordinate: bool) -> None:
    with person("covers", subordinate=subordinate) as who:
        furnish(who, busybox_root)
        ran = shell(who, f"busybox sh -c '{filled()}'", "--cap-add", "SYS_ADMIN")
        assert ran.stdout == "may mount\n", ran.stderr
        assert eventually(lambda: not who.processes())
