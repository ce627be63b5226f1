"""ContainerPanel: the panel of a container that a plain Python notebook on the host has made."""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from boxes import command
from kernels import PATIENCE, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernels import Notebook

pytestmark = [pytest.mark.requires("root", "overlayfs", "cgroup-freezer"), pytest.mark.usefixtures("jupyter_path")]

MAKE = """
from cellhold import Container, Limits, Spec
from cellhold_kernel import ContainerPanel
box = Container.create(Spec(image="host", args=("sh", "-c", "while :; do :; done"), limits=Limits(cpus=0.5, memory_bytes=64 << 20)))
box.start()
panel = ContainerPanel(box)
panel
"""


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    """Of a plain ipykernel on the host."""
    manager = KernelManager()
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    monkeypatch.setattr(manager, "_kernel_spec", KernelSpec(argv=command, display_name="plain", language="python"))
    with running(manager) as opened:
        yield opened
        opened.run("panel.close(); box.remove(force=True)")


def view(made: Any) -> str:
    return str(made["data"]["application/vnd.jupyter.widget-view+json"]["model_id"])


def say(notebook: Notebook, model: str, **content: Any) -> None:
    data = {"method": "custom", "content": {"view": "test", **content}}
    notebook.client.shell_channel.send(notebook.client.session.msg("comm_msg", {"comm_id": model, "data": data}))


def test_it_shows_the_container_and_its_buttons_act_on_it(notebook: Notebook) -> None:
    made = notebook.run(MAKE).of("display_data")[0]
    assert "[running], image host · memory 64 MiB · 0.5 cpus" in made["data"]["text/plain"]
    model = view(made)
    say(notebook, model, do="hello")
    say(notebook, model, do="act", id="1", action="pause")
    assert until(lambda: notebook.run("print(box.state)").text == "paused\n")
    say(notebook, model, do="act", id="2", action="unpause")
    say(notebook, model, do="act", id="3", action="kill")
    assert until(lambda: notebook.run("print(box.state, panel)").text.startswith("stopped"))
    say(notebook, model, do="act", id="4", action="start")
    assert until(lambda: notebook.run("print(box.state)").text == "running\n")
    assert "cannot" not in notebook.run("print(panel._panel._says)").text
    say(notebook, model, do="act", id="5", action="remove")
    assert "cannot remove the container: it runs: stop it first" in notebook.run("print(panel._panel._says)").text


def test_a_picture_stands_in_for_it_and_is_kept_up_to_date_while_nobody_sees_it(notebook: Notebook) -> None:
    live, still = notebook.run(MAKE).of("display_data")
    assert still["data"]["image/png"]
    (newer,) = notebook.run("box.pause()").of("update_display_data")
    assert newer["transient"] == still["transient"]
    assert "[paused]" in newer["data"]["text/plain"]
    assert newer["data"]["image/png"] != still["data"]["image/png"]
    _live, other = notebook.run("other = ContainerPanel(box)\nother").of("display_data")
    assert other["transient"] != still["transient"]
    assert [said["transient"] for said in notebook.run("other.close()").of("update_display_data")] == [still["transient"]]
    say(notebook, view(live), do="hello")
    assert until(lambda: notebook.run("1").of("update_display_data") == [])
    assert len(notebook.run("ContainerPanel(box, 'layers')").of("display_data")) == 1  # no picture says much of those


def wait_for_records(notebook: Notebook, count: int) -> list[float]:
    """The moments of at least so many, in order."""
    end = time.monotonic() + PATIENCE
    while len(records := json.loads(notebook.run("print(json.dumps(panel.records()))").text)) < count:
        assert time.monotonic() < end
        time.sleep(1)
    return [float(one["time"]) for one in records]


def used_seconds(container: str) -> float:
    """The processor time of a container as the kernel counts it."""
    places = ("cpuacct/cellhold/{}/cpuacct.usage", "unified/cellhold/{}/cpu.stat", "cellhold/{}/cpu.stat")
    text = next(path for name in places if (path := Path("/sys/fs/cgroup", name.format(container))).exists()).read_text()
    return float(text.split()[1]) / 1e6 if text.startswith("usage_usec") else float(text) / 1e9


def measured(records: list[dict[str, Any]]) -> float:
    """The processor time between the first and the last of these records."""
    return float(sum(later["cpu"] * (later["time"] - one["time"]) for one, later in pairwise(records)))


def test_what_was_measured_is_there_as_records_and_as_a_data_frame(notebook: Notebook) -> None:
    notebook.run(MAKE)
    container = notebook.run("import json; print(box.id)").text.strip()
    begun, before = wait_for_records(notebook, 2), used_seconds(container)
    ended, after = wait_for_records(notebook, 8), used_seconds(container)
    wait_for_records(notebook, len(ended) + 2)
    records, column = json.loads(notebook.run("print(json.dumps([panel.records(), list(panel.df()['cpu'].fillna(-1))]))").text)
    assert records[0]["cpu"] is None  # not measured yet
    # As the kernel counts them meanwhile: more than in the spans between two samples that lie inside, less than in those around.
    inside = measured([one for one in records if begun[-1] <= one["time"] <= ended[-2]])
    around = measured([one for one in records if begun[-2] <= one["time"]])
    assert 0 < inside <= (after - before) * 1.02
    assert (after - before) <= around * 1.02
    assert records[-1]["memory"] > 0
    assert column[: len(records)] == [-1 if one["cpu"] is None else one["cpu"] for one in records]
    assert notebook.run("print(panel.df().index.dtype)").text.startswith("datetime64")


def test_parts_are_chosen_by_name(notebook: Notebook) -> None:
    notebook.run(MAKE)
    assert view(notebook.run("monitor = ContainerPanel(box, 'monitor'); monitor").of("display_data")[0])
    assert notebook.run("print(monitor.parts)").text == "['charts', 'cells']\n"
    assert notebook.run("ContainerPanel(box, 'nonsuch')").status == "error"


def test_a_detached_container_of_anybody_is_shown_and_acted_on(notebook: Notebook) -> None:
    code = MAKE.replace("Container.create(", "Detached.create(").replace("import Container,", "import Detached,")
    made = notebook.run(code).of("display_data")[0]
    assert "[running], image host · memory 64 MiB · 0.5 cpus" in made["data"]["text/plain"]
    model = view(made)
    say(notebook, model, do="hello")
    assert command("pause", notebook.run("print(box.id)").text.strip()).returncode == 0  # by another process
    assert until(lambda: "[paused]" in notebook.run("print(panel)").text)
    say(notebook, model, do="act", id="1", action="unpause")
    assert until(lambda: notebook.run("print(box.state)").text == "running\n")
    say(notebook, model, do="act", id="2", action="kill")
    assert until(lambda: notebook.run("print(box.state, panel)").text.startswith("stopped"))
    assert until(lambda: "The container ended: killed by user" in notebook.run("print(panel._panel.sampler.marks)").text)
