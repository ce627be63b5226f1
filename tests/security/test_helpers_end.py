"""Helper processes on the host end with whoever started them, however that one ended; what they were at is scratch, and freed."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

from cellhold import helper
from cellhold.container.recovery import sweep
from cellhold.store import scratch
from cellhold.store.home import open_home
from kernels import descendants, is_gone, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.store.home import Home

ROOT = Path(__file__).parents[2]
ENDS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
PATIENCE = 60.0
# What a helper starts itself, and a mark to find both by.
FAMILY = "import subprocess, time; subprocess.Popen(['/bin/sh', '-c', 'sleep 1000; : {mark}']); time.sleep(1000)"
FETCH = """
from pathlib import Path
from cellhold_kernel.images.found import Python
from cellhold_kernel.images.wheels import fetch
python = Python(path=sys.executable, real="", prefix="/usr", version=(3, 11), libc="glibc", machine="x86_64")
fetch(python, Path({home!r}, "wheels"), index="http://127.0.0.1:{port}/", store=Path({home!r}))
"""


def with_words(mark: str) -> set[int]:
    """The processes whose command lines have it."""
    there = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes() and not is_gone(int(entry.name)):
                there.add(int(entry.name))
    return there


@pytest.fixture
def mark() -> Iterator[str]:
    """A word that the processes of a test have in their command lines; what is left of them in the end is ended."""
    word = f"mark{os.urandom(8).hex()}"
    yield word
    for pid in with_words(word):
        os.kill(pid, signal.SIGKILL)


def starter(code: str) -> subprocess.Popen[bytes]:
    """A process of ours that starts helpers: itself no helper, so that nothing but its end ends them."""
    begin = f"import os, signal, sys; sys.path[:0] = {sys.path!r}; from cellhold import helper\n"
    begin += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a shell's background jobs ignore
    return subprocess.Popen([sys.executable, "-c", begin + code], start_new_session=True)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "how", ["helper.run({words})", "child = helper.start({words}); child.wait()", "child = helper.start({words}, env={{}}); child.wait()"]
)
def test_a_helper_ends_with_its_starter_and_with_what_it_has_started(how: str, end: signal.Signals, mark: str) -> None:
    words = f"helper.python_code({FAMILY.format(mark=mark)!r})"
    process = starter(how.format(words=words))
    assert until(lambda: len(with_words(mark)) == 3)  # the starter's own words have it
    process.send_signal(end)
    process.wait()
    assert until(lambda: not with_words(mark), PATIENCE)


def test_a_program_that_is_no_python_of_ours_ends_too(mark: str, tmp_path: Path) -> None:
    words = ["/bin/sh", "-c", f"sleep 1000 & sleep 1000; : {mark}"]
    tied = tmp_path / "tied"  # by its starter, where it is no Python of ours
    process = starter(f"child = helper.start({words!r}); open({str(tied)!r}, 'w'); child.wait()")
    assert until(lambda: tied.exists() and len(with_words(mark)) == 2)
    (shell,) = with_words(mark) - {process.pid}
    assert until(lambda: len(descendants(shell)) == 2)
    family = {shell, *descendants(shell)}
    process.kill()
    process.wait()
    assert until(lambda: all(map(is_gone, family)), PATIENCE)


def test_a_helper_in_our_own_session_ends_alone(mark: str, tmp_path: Path) -> None:
    """A credential helper's group is the terminal's, and the notebook server's."""
    words = ["/bin/sh", "-c", f"sleep 1000; : {mark}"]
    code = f"import subprocess; subprocess.Popen({['/bin/sh', '-c', f'sleep 1000; : beside {mark}']!r}); "
    tied = tmp_path / "tied"
    process = starter(f"{code}child = helper.start({words!r}, has_session=False); open({str(tied)!r}, 'w'); child.wait()")
    assert until(lambda: tied.exists() and len(with_words(mark)) == 3)
    process.kill()
    process.wait()
    assert until(lambda: len(with_words(mark)) == 1, PATIENCE)
    time.sleep(0.2)
    assert len(with_words(f"beside {mark}")) == 1
    os.killpg(process.pid, signal.SIGKILL)


def test_a_helper_does_not_end_with_the_thread_that_started_it(mark: str) -> None:
    made: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: made.append(helper.start(helper.python_code(FAMILY.format(mark=mark)))))
    thread.start()
    thread.join()
    (process,) = made
    assert until(lambda: len(with_words(mark)) == 2)
    assert process.poll() is None
    process.kill()
    process.wait()
    made.clear()
    del process
    assert until(lambda: not with_words(mark), PATIENCE)


def test_whoever_ends_before_a_helper_is_tied_ends_it_too(mark: str) -> None:
    """Killed between its fork and what it does next."""
    code = "import os, signal; from cellhold.linux import lifeline\nlifeline.tie = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    process = starter(f"{code}helper.start(helper.python_code({FAMILY.format(mark=mark)!r}))")
    process.wait()
    assert until(lambda: not with_words(mark), PATIENCE)


def test_what_outlives_its_starter_is_the_networks_programs_and_who_thaws() -> None:
    untied = {
        str(path.relative_to(ROOT / package))
        for package in ("runtime/cellhold", "kernel/cellhold_kernel")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "is_tied"
    }
    assert untied == {"network/usermode_process.py", "container/commit.py"}


# ------------------------------------------------------------------------------------------------------------- a kernel layer


def wheels(home: Home) -> set[Path]:
    """Return the directories of wheels in the store, which are complete."""
    return {entry for entry in (home.root / "wheels").glob("*") if entry.is_dir()}


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """An index that is asked and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("end", ENDS)
def test_a_kernel_layer_that_is_interrupted_leaves_no_pip_and_what_was_fetched_is_freed(end: signal.Signals, silent: socket.socket) -> None:
    home = open_home()
    before = wheels(home)  # of other tests of this session
    process = starter(FETCH.format(home=str(home.root), port=silent.getsockname()[1]))
    silent.settimeout(PATIENCE)
    connection, _address = silent.accept()
    with connection:
        assert with_words("runpy.run_module('pip'")
        family = descendants(process.pid)
        assert family
        process.send_signal(end)
        process.wait()
        assert until(lambda: all(map(is_gone, family)), PATIENCE)
    assert wheels(home) == before
    if end == signal.SIGKILL:
        assert list((home.root / scratch.NAME).iterdir())
    sweep(home)
    assert not list((home.root / scratch.NAME).iterdir())


def test_scratch_that_somebody_uses_is_not_swept() -> None:
    home = open_home()
    with scratch.scratch(home.root) as place:
        sweep(home)
        assert place.is_dir()


@pytest.mark.requires("root", "overlayfs")
@pytest.mark.usefixtures("jupyter_path")
def test_a_host_kernel_that_is_killed_leaves_no_helper() -> None:
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        notebook.run("%container panel")
        notebook.client.execute("%%dockerfile x\nFROM host\nRUN sleep 1000")
        assert until(lambda: bool(with_words("cellhold_kernel.jobs.build") & descendants(notebook.pid)))
        family = descendants(notebook.pid)
        helpers = {pid for word in ("cellhold_kernel.jobs.build", "widgets.picture") for pid in with_words(word) & family}
        assert len(helpers) >= 2
        os.kill(notebook.pid, signal.SIGKILL)
        assert until(lambda: all(map(is_gone, helpers)), PATIENCE)
        assert until(lambda: all(map(is_gone, family)), PATIENCE)
