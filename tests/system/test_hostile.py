"""What a hostile image or program tries (reference/security.md), and what holds. Each test fails where the wall is missing."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from boxes import MIB, PATIENCE_SECONDS, python, run, shell, spec, started
from cellhold.container.container import Container
from cellhold.errors import SetupFailed
from cellhold.spec.limits import Limits
from cellhold.spec.outcome import Why
from cellhold.spec.spec import Mount

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-memory", "cgroup-pids"),
    pytest.mark.usefixtures("machine_unchanged"),
]

SMALL = Limits(memory_bytes=64 * MIB, pids=64)


@pytest.fixture
def image(busybox_root: Path, tmp_path: Path) -> Path:
    """A copy of the busybox image, to be made hostile."""
    return Path(shutil.copytree(busybox_root, tmp_path / "image", symlinks=True))


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory of the host that an image's links point to."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/file").write_text("untouched")
    return tmp_path / "victim"


def digest(root: Path) -> str:
    """Every name, mode, owner, time and byte below `root`."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        total.update(repr((str(path), facts.st_mode, facts.st_uid, facts.st_gid, facts.st_mtime_ns, facts.st_size)).encode())
        if path.is_file() and not path.is_symlink():
            total.update(path.read_bytes())
    return total.hexdigest()


def denied(image: Path, script: str) -> str:
    """Run a script whose every success prints OPEN; its errors."""
    ran = shell(image, script, limits=SMALL)
    assert "OPEN" not in ran.out, ran.out
    return ran.err


# ------------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("name", ["proc", "dev", "sys", "etc", "tmp", "root"])
def test_a_directory_of_the_image_that_is_a_link_to_the_host_leads_nowhere(image: Path, victim: Path, name: str) -> None:
    shutil.rmtree(image / name)
    (image / name).symlink_to(victim)
    before = digest(victim)
    assert shell(image, f"cat /proc/mounts >/dev/null; echo bad > /{name}/file; mkdir -p /{name}/new; echo done").out == "done\n"
    assert digest(victim) == before


@pytest.mark.parametrize("name", ["etc/hosts", "etc/hostname", "etc/resolv.conf"])
def test_a_file_of_the_image_that_is_a_link_to_the_host_is_not_written_through(image: Path, victim: Path, name: str) -> None:
    (image / name).symlink_to(victim / "file")
    assert "box" in shell(image, f"cat /etc/hostname; echo bad > /{name}", hostname="box").out
    assert (victim / "file").read_text() == "untouched"


@pytest.mark.parametrize("link", ["/../../../../../..{}", "{}", "/proc/self/root{}", "/proc/1/cwd{}"])
def test_a_volume_or_tmpfs_on_a_link_of_the_image_stays_inside(image: Path, victim: Path, tmp_path: Path, link: str) -> None:
    (image / "data").symlink_to(link.format(victim))
    (tmp_path / "volume").mkdir()
    before = digest(victim)
    mounts = (Mount(kind="bind", source=str(tmp_path / "volume"), target="/data/x"), Mount(kind="tmpfs", target="/data/y"))
    try:
        shell(image, "echo bad > /data/x/f; echo bad > /data/y/f", mounts=mounts)
    except SetupFailed as refused:
        assert refused.step.startswith("rootfs.")  # noqa: PT017  # either is right
    assert digest(victim) == before


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_a_fifo_for_an_account_file_does_not_hang_the_start(image: Path, name: str) -> None:
    (image / "etc" / name).unlink()
    os.mkfifo(image / "etc" / name)
    assert "Uid:\t1000\t" in run(spec(image, "cat", "/proc/self/status", user="1000:1000")).out


def test_a_million_accounts_do_not_hang_the_start_and_half_a_row_is_nobodys(image: Path) -> None:
    row = "user{0:09}:x:{0}:5::/:/bin/sh\n"
    (image / "etc/passwd").write_text("".join(row.format(number) for number in range(1_000_000)))
    begin = time.monotonic()
    assert shell(image, "id -u", user="user000000777").out == "777\n"
    assert time.monotonic() - begin < PATIENCE_SECONDS
    cut = (1 << 20) // len(row.format(10_000))  # somewhere here the part that is read ends
    for number in range(cut - 1500, cut + 1500, 500):
        try:
            assert shell(image, "id -u", user=f"user{number:09}").out == f"{number}\n"
        except SetupFailed:
            continue


def test_an_account_with_an_id_of_another_planet_is_refused(image: Path) -> None:
    (image / "etc/passwd").write_text("evil:x:4294967295:0::/:/bin/sh\n")
    with Container.create(spec(image, "id", user="evil")) as box, pytest.raises(SetupFailed, match="4294967295"):
        box.start()


def test_set_user_id_programs_and_files_with_capabilities_are_powerless(image: Path) -> None:
    shutil.copy(image / "bin/busybox", image / "bin/busybox-suid")
    (image / "bin/busybox-suid").chmod(0o6755)
    assert shell(image, "/bin/busybox-suid id -u", user="1000").out == "1000\n"
    assert "NoNewPrivs:\t1\n" in shell(image, "cat /proc/self/status").out


