"""Notebooks on images without Python: busybox's shell and bash, the same tests, through the real kernel."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager

from cellhold_kernel import install
from kernels import PATIENCE, Cell, descendants, is_gone, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernels import Notebook

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")
OUTPUT_BYTES = 50_000_000
MEMORY_MOST = 64 << 20  # of the process that drives the shell; it takes 20 MiB to start


@pytest.fixture(scope="session")
def bash_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with this machine's bash, the libraries that it is linked with, and busybox under names of its own."""
    bash, busybox = shutil.which("bash"), shutil.which("busybox")
    if bash is None or busybox is None:
        pytest.skip("an image of bash cannot be made: a program is missing; apt install bash busybox-static")
    root = tmp_path_factory.mktemp("bash-image")
    for name in ("bin", "proc", "sys", "dev", "tmp", "etc", "root"):
        (root / name).mkdir()
    libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", bash], capture_output=True, text=True, check=True).stdout)
    for library in libraries:
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / library[1:])
    shutil.copy(bash, root / "bin/bash")
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("cat", "head", "tr", "sleep", "ls", "seq", "kill", "mkdir"):
        (root / "bin" / name).symlink_to("busybox")
    return root


@pytest.fixture(scope="session")
def sh_root(busybox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """busybox, with the names that the tests call."""
    root = tmp_path_factory.mktemp("busybox-image")
    shutil.copytree(busybox_root, root, symlinks=True, dirs_exist_ok=True)
    for name in ("cat", "head", "tr", "sleep", "ls", "seq", "kill", "mkdir"):
        if not os.path.lexists(root / "bin" / name):
            (root / "bin" / name).symlink_to("busybox")
    return root


def _spec(jupyter_path: Path, root: Path) -> str:
    name = f"cellhold-{root.name}".lower()
    install.install(jupyter_path, name=name, texts={"image": str(root), "memory": "128m"})
    return name


@pytest.fixture(scope="module", params=["sh", "bash"])
def spec(request: pytest.FixtureRequest, jupyter_path: Path) -> str:
    """The kernelspec of an image with that shell."""
    root: Path = request.getfixturevalue(f"{request.param}_root")
    return _spec(jupyter_path, root)


@pytest.fixture(scope="module")
def shell(spec: str) -> Iterator[Notebook]:
    """A notebook of several tests."""
    with running(KernelManager(kernel_name=spec)) as notebook:
        yield notebook


@pytest.fixture
def fresh(spec: str) -> Iterator[Notebook]:
    """A notebook that a test may end."""
    with running(KernelManager(kernel_name=spec)) as notebook:
        yield notebook


def streams(cell: Any) -> dict[str, str]:
    return {name: "".join(content["text"] for content in cell.of("stream") if content["name"] == name) for name in ("stdout", "stderr")}


def interrupt(notebook: Notebook) -> None:
    assert notebook.ask("interrupt_request", {})["status"] == "ok"


def test_cells_keep_directory_variables_and_functions_and_streams_are_told_apart(shell: Notebook) -> None:
    cell = shell.run("cd /tmp; x=5; f() { echo \"f: $x\"; }; alias g='f'; echo out; echo err >&2")
    assert (cell.status, streams(cell)) == ("ok", {"stdout": "out\n", "stderr": "err\n"})
    assert streams(shell.run("f; pwd; g"))["stdout"] == "f: 5\n/tmp\nf: 5\n"
    assert shell.run("set -- a 'b c'").status == "ok"
    assert shell.run('echo "$#: $2"').text == "2: b c\n"


def test_a_failing_last_command_fails_the_cell_and_its_status_is_there_in_the_next_one(shell: Notebook) -> None:
    cell = shell.run("echo before; (exit 3)")
    assert (cell.status, cell.text, cell.error) == ("error", "before\n", "exit status 3")
    assert (cell.reply["ename"], cell.reply["evalue"]) == ("ExitStatus", "3")
    assert shell.run("echo $?").text == "3\n"
    assert shell.run("echo $?").text == "0\n"
    assert shell.run("false; true").status == "ok"
    assert "command not found" in shell.run("nosuchcommand").error
    assert "SIGTERM" in shell.run("busybox sh -c 'kill -TERM $$'").error


def test_cells_behind_a_failed_one_are_not_run(shell: Notebook) -> None:
    ids = [shell.client.execute(code) for code in ("sleep 0.3; false", "echo must not run", "echo nor this")]
    replies = [shell.reply(message_id)["content"]["status"] for message_id in ids]
    assert replies == ["error", "aborted", "aborted"]


@pytest.mark.parametrize("code", ["if", "echo 'a", "echo a\nfi", "echo $(", "for x in; done"])
def test_a_syntax_error_is_an_error_with_the_shells_own_words_and_the_state_stays(shell: Notebook, code: str) -> None:
    shell.run("kept=yes")
    cell = shell.run(code)
    assert cell.status == "error"
    assert cell.reply["ename"] == "SyntaxError", cell.error
    assert re.search("syntax error|unexpected|unterminated", cell.error, re.IGNORECASE)
    assert shell.run("echo $kept").text == "yes\n"


@pytest.mark.parametrize("code", ["while :; do :; done", "for i in 1 2 3; do sleep 900; done; echo no", "sleep 900 | cat", "(sleep 900)"])
def test_an_interrupt_ends_the_cell_at_once_and_the_state_stays(shell: Notebook, code: str) -> None:
    shell.run("kept=yes")
    message_id = shell.client.execute(code)
    time.sleep(0.5)
    interrupt(shell)
    cell = shell.collect(message_id)
    assert (cell.status, cell.reply["ename"]) == ("error", "KeyboardInterrupt")
    assert "no\n" not in cell.text
    assert shell.run("echo $kept").text == "yes\n"


def test_an_interrupt_between_cells_changes_nothing(shell: Notebook) -> None:
    shell.run("kept=still")
    interrupt(shell)
    assert shell.run("echo $kept").text == "still\n"


def test_read_asks_the_front_end_and_a_loop_over_a_pipe_does_not(shell: Notebook) -> None:
    message_id = shell.client.execute(
        'read -p \'who? \' first rest; echo "<$first> <$rest>"; echo a b | while read x; do echo "piped $x"; done'
    )
    asked = shell.client.get_stdin_msg(timeout=PATIENCE)["content"]
    assert asked == {"prompt": "who? ", "password": False}
    shell.client.input("Ada of London")
    assert shell.collect(message_id).text == "<Ada> <of London>\npiped a b\n"


def test_what_is_typed_for_read_s_is_not_shown(shell: Notebook) -> None:
    message_id = shell.client.execute('IFS= read -rs key; echo "$key"')
    assert shell.client.get_stdin_msg(timeout=PATIENCE)["content"]["password"] is True
    shell.client.input("  a\\b ")
    assert shell.collect(message_id).text == "  a\\b \n"


def test_without_a_front_end_that_can_be_asked_nothing_waits(shell: Notebook) -> None:
    cell = shell.run("cat; echo $?; read x </dev/null; echo $?; if read x; then echo no; fi; echo end", allow_stdin=False)
    assert streams(cell)["stdout"] == "0\n1\nend\n"
    assert "does not take input" in streams(cell)["stderr"]


def test_an_answer_that_comes_too_late_is_not_the_next_reads(shell: Notebook) -> None:
    message_id = shell.client.execute("read x")
    shell.client.get_stdin_msg(timeout=PATIENCE)
    interrupt(shell)
    assert shell.collect(message_id).reply["ename"] == "KeyboardInterrupt"
    shell.client.input("late")
    message_id = shell.client.execute("read x; echo $x")
    shell.client.get_stdin_msg(timeout=PATIENCE)
    shell.client.input("in time")
    assert shell.collect(message_id).text == "in time\n"


def test_characters_are_whole_however_their_bytes_come(shell: Notebook) -> None:
    assert (
        shell.run("printf 'h\\303'; sleep 0.3; printf '\\251\\n'; printf '\\377\\n'").text
        == "h\N{LATIN SMALL LETTER E WITH ACUTE}\n\ufffd\n"
    )


def test_a_job_goes_on_and_what_it_writes_later_comes_in_the_last_cell(shell: Notebook) -> None:
    message_id = shell.client.execute("( sleep 0.5; echo late ) & echo at once")
    cell = shell.collect(message_id)  # bash tells the job's number on the other stream, before or after
    assert [content["text"] for content in cell.of("stream") if content["name"] == "stdout"] == ["at once\n"]
    message = shell.client.get_iopub_msg(timeout=PATIENCE)
    assert (message["content"]["text"], message["parent_header"]["msg_id"]) == ("late\n", message_id)
    assert shell.run("wait").status == "ok"  # a shell reaps its jobs when it has something to do


def test_what_a_cell_changes_of_its_surroundings_does_not_lose_the_next_ones(shell: Notebook) -> None:
    for code in (
        "PS1='(venv) '",
        "set -x",
        "set -v",
        "IFS=,",
        "set -f",
        "alias printf=false command=false",
        "exec 2>/dev/null",
        "trap : INT",
    ):
        assert shell.run(code).status == "ok", code
        assert "ok\n" in shell.run("echo ok").text, code
    assert shell.run("set +xvf; unset IFS; unalias printf command; trap - INT; PS1=").status == "ok"


def test_a_program_of_a_cell_has_no_descriptor_of_the_control_pipe(shell: Notebook) -> None:
    found = dict(re.findall(r"(\d+) -> ((?:pipe|socket):\[\d+\])", shell.run("ls -l /proc/self/fd").text))
    assert set(found) <= {"0", "1", "2", "5", "8"}
    assert found["0"] == found["5"]
    assert streams(shell.run("echo 'x' >&5 || echo closed"))["stdout"] == "closed\n"


def test_a_here_document_without_end_does_not_swallow_what_follows(shell: Notebook) -> None:
    shell.run("kept=yes")
    shell.run("cat <<EOF\n$kept")
    assert shell.run("cat <<EOF\n$kept\nEOF").text == "yes\n"


def complete(notebook: Notebook, code: str) -> list[str]:
    reply = notebook.ask("complete_request", {"code": code, "cursor_pos": len(code)}, "shell")
    found: list[str] = reply["matches"]
    assert code[reply["cursor_start"] : reply["cursor_end"]] == code[reply["cursor_start"] :]
    return found


def test_commands_functions_variables_and_paths_are_completed(shell: Notebook) -> None:
    shell.run("my_function() { :; }; MY_VARIABLE='a\nMY_FALSE=1'; mkdir -p /tmp/deep; : >'/tmp/deep/a file'; cd /tmp/deep")
    assert complete(shell, "busyb") == ["busybox"]
    assert "my_function" in complete(shell, "true && my_f")
    assert complete(shell, "echo ${MY_V") == ["MY_VARIABLE"]
    assert complete(shell, "ls /tmp/de") == ["/tmp/deep/"]
    assert complete(shell, "cat a") == ["a\\ file"]
    assert complete(shell, "cat 'a f") == ["a\\ file"]
    assert complete(shell, "ls /nonexistent/") == []
    assert "cd" in complete(shell, "c")


@pytest.mark.parametrize(
    ("code", "status"),
    [("echo hi", "complete"), ("if true", "incomplete"), ("echo 'a", "incomplete"), ("cat <<END\na", "incomplete"), ("fi", "invalid")],
)
def test_whether_a_cell_is_complete(shell: Notebook, code: str, status: str) -> None:
    assert shell.ask("is_complete_request", {"code": code}, "shell")["status"] == status


def test_inspection_tells_what_a_word_is(shell: Notebook) -> None:
    shell.run("inspected() { echo 1; }; SEEN=value")
    for word, told in (("cd", "builtin"), ("inspected", "function"), ("SEEN", "SEEN=value")):
        reply = shell.ask("inspect_request", {"code": word, "cursor_pos": 1, "detail_level": 0}, "shell")
        assert told in reply["data"]["text/plain"]
    assert shell.ask("inspect_request", {"code": "nosuchthing", "cursor_pos": 1, "detail_level": 0}, "shell")["found"] is False


def test_the_kernel_says_which_shell_it_is(shell: Notebook, spec: str) -> None:
    info = shell.ask("kernel_info_request", {})
    assert info["language_info"]["file_extension"] == ".sh"
    assert info["language_info"]["version"][0].isdigit()
    assert ("bash" if "bash" in spec else "busybox") in info["banner"]


def test_a_cell_of_a_megabyte_runs(shell: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell.client.session, "copy_threshold", 1 << 30)  # without copying, pyzmq would start a thread that stays
    assert shell.run(f"x='{'é' * 500_000}'; echo ${{#x}}").text in ("500000\n", "1000000\n")


def _driver(notebook: Notebook) -> int:
    """The process that drives the notebook's shell."""
    children = [int(pid) for file in Path(f"/proc/{notebook.pid}/task").glob("*/children") for pid in file.read_text().split()]
    return next(pid for pid in children if b"cellhold_kernel.shell" in Path(f"/proc/{pid}/cmdline").read_bytes())


def test_50_mb_of_output_come_without_loss_and_with_bounded_memory(shell: Notebook) -> None:
    message_id = shell.client.execute(f"head -c {OUTPUT_BYTES} /dev/zero | tr '\\0' a; echo end >&2")
    cell = Cell({})
    while cell.states[-1:] != ["idle"]:  # read while it runs, as front ends do: of what nobody reads for 10 s the rest is left out
        message = shell.client.get_iopub_msg(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") == message_id:
            cell.published.append(message)
    assert shell.reply(message_id)["content"]["status"] == "ok"
    assert streams(cell)["stdout"] == "a" * OUTPUT_BYTES
    assert streams(cell)["stderr"] == "end\n"
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{_driver(shell)}/status").read_text())
    assert peak is not None
    assert int(peak[1]) << 10 < MEMORY_MOST


def test_exit_ends_the_kernel_and_the_cell_says_so(fresh: Notebook) -> None:
    driver = _driver(fresh)
    cell = fresh.run("echo bye; exit 3")
    assert cell.text.startswith("bye\n")
    assert cell.error.startswith("ShellEnded: the shell exited with status 3\nhint: ")
    assert until(lambda: is_gone(fresh.pid))
    assert until(lambda: is_gone(driver))


def test_a_kernel_that_is_killed_takes_its_driver_and_its_container_with_it(fresh: Notebook) -> None:
    everything = descendants(fresh.pid)
    assert _driver(fresh) in everything
    fresh.client.execute("while :; do sleep 1; done")
    os.kill(fresh.pid, signal.SIGKILL)
    assert until(lambda: all(map(is_gone, everything)))  # the launcher too, which sweeps up before it goes


def test_a_cell_that_is_killed_at_the_memory_limit_says_so_and_the_notebook_goes_on(fresh: Notebook) -> None:
    cell = fresh.run("x=0123456789abcdef; while :; do x=$x$x; done")
    assert "memory limit" in cell.error or "exit status" in cell.error or "ShellEnded" in cell.error
    assert fresh.run("echo here").text.endswith("here\n")
