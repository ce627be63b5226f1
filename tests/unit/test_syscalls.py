"""The system calls of a plan, as strace(1) would print them: what the plan says, no more and no less."""

from __future__ import annotations

from pathlib import Path

from cellhold.container.syscalls import list_syscalls
from cellhold.image.model import Image, Stack
from cellhold.init.steps import LAUNCHER_STEPS, PID1_STEPS
from cellhold.rootfs.plan import MASKED, plan
from cellhold.rootfs.sources import open_sources
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Mount, Spec
from cellhold.store.subids import own

IMAGE = Image(name="x", stacks=(Stack(target="/", layers=(Path("/top"), Path("/base"))),))


def listed(*, overlay_program: str | None = None) -> dict[str, tuple[str, ...]]:
    spec = Spec(
        args=("sleep", "9"),
        cwd="/data",
        limits=Limits(rlimits={"nofile": (64, 64)}),
        mounts=(Mount(kind="bind", source="/usr", target="/data", read_only=True, hidden=(".x",)),),
    )
    made = plan(
        open_sources(spec), IMAGE, hostname="box", init_layer=Path("/i"), ids=own(1 << 30), views=(), seccomp=b"12345678" * 7,
        rlimits=((7, 64, 64),), overlay_program=overlay_program,
    )  # fmt: skip
    return list_syscalls(made)


def test_every_step_of_launcher_and_pid_1_has_its_calls() -> None:
    names = [step.name for step in PID1_STEPS]
    assert list(listed()) == ["launch.clone", "launch.map-ids", "launch.trees", *names, "program.exec"]
    assert [step.name for step in LAUNCHER_STEPS] == ["launch.clone", "launch.map-ids", "launch.trees"]


def test_they_are_what_the_plan_says() -> None:
    made = listed()
    assert made["launch.clone"][0].startswith("clone3({flags=CLONE_NEW")
    assert made["launch.map-ids"][0] == 'write("/proc/PID/uid_map", "0 1073741824 65536")'
    assert 'open_tree(AT_FDCWD, "/top", OPEN_TREE_CLONE)' in made["launch.trees"]
    assert "mount_setattr(MOUNT_ATTR_RDONLY|MOUNT_ATTR_NODEV|MOUNT_ATTR_IDMAP, userns of PID 1)" in made["launch.trees"]
    assert made["uts.hostname"] == ('sethostname("box")',)
    layers = "lowerdir=0:1:2,upperdir=writable/0/upper,workdir=writable/0/work"
    assert made["rootfs.overlay"] == (f'mount("overlay", "/", "overlay", 0, "{layers},userxattr,volatile")',)
    assert 'open_tree(fd of "/usr", "", AT_EMPTY_PATH|OPEN_TREE_CLONE)' in made["launch.trees"]
    assert made["rootfs.volumes"] == (
        'openat2(root, "/data", RESOLVE_IN_ROOT) -> move_mount(tree 3)',
        'openat2(mount at "/data", ".x", RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS) -> move_mount(an empty file or tmpfs)',
    )
    assert any(MASKED[0] in line for line in made["rootfs.hide"])
    assert made["security.seccomp"] == ("seccomp(SECCOMP_SET_MODE_FILTER, {len=7})",)
    assert made["program.exec"][0] == "setrlimit(7, 64, 64)"
    assert made["program.exec"][-1].startswith("execve(sleep 9, ")


def test_an_overlay_of_fuse_is_listed_as_one() -> None:
    assert listed(overlay_program="/usr/bin/fuse-overlayfs")["rootfs.overlay"][0].startswith("/usr/bin/fuse-overlayfs -o lowerdir=0:1:2")


def test_a_long_step_is_cut_with_the_number_of_what_is_left_out() -> None:
    files = {f"/f{number}": "" for number in range(100)}
    made = plan(Spec(args=("x",)), IMAGE, hostname="b", init_layer=Path("/i"), ids=own(1 << 30), views=(), seccomp=b"")
    cut = list_syscalls({**made, "files": files})["rootfs.files"]
    assert len(cut) == 41
    assert cut[-1] == "... and 60 more"