def test_device_nodes_of_an_image_or_a_volume_cannot_be_opened(image: Path, tmp_path: Path) -> None:
    for directory in (image, tmp_path):
        os.mknod(directory / "mem", 0o666 | 0o020000, os.makedev(1, 1))
        os.mknod(directory / "full", 0o666 | 0o020000, os.makedev(1, 7))
    volume = Mount(kind="bind", source=str(tmp_path), target="/v")
    ran = shell(
        image, "for f in /mem /full /v/mem /v/full; do (: < $f) && echo OPEN $f; done; mknod /x c 1 7 && echo MADE", mounts=(volume,)
    )
    assert not ran.out


def test_an_image_is_byte_for_byte_the_same_after_everything_was_tried_on_it(image: Path) -> None:
    before = digest(image)
    shell(image, "busybox find / -xdev -type f -exec sh -c 'echo bad >> $0; chmod 777 $0; touch $0' {} ';'; rm -rf /etc /bin; mkdir /etc")
    assert digest(image) == before


# ---------------------------------------------------------------------------------------------------- descriptors and PID 1


def test_the_program_has_three_descriptors_and_no_more(busybox_root: Path) -> None:
    with open("/etc/hostname", "rb") as kept:  # noqa: F841  # one of ours that must not get in
        assert shell(busybox_root, "exec ls /proc/self/fd").out.split() == ["0", "1", "2", "3"]  # 3: ls's own, of the directory


def test_no_descriptor_shows_a_path_of_the_host(busybox_root: Path) -> None:
    links = shell(busybox_root, "for p in /proc/[0-9]*; do busybox readlink $p/fd/* $p/cwd $p/root $p/exe; done").out.split()
    assert {link.split(":")[0] for link in links} <= {"/", "/dev/null", "pipe", "/bin/busybox"}


def test_a_working_directory_that_is_a_descriptors_link_is_not_the_host(busybox_root: Path) -> None:
    for number in range(12):
        try:
            out = shell(busybox_root, "busybox pwd; ls; ls ../../../..", cwd=f"/proc/self/fd/{number}").out
        except SetupFailed:
            continue
        assert "work" not in out.split()
        assert not out.startswith("(")


@pytest.mark.parametrize("name", ["fd", "environ", "exe", "root", "cwd", "maps", "mem", "fdinfo", "ns", "task/1/fd", "io"])
def test_pid_1_keeps_its_inside_to_itself(busybox_root: Path, name: str) -> None:
    tries = ("cat /proc/1/{}", "ls /proc/1/{}/", "ls /proc/1/{}/.", "busybox readlink /proc/1/{}")
    denied(busybox_root, "\n".join(f"{way.format(name)} && echo OPEN" for way in tries))


def test_the_interpreter_of_pid_1_cannot_be_written(busybox_root: Path) -> None:
    denied(busybox_root, "(: >> /proc/1/exe) && echo OPEN")


def test_pid_1_cannot_be_killed_stopped_or_traced_from_inside() -> None:
    script = """
import ctypes, os, signal, time
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGILL, signal.SIGABRT, 40):
    if number in (signal.SIGKILL, signal.SIGSTOP): os.kill(1, number)
libc = ctypes.CDLL(None, use_errno=True)
for request in (16, 0x4206):
    print(libc.ptrace(request, 1, 0, 0), ctypes.get_errno())
print(open("/proc/1/stat").read().split()[2])
"""
    assert python(script).out == "-1 1\n-1 1\nS\n"


# ------------------------------------------------------------------------------------------------------------- system calls


def test_mounts_namespaces_and_roots_cannot_be_changed() -> None:
    script = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, *arguments):
    ctypes.set_errno(0)
    print(name, libc.syscall(*arguments), ctypes.get_errno())
