"""Every command that can stand still hears Ctrl-C, and SIGTERM, wherever it stands: within a second on a quiet machine.

Each case (interrupt_cases.py) makes the place where the command stands. `pytest --junitxml` has the seconds that each took.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cellhold.image.archive.importing import import_root
from cellhold.store.home import open_home
from interrupt_cases import CASES
from standing import IMAGE, PATIENCE_SECONDS, At, stands_still
from tars import Tar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cellhold.store.home import Home
    from standing import Case

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")

LONGEST_SECONDS = 5.0  # on a machine that others use; each takes less than one where nobody does
SETTLING_SECONDS = 0.3


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, busybox_root: Path) -> Path:
    """A store with a small image."""
    store = tmp_path_factory.mktemp("template") / "store"
    tar = Tar().add("bin/busybox", (busybox_root / "bin/busybox").read_bytes(), mode=0o755)
    tar.symlink("bin/sh", "busybox").symlink("bin/sleep", "busybox").add("big", os.urandom(8 << 20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLHOLD_HOME", str(store))
        import_root(io.BytesIO(tar.content()), IMAGE, open_home())
    return store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: Path) -> Home:
    """A store of this test's own, with that image."""
    subprocess.run(["cp", "--archive", template, tmp_path / "store"], check=True)
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "store"))
    return open_home()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("case", CASES, ids=[case.__name__ for case in CASES])
def test_a_command_that_stands_still_hears_a_signal(
    case: Callable[[At], Case], number: signal.Signals, home: Home, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with ExitStack() as closing:
        over = threading.Event()
        made = case(At(home, tmp_path, closing, over))
        closing.callback(over.set)
        words = [*made.before, sys.executable, "-m", "cellhold.cli", *made.words]
        env = {**os.environ, **made.env}
        process = closing.enter_context(subprocess.Popen(words, stdin=made.stdin, stdout=made.stdout, stderr=subprocess.PIPE, env=env))
        closing.callback(process.kill)
        wait_for(made.stands or partial(stands_still, process.pid), process)
        time.sleep(SETTLING_SECONDS)
        assert process.poll() is None, process.communicate()
        began = time.monotonic()
        process.send_signal(number)
        _out, said = process.communicate(timeout=PATIENCE_SECONDS)
        seconds = time.monotonic() - began
        request.node.user_properties.append(("seconds", f"{seconds:.2f}"))
        ended_by_itself = [-number] if number == signal.SIGTERM else []  # what only waits has nothing to take back
        assert process.returncode in (128 + number, *ended_by_itself), said
        assert b"Traceback" not in said
        assert seconds < LONGEST_SECONDS
    wait_for(lambda: not left(home), None)


def left(home: Home) -> list[Path]:
    """What is half done in the store, but for what came of a blob: the next pull goes on there."""
    places = (home.root / "scratch", home.containers, home.root / "blobs/drafts")
    found = [path for place in places if place.exists() for path in place.iterdir()]
    return [path for path in found if not (path.parent.name == "drafts" and path.stat().st_size)]


def wait_for(what: Callable[[], object], process: subprocess.Popen[bytes] | None) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
