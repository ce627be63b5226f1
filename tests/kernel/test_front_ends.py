"""Jupyter's own programs, unchanged: nbclient, jupyter execute, nbconvert, papermill; and a front end's widgets."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from kernels import PATIENCE, running

if TYPE_CHECKING:
    from pathlib import Path

    from kernels import Notebook

pytestmark = [pytest.mark.requires("root", "overlayfs"), pytest.mark.usefixtures("jupyter_path")]
GREEDY = "b = bytearray(1 << 30)"


def made_of(*cells: str) -> Any:
    """A notebook (nbformat has no types) that asks for the kernel `cellhold-small`."""
    notebook_format: Any = nbformat
    made = notebook_format.v4.new_notebook(cells=[notebook_format.v4.new_code_cell(cell) for cell in cells])
    made.metadata["kernelspec"] = {"name": "cellhold-small", "display_name": "small", "language": "python"}
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The same on disk."""
    path = tmp_path / "one.ipynb"
    path.write_text(json.dumps(made_of("import os\nprint(os.path.exists('/run/cellhold'))", "%container pids=99\n20 + 1")))
    return path


def outputs(path: Path) -> list[str]:
    cells = json.loads(path.read_text())["cells"]
    return ["".join(output.get("text") or output["data"]["text/plain"]) for cell in cells for output in cell.get("outputs", [])]


def jupyter(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", *words], check=True, capture_output=True, timeout=3 * PATIENCE)


def is_executed(path: Path) -> bool:
    inside, replaced, result = outputs(path)
    return inside == "True\n" and "pids 99 (ready after" in replaced and result == "21"


def test_jupyter_execute(file: Path) -> None:
    jupyter("jupyter", "execute", "--inplace", file)
    assert is_executed(file)


@pytest.mark.notebooks
def test_nbconvert(file: Path) -> None:
    jupyter("jupyter", "nbconvert", "--execute", "--to", "notebook", "--output", "two", file)
    assert is_executed(file.with_name("two.ipynb"))


@pytest.mark.notebooks
def test_papermill(file: Path) -> None:
    jupyter("papermill", file, file.with_name("two.ipynb"), "-k", "cellhold-small", "--no-progress-bar")
    assert is_executed(file.with_name("two.ipynb"))


def test_a_memory_kill_is_a_cell_error_to_nbclient() -> None:
    with pytest.raises(CellExecutionError, match="cell 2 was killed: the container reached its memory limit of 256 MiB"):
        NotebookClient(made_of("1", GREEDY, "2")).execute()


def test_where_errors_are_allowed_the_notebook_goes_on_in_a_fresh_container() -> None:
    made: Any = NotebookClient(made_of("x = 1", GREEDY, "'x' in globals()"), allow_errors=True).execute()
    (error,), (told, result) = made.cells[1].outputs, made.cells[2].outputs
    assert error.ename == "MemoryLimitExceeded"
    assert "its variables are gone; %container memory=512m raises the limit" in error.traceback[1]
    assert told.text.startswith("note: cell 2 was killed: the container reached its memory limit of 256 MiB")
    assert result.data["text/plain"] == "False"


def test_a_kernel_whose_container_cannot_start_says_so_in_its_first_cell_and_can_be_repaired() -> None:
    with running(KernelManager(kernel_name="cellhold-broken")) as notebook:
        cell = notebook.run("1")
        assert cell.status == "error"
        assert "nonsuch" in cell.error
        assert "hint: " in cell.error
        assert notebook.ask("complete_request", {"code": "zi", "cursor_pos": 2}, "shell")["matches"] == []
        assert "nonsuch" in notebook.run("%container").text
        assert notebook.run("%container image=host\n1 + 1").text.endswith("2")


def test_widgets_speak_with_their_front_end(kernel: Notebook) -> None:
    code = "import ipywidgets; w = ipywidgets.IntSlider(3); seen = []; w.observe(lambda c: seen.append(c.new), 'value'); w.model_id"
    made = kernel.run(code)
    model = made.text.strip("'")
    assert any(message["content"]["comm_id"] == model for message in made.published if message["msg_type"] == "comm_open")
    data = {"method": "update", "state": {"value": 7}, "buffer_paths": []}
    kernel.client.shell_channel.send(kernel.client.session.msg("comm_msg", {"comm_id": model, "data": data}))
    assert kernel.run("w.value, seen").text == "(7, [7])"
    assert model in kernel.ask("comm_info_request", {"target_name": "jupyter.widget"}, "shell")["comms"]


@pytest.mark.notebooks
def test_the_tests_of_ipywidgets_pass_in_a_cell(kernel: Notebook) -> None:
    words = "-q --color=no -p no:cacheprovider --override-ini=filterwarnings=default --pyargs ipywidgets".split()
    code = f"import os, pytest\nos.chdir('/tmp')\nint(pytest.main({words!r}))"
    cell = kernel.collect(kernel.client.execute(code), patience=400)
    assert cell.text.endswith("\n0"), cell.text
    assert int(cell.text.split(" passed")[0].split()[-1]) > 300


def test_the_debugger_and_subshells_answer(kernel: Notebook) -> None:
    features = kernel.ask("kernel_info_request", {})["supported_features"]
    assert {"debugger", "kernel subshells"} <= set(features)
    attach = {"type": "request", "seq": 1, "command": "initialize", "arguments": {"clientID": "t", "adapterID": "", "pathFormat": "path"}}
    assert kernel.ask("debug_request", attach)["success"]
    subshell = kernel.ask("create_subshell_request", {})["subshell_id"]
    sleeping = kernel.client.execute("import time; time.sleep(2); slept = True")
    message = kernel.client.session.msg("execute_request", {"code": "beside = 1", "silent": False, "store_history": True})
    message["header"]["subshell_id"] = subshell
    kernel.client.shell_channel.send(message)
    assert kernel.reply(message["header"]["msg_id"])["content"]["status"] == "ok"  # while the cell sleeps
    assert kernel.reply(sleeping)["content"]["status"] == "ok"


def test_the_extra_arguments_of_nbclient_reach_the_cell_kernel() -> None:
    with running(KernelManager(kernel_name="cellhold-small"), "--HistoryManager.hist_file=:memory:") as notebook:
        assert notebook.run("get_ipython().history_manager.hist_file").text == "':memory:'"


@pytest.mark.parametrize("transport", ["ipc", "curve"])
def test_other_transports_work_as_well(transport: str) -> None:
    manager = KernelManager(kernel_name="cellhold-small", transport="ipc" if transport == "ipc" else "tcp")
    if transport == "curve":
        manager.transport_encryption = "required"
    with running(manager) as notebook:
        assert notebook.run("1 + 1").text == "2"
