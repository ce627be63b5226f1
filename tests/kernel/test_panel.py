"""The panel as front ends speak with it: comms that the host kernel answers, whatever the container does; and its picture."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

from kernels import PATIENCE, running
from views import PANEL, hear, tell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernels import Cell, Notebook

pytestmark = [
    pytest.mark.requires("root", "overlayfs", "cgroup-freezer"),
    pytest.mark.shared_kernels,
    pytest.mark.usefixtures("jupyter_path"),
]

PNG = b"\x89PNG\r\n\x1a\n"
SHOW = "%container panel"
BUSY = "input('until the test has seen enough')"
FORGED = """
import comm, ipykernel.comm
theirs = ipykernel.comm.Comm(target_name="jupyter.widget", comm_id="cellhold-panel", data={"state": {"_esm": "evil"}})
theirs.send({"method": "custom", "content": {"t": "ack", "text": "forged"}})
own = ipykernel.comm.Comm(target_name="mine", comm_id="own-comm", data={})
"""


@pytest.fixture(scope="module")
def notebook(jupyter_path: Path) -> Iterator[Notebook]:
    """One of several tests, whose panel somebody has seen."""
    del jupyter_path
    with running(KernelManager(kernel_name="cellhold-small")) as opened:
        opened.run(SHOW)
        yield opened


@pytest.fixture
def fresh() -> Iterator[Notebook]:
    """One of a test's own, whose panel nobody has seen."""
    with running(KernelManager(kernel_name="cellhold-small")) as opened:
        yield opened


def begin(notebook: Notebook) -> str:
    """Start a cell that runs until `end` is called."""
    busy = str(notebook.client.execute(BUSY, allow_stdin=True))
    assert notebook.client.get_stdin_msg(timeout=PATIENCE)["msg_type"] == "input_request"
    return busy


def end(notebook: Notebook, busy: str) -> Cell:
    notebook.client.input("")
    return notebook.collect(busy)


def test_it_has_a_live_view_and_a_picture_that_is_never_older_than_the_last_cell(fresh: Notebook) -> None:
    shown = fresh.run(SHOW)
    live, still = shown.of("display_data")
    assert live["data"]["application/vnd.jupyter.widget-view+json"]["model_id"] == PANEL
    assert [content["comm_id"] for content in shown.of("comm_open")] == [PANEL]
    assert base64.b64decode(still["data"]["image/png"]).startswith(PNG)
    assert "[running], image host · memory 256 MiB" in still["data"]["text/plain"]
    later = fresh.run("held = bytearray(b'x') * (60 << 20)")
    update = later.of("update_display_data")[0]
    assert update["transient"] == still["transient"]
    assert "[2] ok" in update["data"]["text/plain"]
    assert update["data"]["image/png"] != still["data"]["image/png"]
    killed = fresh.run("bytearray(b'x') * (1 << 30)")
    words = killed.of("update_display_data")[0]["data"]["text/plain"]
    assert "✖ One process was killed at the memory limit in cell 3." in words
    assert "[3] ✖ OOM kill" in words


def test_views_are_answered_while_a_cell_runs_and_while_it_stands_still(notebook: Notebook) -> None:
    notebook.run(SHOW)
    busy = begin(notebook)
    tell(notebook, {"do": "hello"})
    full = hear(notebook, lambda said: said["t"] == "full")
    assert full["state"] == "running"
    assert full["actions"]["unpause"] == "it is not paused"
    assert full["limits"]["memory"] == 256 << 20
    tell(notebook, {"do": "act", "id": "1", "action": "pause"})
    assert hear(notebook, lambda said: said["t"] == "ack") | {"text": ""} == {"t": "ack", "id": "1", "ok": True, "text": ""}
    first = hear(notebook, lambda said: said["t"] == "s" and said["s"][0][9] == 1)["s"][0]
    second = hear(notebook, lambda said: said["t"] == "s")["s"][0]
    assert 0.2 < second[0] - first[0] < 5
    tell(notebook, {"do": "act", "id": "2", "action": "pause"})
    refused = hear(notebook, lambda said: said["t"] == "ack")
    assert (refused["ok"], refused["text"]) == (False, "cannot pause the container: it is paused already")
    tell(notebook, {"do": "act", "id": "3", "action": "unpause"})
    assert hear(notebook, lambda said: said["t"] == "ack")["ok"] is True
    tell(notebook, {"do": "act", "id": "4", "action": "format the disk"})
    assert "there is no such action" in hear(notebook, lambda said: said["t"] == "ack")["text"]
    assert end(notebook, busy).status == "ok"


def test_a_tick_is_small_however_many_cells_there_were(fresh: Notebook) -> None:
    fresh.run(SHOW)
    tell(fresh, {"do": "hello"})  # a picture of each of the thirty would be painted for whoever does not look
    for number in range(30):
        fresh.run(str(number))
    tell(fresh, {"do": "hello"})
    hear(fresh, lambda said: said["t"] == "full" and len(said["cells"]) == 31)
    busy = fresh.client.execute(
        "held = []\nfor _ in range(40): held.append(bytearray(b'x') * (1 << 20)); time.sleep(0.05)".replace("held", "import time; held", 1)
    )
    sizes = [len(json.dumps(hear(fresh, lambda said: said["t"] in {"s", "state"}))) for _ in range(8)]
    assert max(sizes) < 1000
    assert fresh.reply(busy)["content"]["status"] == "ok"


