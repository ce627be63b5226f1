"""The notebooks of the tour, each run whole by the kernel that its readers will have."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

pytestmark = [pytest.mark.requires("root", "overlayfs", "cgroup-memory", "disk-limit"), pytest.mark.usefixtures("jupyter_path")]


@cache  # two tests look at the same one
def run(path: Path) -> list[Any]:
    """Its code cells, with their outputs. Raises CellExecutionError where a cell fails that is not meant to."""
    notebook_format: Any = nbformat  # it has no types
    notebook = notebook_format.read(path, as_version=4)
    kernel = notebook.metadata.kernelspec.name
    NotebookClient(
        notebook, kernel_name=kernel, timeout=120, iopub_timeout=60, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem.startswith("00") else pytest.mark.notebooks, id=path.stem)
        for path in NOTEBOOKS
        if path.stem in ("00-hello-container", "01-the-panel")
    ],
)
def test_a_notebook_does_what_it_says(path: Path) -> None:
    cells = run(path)
    meant = [cell for cell in cells if "raises-exception" in cell.metadata.get("tags", ())]
    assert meant
    for cell in meant:
        assert [output.ename for output in cell.outputs if output.output_type == "error"] == ["MemoryLimitExceeded"]
    assert all(output.output_type != "error" for cell in cells if cell not in meant for output in cell.outputs)


@pytest.mark.notebooks
def test_the_panel_notebook_keeps_a_picture_of_its_end() -> None:
    cells = run(next(path for path in NOTEBOOKS if path.stem == "01-the-panel"))
    panel = next(cell for cell in cells if cell.source == "%container panel")
    live, still = panel.outputs
    assert live.data["application/vnd.jupyter.widget-view+json"]["model_id"] == "cellhold-panel"
    assert still.data["image/png"]
    assert "✖ One process was killed at the memory limit in cell" in still.data["text/plain"]
    assert "✖ OOM kill" in still.data["text/plain"]


@pytest.mark.notebooks
def test_the_tour_of_docker_s_words_does_what_it_says() -> None:
    cells = run(next(path for path in NOTEBOOKS if path.stem == "02-docker-run"))
    assert all(output.output_type != "error" for cell in cells for output in cell.outputs)
    told = [_told(cell) for cell in cells]
    for state in ("[created]", "[running]", "[paused]", "[stopped]", "[removed]"):
        assert any(state in text for text in told), state
    assert any("it runs: stop it first" in text for text in told)
    assert any("container oom" in text for text in told)
    assert any(text.startswith("by the first container\n") for text in told)  # PostgreSQL, in the second
    assert told[-1].split() == "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES DRIVER VOLUME NAME".split()


@pytest.mark.notebooks
@pytest.mark.requires("bridge-networks")
def test_the_network_is_taken_apart() -> None:
    cells = run(next(path for path in NOTEBOOKS if path.stem == "03-network"))
    assert all(output.output_type != "error" for cell in cells for output in cell.outputs)
    told = "\n".join(map(_told, cells))
    for words in (
        "['lo']\n",
        "RTM_NEWROUTE(default via 10.87.0.1)",
        "9.9.9.9 answers 192.0.2.1\n",  # the world sees the host
        "first says hello to 10.87.0.1\n",
        "127.0.0.1 . tcp . 3001 : 10.87.0.",
        "169.254.169.254 No route to host\n",
        "Refused(address='10.1.2.3', protocol='tcp', port=80, packets=",
        "allow=10.1.0.0/16\n",
        "10.1.2.3 10.1.2.3 answers 192.0.2.1\n",  # from then on
        "egress allow=10.1.0.0/16\n",  # the panel's words
        "  published 127.0.0.1:3002->80/tcp\n",
        "  refused tcp to 169.254.169.254:80, ",
    ):
        assert words in told, words
    received = re.search(r"(\d+\.\d) MB in ", told)  # by the last look, which may be a tenth of a second before the end
    assert received is not None
    assert 7.7 <= float(received[1]) <= 8.4, received[0]
    pictures = [cell.source.splitlines()[-1] for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert pictures[-1] == "panel"
    assert len(pictures) == 2  # and the rate
    assert told.endswith("nothing\n")


def _told(cell: Any) -> str:
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