text = lambda words: ctypes.c_char_p(words)
tried("mount", 165, text(b"x"), text(b"/tmp"), text(b"tmpfs"), 0, 0)
tried("remount", 165, 0, text(b"/sys"), 0, 32, 0)
tried("bind", 165, text(b"/"), text(b"/mnt"), 0, 4096, 0)
tried("umount", 166, text(b"/proc/kcore"), 2)
tried("pivot_root", 155, text(b"/"), text(b"/"))
tried("unshare", 272, 0x10000000)
tried("setns", 308, os.open("/proc/self/ns/net", 0), 0)
tried("open_tree", 428, -100, text(b"/"), 1)
tried("fsopen", 430, text(b"proc"), 0)
tried("mount_setattr", 442, -100, text(b"/"), 0, 0, 0)
tried("clone newuser", 56, 0x10000011, 0, 0, 0, 0)
tried("bpf", 321, 0, 0, 0)
tried("keyctl", 250, 0, -3, 0)
tried("add_key", 248, text(b"user"), text(b"x"), text(b"y"), 1, -3)
tried("io_uring", 425, 1, 0)
tried("sethostname", 170, text(b"evil"), 4)
tried("settime", 227, 0, ctypes.create_string_buffer(16))
tried("reboot", 169, 0xfee1dead, 672274793, 0x89abcdef, 0)
"""
    lines = python(script).out.splitlines()
    assert len(lines) == 18
    assert all(line.endswith(" -1 1") for line in lines), lines


def test_chroot_and_back_does_not_leave_the_container(busybox_root: Path) -> None:
    out = python(
        "import os\nos.mkdir('/tmp/j')\nfd = os.open('/', os.O_RDONLY)\nos.chroot('/tmp/j')\nos.fchdir(fd)\n"
        "for _ in range(64): os.chdir('..')\nos.chroot('.')\n"
        f"print(os.path.exists({str(busybox_root)!r}), os.path.exists('/usr'))"
    ).out
    assert out == "False True\n"


def test_a_terminal_cannot_be_typed_into() -> None:
    tiocsti = "fcntl.ioctl(os.openpty()[1], 0x5412, b'x')"
    script = f"import fcntl, os\ntry: {tiocsti}; print('OPEN')\nexcept OSError as error: print(error.errno)"
    assert python(script).out == "1\n"


def test_there_is_no_controlling_terminal(busybox_root: Path) -> None:
    ran = shell(busybox_root, "(: < /dev/tty) && echo OPEN")
    assert not ran.out
    assert "No such device" in ran.err


# ------------------------------------------------------------------------------------------------------------- /proc and /sys


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/irq/default_smp_affinity",
        "/proc/self/attr/current",
        "/proc/1/oom_score_adj",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
        "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/memory/notify_on_release",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/cgroup.procs",
        "/dev/new",
    ],
)
def test_what_steers_the_host_cannot_be_written(busybox_root: Path, path: str) -> None:
    denied(busybox_root, f"(echo 1 > {path}) && echo OPEN")


@pytest.mark.parametrize(
    "path", ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/sys/firmware/memmap", "/proc/kmsg", "/dev/mem"]
)
def test_what_tells_about_the_host_is_empty_or_refused(busybox_root: Path, path: str) -> None:
    ran = shell(busybox_root, f"test -d {path} && ls {path}/ || busybox head -c 20 {path}")
    assert not ran.out


@pytest.mark.v2
def test_no_cgroup_of_another_is_visible(busybox_root: Path) -> None:
    ran = shell(busybox_root, "cat /proc/self/cgroup; busybox find /sys/fs/cgroup -type d")
    names = [line.rpartition(":")[2] for line in ran.out.splitlines() if ":" in line]
    assert set(names) == {"/"}
    assert not [line for line in ran.out.splitlines() if line.startswith("/") and line.count("/") > 4]


def test_the_hosts_keys_are_not_there(busybox_root: Path) -> None:
    assert not shell(busybox_root, "cat /proc/keys /proc/key-users | busybox grep -v '^ *[0-9]*: *[0-9]* 1/1'; true").out.count("_uid.0")


def test_mounts_name_no_path_of_the_store(busybox_root: Path) -> None:
    out = shell(busybox_root, "cat /proc/self/mountinfo /proc/self/mounts").out
    assert os.environ["CELLHOLD_HOME"] not in out
    assert str(busybox_root) not in out


def test_a_program_that_closes_its_standard_streams_is_still_waited_for(busybox_root: Path) -> None:
    with started(spec(busybox_root, "sh", "-c", "exec <&- >&- 2>&-; while :; do busybox usleep 1000; done")) as (box, out):
        assert out.text() == ""
        assert box.poll() is None
        box.kill()
        assert box.wait(PATIENCE_SECONDS).why is Why.KILLED


def test_a_thousand_arguments_and_a_large_environment_arrive(busybox_root: Path) -> None:
    many = tuple(f"{number:01000}" for number in range(500))
    ran = run(spec(busybox_root, "sh", "-c", "echo $# ${#BIG}", "x", *many, env={"BIG": "y" * 100_000}))
    assert ran.out == "500 100000\n"


def test_bytes_that_are_no_text_arrive_as_they_are(busybox_root: Path) -> None:
    raw = os.fsdecode(b"\xff\xfe")
    ran = run(spec(busybox_root, "sh", "-c", 'printf "%s%s" "$1" "$V" | busybox od -An -tx1', "x", raw, env={"V": raw}))
    assert ran.out.split() == ["ff", "fe", "ff", "fe"]


@pytest.mark.parametrize("cwd", ["/..", "/../..", "/tmp/../..", "/proc/self/cwd", "/proc/self/root"])
def test_a_working_directory_never_lies_outside(busybox_root: Path, cwd: str) -> None:
    assert set(shell(busybox_root, "cd ..; ls", cwd=cwd).out.split()) >= {"bin", "proc"}
    assert "shared" not in shell(busybox_root, "ls /work; ls ../work", cwd=cwd).out
