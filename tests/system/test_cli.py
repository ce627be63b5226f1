"""The `cellhold` command as a person meets it: statuses, sentences, hints, pipes, signals; never a traceback."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from boxes import MIB, PATIENCE_SECONDS, call, cellhold, command, environment, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")


@contextmanager
def running(*words: str, ignored: int | None = None, **streams: int) -> Iterator[subprocess.Popen[bytes]]:
    """The command, under way; killed if the test leaves it so."""

    def ignore() -> None:
        if ignored is not None:
            signal.signal(ignored, signal.SIG_IGN)

    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    with subprocess.Popen(cellhold("run", "--rm", *words), env=environment(), preexec_fn=ignore, **pipes) as process:  # noqa: PLW1509  # one thread
        try:
            yield process
        finally:
            process.kill()


# ------------------------------------------------------------------------------------------- what the issue wants to be shown


@pytest.mark.requires("cgroup-memory")
def test_too_much_memory_is_137_and_says_the_limit_and_what_to_do() -> None:
    ran = command("run", "--rm", "--memory", "64m", "host", "python3", "-c", "x=bytearray(200<<20)")
    assert ran.returncode == 137
    assert "was killed: it reached its memory limit of 64 MiB (peak " in ran.stderr
    assert "\nhint: raise --memory" in ran.stderr


@pytest.mark.requires("cgroup-pids")
def test_a_fork_bomb_is_held_by_the_pids_limit() -> None:
    bomb = "import os, time\nn = 0\ntry:\n  while os.fork() or time.sleep(60): n += 1\nexcept OSError as error: print(n, error.errno)"
    ran = command("run", "--rm", "--pids-limit", "16", "host", "python3", "-c", bomb)
    assert (ran.returncode, ran.stdout) == (0, "14 11\n")  # PID 1, the program, and 14 more; EAGAIN


def test_without_a_network_there_is_only_lo() -> None:
    assert command("run", "--rm", "--network", "none", "host", "ls", "/sys/class/net").stdout == "lo\n"


def test_time_ends_it_and_says_so() -> None:
    ran = command("run", "--rm", "--time", "1s", "host", "sleep", "30")
    assert ran.returncode == 137
    assert "was killed: it reached its wall-time limit of 1s\nhint: raise --time" in ran.stderr


def test_the_trace_reads_like_a_story_with_every_chapter() -> None:
    ran = command("run", "--rm", "--trace", "host", "true")
    assert ran.returncode == 0
    titles = [line for line in ran.stderr.splitlines() if line and not line.startswith(" ")]
    assert [title.split(" ")[:3] for title in titles] == [
        ["on", "the", "host,"],
        ["the", "launcher", "clones"],
        ["PID", "1", "becomes"],
        ["the", "program"],
        ["afterwards"],
    ]
    for words in (
        "new namespaces user, pid, net, mnt, uts, ipc, time",
        "mount overlay",
        "pivot_root",
        "capabilities kept",
        "ms in all",
        "pids.max",
    ):
        assert words in ran.stderr


# ------------------------------------------------------------------------------------------------------- statuses, sentences


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["host", "sh", "-c", "exit 42"], 42, ""),
        (["host", "sh", "-c", "kill -TERM $$"], 143, ""),
        (["host", "nonsuch"], 127, "cannot run 'nonsuch': not found in the container"),
        (["host", "/etc"], 126, "cannot run '/etc': Permission denied"),
        (["--pull", "never", "nonsuch", "true"], 125, "cannot use image=nonsuch: it is not here"),
        (["--memory", "512mb4", "host", "true"], 125, "cannot use memory=512mb4: not a size"),
        (["--cpus=-1", "host", "true"], 125, "cannot use cpus=-1"),
        (["--nonsuch", "host", "true"], 125, "nonsuch"),
        (["--user", "nobody-here", "host", "true"], 125, "no user nobody-here"),
        (["--ulimit", "files=1", "host", "true"], 125, "cannot use ulimit=files"),
        (["--volume", "/nonsuch:/x", "host", "true"], 125, "cannot bind /nonsuch to /x"),
        (["--workdir", "/etc/hostname", "host", "true"], 125, "Not a directory"),
        (["--rootfs", "/", "true"], 125, "the whole machine is not an image"),
        (["--cpuset-cpus", "999", "host", "true"], 125, "cpuset=999"),
        (["--cpus", "1000000000000000000000", "host", "true"], 125, "cpus="),
        (["--pids-limit", "99999999999999999999", "host", "true"], 125, "pids="),
        (["--memory", "512m\n", "host", "true"], 125, r"cannot use memory='512m\n': not a size"),
        (["--memory", "512m\t", "host", "true"], 125, r"cannot use memory='512m\t': not a size"),
        (["--cpus", "1\n", "host", "true"], 125, r"cannot use cpus='1\n'"),
        (["--cpus", "4096", "host", "true"], 125, "cannot use cpus=4096: there are only"),
        (
            ["--health-cmd", "true", "--health-retries", "9" * 20, "host", "true"],
            125,
            "health-retries=99999999999999999999: the largest is",
        ),
        (["--time", "99999999999999h", "host", "true"], 125, "cannot use time=99999999999999h: longer than 31 years"),
        (["--ulimit", "nofile=-1:5", "host", "true"], 125, "the soft limit is above the hard one"),
        (["-v", "/tmp:/" + "d/" * 3000, "host", "true"], 125, "its path has 6001 bytes"),
        (["-v", "/" + "d/" * 3000 + ":/x", "host", "true"], 125, "at most 4095 are possible"),
        (["-v", "/tmp:/" + "d" * 300, "host", "true"], 125, "a name in it has more than 255 bytes"),
        (["--tmpfs", "/" + "d/" * 3000, "host", "true"], 125, "its path has 6001 bytes"),
        (["-w", "/" + "d/" * 3000, "host", "true"], 125, "cannot use workdir /d/d/"),
        (["--device-read-bps", "/dev/nonsuch:1m", "host", "true"], 125, "/dev/nonsuch"),
        (["--bundle", "/nonsuch"], 125, "cannot use bundle=/nonsuch"),
        ([], 125, "no image given"),
    ],
)
def test_the_status_is_dockers_and_what_is_wrong_is_one_sentence(
    words: list[str], status: int, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    said = call(capfd, "run", "--rm", *words)
    assert (said.status, said.out) == (status, "")
    assert sentence in said.err
    if sentence:
        assert said.err.startswith("cellhold: ")
    else:
        assert not said.err


def test_an_image_that_is_not_here_is_pulled_and_what_keeps_it_from_that_is_told() -> None:
    ran = command("run", "--rm", "127.0.0.1:1/nonsuch", "true")
    assert (ran.returncode, ran.stdout) == (125, "")
    first, second, hint = ran.stderr.splitlines()
    assert first == "Unable to find image '127.0.0.1:1/nonsuch' locally"
    assert second.startswith("cellhold: cannot get the manifest nonsuch:latest at 127.0.0.1:1: it cannot be reached")
    assert hint.startswith("hint: ")


def test_a_child_that_met_the_memory_limit_is_mentioned_though_the_program_went_on() -> None:
    ran = command("run", "--rm", "--memory", "64m", "host", "sh", "-c", 'python3 -c "x=bytearray(200<<20)"; exit 3')
    assert ran.returncode in (3, 137)  # a shell may be killed with it; 3 is the rule
    assert "memory limit" in ran.stderr


def test_doctor_says_what_this_host_can() -> None:
    ran = command("doctor")
    assert ran.returncode == 0
    assert "Containers can run here." in ran.stdout
    assert "+ overlayfs" in ran.stdout


# ------------------------------------------------------------------------------------------------------------- flags


def test_flags_reach_the_container(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("volume\n")
    script = "hostname; echo $A; busybox pwd; id -u; cat /v/in; busybox df -k /t | busybox tail -n1; ulimit -n; touch /x"
    flags = f"--hostname box -e A=b -w /tmp -u 1000 -v {tmp_path}:/v:ro --tmpfs /t:size=1m --ulimit nofile={1 << 62} --read-only"
    tmp_path.chmod(0o755)
    ran = command("run", "--rm", *flags.split(), "--rootfs", str(busybox_root), "sh", "-c", script)
    lines = ran.stdout.splitlines()
    assert lines[:4] == ["box", "b", "/tmp", "1000"], ran.stderr
    assert lines[4] == "volume"
    assert lines[5].split()[1] == "1024"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # which is no more than /proc/sys/fs/nr_open
    assert int(lines[6]) == hard
    assert f"ulimit nofile={1 << 62} is lowered to {hard}, " in ran.stderr


def test_a_working_directory_cannot_be_made_on_a_read_only_root_and_that_is_said(busybox_root: Path) -> None:
    ran = command("run", "--rm", "--read-only", "-w", "/w", "--rootfs", str(busybox_root), "true")
    assert ran.returncode == 125
    assert "Read-only file system" in ran.stderr


def test_without_capabilities_root_can_do_little(busybox_root: Path) -> None:
    ran = command("run", "--rm", "--cap-drop", "ALL", "--rootfs", str(busybox_root), "sh", "-c", "busybox chown 5 /etc/passwd || id -u")
    assert ran.stdout == "0\n"
    assert "not permitted" in ran.stderr


def test_a_bundle_runs(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "rootfs").symlink_to(busybox_root)
    process = {"args": ["sh", "-c", "echo $A; id -u; hostname; exit 4"], "env": ["A=b", "PATH=/bin"], "cwd": "/", "user": {"uid": 1000}}
    config = {
        "process": process,
        "root": {"path": "rootfs"},
        "hostname": "bundled",
        "linux": {"resources": {"memory": {"limit": 64 * MIB}}},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    ran = command("run", "--rm", "--bundle", str(tmp_path))
    assert (ran.returncode, ran.stdout) == (4, "b\n1000\nbundled\n"), ran.stderr


# ------------------------------------------------------------------------------------------------------------- pipes


def test_standard_input_is_given_only_when_asked_for(busybox_root: Path) -> None:
    assert command("run", "--rm", "-i", "--rootfs", str(busybox_root), "cat", input="hello").stdout == "hello"
    assert not command("run", "--rm", "--rootfs", str(busybox_root), "cat", input="hello").stdout


def test_much_input_and_much_output_at_once_do_not_wait_for_each_other(busybox_root: Path) -> None:
    data = "x" * 99 + "\n"
    script = "busybox yes | busybox head -c 1000000; busybox wc -c"
    ran = command("run", "--rm", "-i", "--rootfs", str(busybox_root), "sh", "-c", script, input=data * 10000)
    assert ran.stdout.endswith("1000000\n")
    assert len(ran.stdout) == 1000000 + len("1000000\n")


def test_input_that_nobody_reads_does_not_keep_it(busybox_root: Path) -> None:
    assert command("run", "--rm", "-i", "--rootfs", str(busybox_root), "true", input="x" * MIB).returncode == 0
    reading, writing = os.pipe()  # a terminal where nobody types
    try:
        assert command("run", "--rm", "-i", "--rootfs", str(busybox_root), "true", stdin=reading).returncode == 0
    finally:
        os.close(reading)
        os.close(writing)


def test_when_nobody_reads_its_output_the_program_is_told_and_ends(busybox_root: Path) -> None:
    with running("--rootfs", str(busybox_root), "busybox", "yes") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(PATIENCE_SECONDS) == 128 + signal.SIGPIPE
        assert process.stderr.read() == b""


def test_a_full_disk_for_its_output_is_one_sentence(busybox_root: Path) -> None:
    with open("/dev/full", "wb") as full, running("--rootfs", str(busybox_root), "echo", "x", stdout=full.fileno()) as process:
        assert process.stderr is not None
        assert process.stderr.read() == b"cellhold: cannot write the program's output: No space left on device\n"


@pytest.mark.parametrize("words", ["load", "import -", "build -f - .", "cp - nosuch:/", "system prune"])
def test_a_closed_standard_input_is_an_empty_one(words: str, tmp_path: Path) -> None:
    line = cellhold(*words.split())
    ran, other = (
        subprocess.run(["sh", "-c", f'"$@" {how}', "sh", *line], capture_output=True, text=True, check=False, cwd=tmp_path)
        for how in ("<&-", "</dev/null")
    )
    assert (ran.returncode, ran.stderr) == (other.returncode, other.stderr)
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("words", "name"), [("run --rm --env-file /dev/zero host true", "env-file=/dev/zero"), ("build -f - .", "standard input")]
)
def test_a_file_that_never_ends_is_refused(words: str, name: str, tmp_path: Path) -> None:
    with open("/dev/zero", "rb") as zeros:
        ran = subprocess.run(
            ["sh", "-c", 'ulimit -v 4000000; exec "$@"', "sh", *cellhold(*words.split())],
            stdin=zeros, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
        )  # fmt: skip
    assert ran.stderr.startswith(f"cellhold: cannot read {name}: it is larger than 4 MiB\n"), ran.stderr


def test_variables_come_from_a_pipe_too() -> None:
    line = '"$@" --env-file <(echo A=piped) host sh -c "echo \\$A"'
    ran = subprocess.run(["bash", "-c", line, "bash", *cellhold("run", "--rm")], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("piped\n", "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_as_if_nobody_listened(busybox_root: Path, closed: str) -> None:
    line = f'"$@" {closed}'
    words = cellhold("run", "--rm", "--rootfs", str(busybox_root), "sh", "-c", "echo out; echo err >&2; exit 5")
    ran = subprocess.run(
        ["sh", "-c", line, "sh", *words], env=environment(), capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert ran.returncode == 5
    assert ran.stdout == ("" if ">&-" in closed.split() else "out\n")
    assert ran.stderr == ("" if "2>&-" in closed else "err\n")


# ------------------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_command_is_one_to_the_program(busybox_root: Path, number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 7' {int(number)}; echo up; while :; do sleep 0.05; done"
    with running("--rootfs", str(busybox_root), "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == 7
        assert process.stdout.read() == b"got\n"


def test_a_signal_that_the_program_does_not_handle_ends_it_as_it_would_outside(busybox_root: Path) -> None:
    with running("--rootfs", str(busybox_root), "sh", "-c", "echo up; exec sleep 60") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 143


@pytest.mark.parametrize("after", [0.0, 0.1, 0.2, 0.4])
def test_ended_while_it_is_being_made_it_leaves_no_traceback_and_no_process(busybox_root: Path, after: float) -> None:
    with running("--rootfs", str(busybox_root), "sleep", "60") as process:
        assert process.stderr is not None
        eventually(lambda: False, seconds=after)
        for _ in range(100):  # until it is far enough to take it
            process.send_signal(signal.SIGTERM)
            if eventually(lambda: process.poll() is not None, seconds=0.5):
                break
        assert process.returncode in (-signal.SIGTERM, 143)
        assert b"Traceback" not in process.stderr.read()


def test_what_the_caller_ignores_is_not_ignored_inside(busybox_root: Path) -> None:
    with running("--rootfs", str(busybox_root), "cat", "/proc/self/status", ignored=signal.SIGHUP) as process:
        assert process.stdout is not None
        status = dict(line.split(":\t", 1) for line in process.stdout.read().decode().splitlines())
    assert int(status["SigIgn"], 16) & 0x7FFFFFFF == 0
    assert int(status["SigBlk"], 16) == 0