def test_a_cell_says_that_it_stood_still(notebook: Notebook) -> None:
    notebook.run(SHOW)
    tell(notebook, {"do": "hello"})
    busy = begin(notebook)
    hear(notebook, lambda said: said["t"] == "state" and any(cell["result"] == "runs" for cell in said["changed"].get("cells", ())))
    tell(notebook, {"do": "act", "id": "1", "action": "pause"})
    hear(notebook, lambda said: said["t"] == "state" and any(cell["paused"] > 1 for cell in said["changed"].get("cells", ())))
    tell(notebook, {"do": "act", "id": "2", "action": "unpause"})
    cell = end(notebook, busy)
    assert cell.status == "ok"
    assert re.search(rf"\[{cell.count}\] ok, .*paused for \d+\.\d s", notebook.run("%container panel").text)


def test_a_line_under_each_cell_says_what_it_has_used_to_who_wants_that(notebook: Notebook) -> None:
    first = notebook.run("1")
    assert first.of("display_data") == []
    words = "each cell is followed by a line about what it has used\n"
    assert notebook.run("%container footer on").text.startswith(f"{words}└ [{first.count + 1}] ok")
    line = notebook.run("held = bytearray(b'x') * (60 << 20)").text
    assert re.fullmatch(
        rf"└ \[{first.count + 2}\] ok, \d+\.\d s, \d+\.\d s of CPU.*, memory peak \d+(\.\d)? MiB, change \+\d+(\.\d)? MiB.*", line
    )
    assert notebook.run("1 / 0").text.startswith(f"└ [{first.count + 3}] error")
    assert notebook.run("%container footer off").text == "cells have no footer\n"
    assert notebook.run("1").of("display_data") == []
    assert "cannot use %container footer maybe: unknown word" in notebook.run("%container footer maybe").error


def test_faces_are_named_and_each_is_a_widget_of_its_own(fresh: Notebook) -> None:
    for name in ("compact", "layers", "monitor", "controls"):
        shown = fresh.run(f"%container panel {name}")
        live = shown.of("display_data")[0]
        assert live["data"]["application/vnd.jupyter.widget-view+json"]["model_id"] == f"cellhold-{name}"
        assert live["data"]["text/plain"]
    comms = fresh.ask("comm_info_request", {}, "shell")["comms"]
    assert set(comms) == {"cellhold-compact", "cellhold-layers", "cellhold-monitor", "cellhold-controls"}
    assert "one of panel, compact, layers, monitor, controls" in fresh.run("%container panel nonsuch").error


def test_nothing_is_sent_while_nobody_looks(notebook: Notebook) -> None:
    notebook.run(SHOW)
    tell(notebook, {"do": "hello"})
    hear(notebook, lambda said: said["t"] == "s")
    tell(notebook, {"do": "asleep"})
    time.sleep(1)
    while notebook.client.iopub_channel.msg_ready():
        notebook.client.get_iopub_msg(timeout=0)
    time.sleep(1.5)
    assert not notebook.client.iopub_channel.msg_ready()


def test_front_ends_that_come_later_find_it_beside_the_containers_own(fresh: Notebook) -> None:
    assert fresh.ask("comm_info_request", {}, "shell")["comms"] == {}
    fresh.run(SHOW)
    fresh.run("import ipykernel.comm; own = ipykernel.comm.Comm(target_name='mine', comm_id='own-comm')")
    both = {PANEL: {"target_name": "jupyter.widget"}, "own-comm": {"target_name": "mine"}}
    assert fresh.ask("comm_info_request", {}, "shell")["comms"] == both
    assert fresh.ask("comm_info_request", {"target_name": "mine"}, "shell")["comms"] == {"own-comm": {"target_name": "mine"}}
    message = fresh.client.session.msg("comm_msg", {"comm_id": PANEL, "data": {"method": "request_state"}})
    fresh.client.shell_channel.send(message)
    assert "class Panel" in hear(fresh, lambda _said: True, method="update")["_esm"]
    fresh.run("%container pause")
    assert set(fresh.ask("comm_info_request", {}, "shell")["comms"]) == {PANEL}
    fresh.run("%container unpause")


def test_the_container_cannot_be_there_first(fresh: Notebook) -> None:
    for forged in (FORGED, FORGED.replace("cellhold-panel", "cellhold-layers")):
        assert [content["comm_id"] for content in fresh.run(forged).of("comm_open")] == ["own-comm"]


def test_the_container_cannot_speak_for_it(notebook: Notebook) -> None:
    notebook.run(SHOW)
    forged = notebook.run(FORGED)
    assert forged.status == "ok", forged.error
    assert [content["comm_id"] for content in forged.of("comm_open")] == ["own-comm"]
    assert forged.of("comm_msg") == []


def test_a_commit_by_button_is_answered_when_the_image_is_there(fresh: Notebook, shell_image: str) -> None:
    fresh.run(f"%container image={shell_image}")
    fresh.run("echo kept > /kept")
    fresh.run(SHOW)
    tell(fresh, {"do": "act", "id": "1", "action": "commit", "arguments": ["kept-by-panel:1"]})
    made = hear(fresh, lambda said: said["t"] == "ack")
    assert made["ok"], made["text"]
    assert "is now image kept-by-panel:1, with a new layer of" in made["text"]
    assert fresh.run("%container image=kept-by-panel:1\ncat /kept").text.endswith("kept\n")
    again = fresh.run("%container commit kept-by-word:1")
    assert "is now image kept-by-word:1" in str(again.of("update_display_data") + again.of("display_data"))
