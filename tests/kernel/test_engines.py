"""What every engine does for a notebook; each test runs on the local one and on one that has nothing but a TCP connection."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import carried
import far_side
from cellhold_kernel.engine.base import Feature
from kernels import PATIENCE, beside, real, running, until
from views import hear, tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kernels import Notebook

ENGINES = [
    pytest.param("local", marks=pytest.mark.requires("root", "overlayfs", "cgroup-memory")),
    pytest.param("carried"),
]

CELLS = {
    Feature.PAUSE: "%container pause",
    Feature.COMMIT: "%container commit lab/left:1",
    Feature.UPDATE: "%limits memory=300m",
    Feature.LAYERS: "%container layers",
    Feature.TRACE: "%container trace",
    Feature.FILES: "%container mount=new",
    Feature.BUILD: "%%dockerfile lab/left:1\nFROM host\n",
    Feature.PACKAGES: "%pip install tiny",
    Feature.RUN: "%%run busybox\ntrue\n",
}
COMM = """
from ipykernel.comm import Comm
heard = []
comm = Comm("test")
comm.on_msg(lambda message: heard.append(message["content"]["data"]))
"""


@pytest.fixture(scope="module")
def far() -> Iterator[str]:
    """The address of a far side."""
    command = [sys.executable, far_side.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **_path()}) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


def _path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(params=ENGINES, scope="module")
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def missing(engine: str) -> Mapping[Feature, str]:
    """What this engine says that it lacks."""
    return {} if engine == "local" else carried.CarriedEngine.missing


@contextmanager
def opened(engine: str, far: str, folder: Path) -> Iterator[Notebook]:
    """A notebook with a limit of 256 MiB."""
    manager = real(memory="256m") if engine == "local" else beside("carried.py", memory="256m")
    with running(manager, env={**os.environ, carried.ADDRESS: far}, cwd=str(folder)) as notebook:
        yield notebook


@pytest.fixture(scope="module")
def notebook(engine: str, far: str, jupyter_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """One of several tests, which leave its container where it is."""
    del jupyter_path
    with opened(engine, far, tmp_path_factory.mktemp("folder")) as notebook:
        yield notebook


@pytest.fixture
def own(engine: str, far: str, jupyter_path: Path, tmp_path: Path) -> Iterator[Notebook]:
    """One of a test's own."""
    del jupyter_path
    with opened(engine, far, tmp_path) as notebook:
        yield notebook


def test_a_cell_gives_its_output_its_result_and_its_error(notebook: Notebook) -> None:
    cell = notebook.run("import sys; print('out'); print('err', file=sys.stderr); 6 * 7")
    assert {content["name"] for content in cell.of("stream")} == {"stdout", "stderr"}
    assert "42" in cell.text
    failed = notebook.run("1 / 0")
    assert failed.status == "error"
    assert "ZeroDivisionError" in failed.error


def test_much_output_comes_whole_and_in_order(notebook: Notebook) -> None:
    cell = notebook.run("for number in range(20_000): print(number)")
    assert cell.text == "".join(f"{number}\n" for number in range(20_000))


def test_an_interrupt_ends_the_cell_and_keeps_the_variables(notebook: Notebook) -> None:
    notebook.run("kept = 5")
    asked = notebook.client.execute("import time; print('begun'); time.sleep(1000)")
    until_begun(notebook, asked)
    notebook.ask("interrupt_request", {})
    assert "KeyboardInterrupt" in notebook.collect(asked).error
    assert notebook.run("kept").text == "5"


def until_begun(notebook: Notebook, asked: str) -> None:
    while True:
        message = notebook.client.get_iopub_msg(timeout=PATIENCE)
        if message["msg_type"] == "stream" and message["parent_header"].get("msg_id") == asked:
            return


def test_a_cell_asks_for_a_line_and_gets_it(notebook: Notebook) -> None:
    asked = notebook.client.execute("print(input('name? ').upper())", allow_stdin=True)
    question = notebook.client.get_stdin_msg(timeout=PATIENCE)
    assert question["content"]["prompt"] == "name? "
    notebook.client.input("ada")
    assert notebook.collect(asked).text == "ADA\n"


def test_a_comm_goes_both_ways(notebook: Notebook) -> None:
    made = notebook.run(COMM)
    (opened,) = made.of("comm_open")
    message = notebook.client.session.msg("comm_msg", {"comm_id": opened["comm_id"], "data": {"value": 7}})
    notebook.client.shell_channel.send(message)
    assert until(lambda: notebook.run("heard").text == "[{'value': 7}]")


def test_a_cell_over_the_memory_limit_is_told_so_and_the_next_one_runs_in_a_fresh_container(own: Notebook) -> None:
    own.run("lost = 1")
    killed = own.run("held = b'x' * (600 << 20)")
    (error,) = killed.of("error")
    assert error["ename"] == "MemoryLimitExceeded"
    assert "memory limit of 256 MiB" in killed.error
    after = own.run("print('lost' in globals())")
    assert "False" in after.text
    assert "replaced by a fresh one" in after.text


def test_a_container_that_is_killed_is_kept_and_starts_again_with_its_files(own: Notebook) -> None:
    own.run("from pathlib import Path; _ = Path.cwd().joinpath('file').write_text('here')")
    asked = own.client.execute("import time; print('begun'); time.sleep(1000)")
    until_begun(own, asked)
    own.client.execute("%container kill")
    assert "ContainerKilled" in own.collect(asked).error
    assert "the container is stopped" in own.run("1").error
    own.run("%container start")
    assert own.run("from pathlib import Path; print(Path('file').read_text())").text == "here\n"


def test_restart_makes_a_fresh_container(own: Notebook) -> None:
    own.run("before = 1")
    assert own.run("%container restart").status == "ok"
    assert own.run("print('before' in globals())").text == "False\n"


def test_the_panel_greys_out_what_the_engine_lacks(own: Notebook, missing: Mapping[Feature, str]) -> None:
    shown = own.run("%container panel")
    text = shown.of("display_data")[0]["data"]["text/plain"]
    assert ("not measured" in _line(text, "memory")) is (Feature.USAGE in missing)
    assert ("not measured" in _line(text, "processes")) is (Feature.USAGE in missing)
    tell(own, {"do": "hello"})
    state = hear(own, lambda said: said["t"] == "full")
    assert state["state"] == "running"
    assert state["actions"]["pause"] == missing.get(Feature.PAUSE)
    assert state["actions"]["commit"] == missing.get(Feature.COMMIT)
    assert state["actions"]["stop"] is None
    assert bool(state["steps"]) is (Feature.TRACE not in missing)
    assert bool(state["layers"]) is (Feature.LAYERS not in missing)


def _line(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(word))


def test_what_is_lacking_is_refused_with_the_reason(notebook: Notebook, missing: Mapping[Feature, str]) -> None:
    for feature in missing.keys() & CELLS.keys():  # what an engine that has it does is the subject of that feature's own tests
        cell = notebook.run(CELLS[feature])
        assert cell.status == "error"
        assert missing[feature] in cell.error


def test_an_image_that_the_engine_has_not_got_is_refused_and_the_old_container_stays(notebook: Notebook) -> None:
    notebook.run("stays = 3")
    assert notebook.run("%container image=/no/such/image").status == "error"
    assert notebook.run("stays").text == "3"
