"""What a cell says arrives whole, however large it is, and the host kernel stays small; what is left out is told, with the key for it."""

from __future__ import annotations

import json
import os
import re
import resource
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kernels import PATIENCE, beside, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernels import Cell, Notebook

pytestmark = [pytest.mark.shared_kernels, pytest.mark.usefixtures("jupyter_path")]

MOST_MB = 100
_FORGET_PEAK = "5"  # proc_pid_clear_refs(5)
LARGE = 40_000_000  # bytes: more than is held of a message
SHOW = "from IPython.display import display\ndisplay({{'{kind}': 'x' * {size}}}, raw=True)"


@pytest.fixture(scope="module")
def shared(jupyter_path: Path) -> Iterator[Notebook]:
    del jupyter_path
    with running(beside("standin.py")) as started:
        yield started


@pytest.fixture
def notebook(shared: Notebook) -> Notebook:
    """One of several tests, the peak of whose memory is each test's own."""
    Path(f"/proc/{shared.pid}/clear_refs").write_text(_FORGET_PEAK)
    return shared


@pytest.fixture
def own() -> Iterator[Notebook]:
    """One of a test's own, which changes its limits."""
    with running(beside("standin.py")) as started:
        yield started


def peak_megabytes(pid: int) -> float:
    """The most resident memory that a process ever had (proc_pid_status(5)), pages of files included."""
    match = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) * 1024 / 1e6


def printed(cell: Cell, name: str = "stdout") -> str:
    return "".join(content["text"] for content in cell.of("stream") if content["name"] == name)


def script(*published: tuple[str, str]) -> str:
    """The code of a cell of puppet.py that publishes these."""
    with tempfile.NamedTemporaryFile("w", dir=os.environ["CELLHOLD_HOME"], suffix=".json", delete=False) as file:
        json.dump({"publish": [[kind, content, None] for kind, content in published]}, file)
    return file.name


# ---------------------------------------------------------------------------------------------------------------- text streams


def test_fast_printing_arrives_whole(notebook: Notebook) -> None:
    cell = notebook.run("for i in range(34): print(i, 'q' * 1_000_000)")
    assert cell.status == "ok"
    assert printed(cell).splitlines() == [f"{number} {'q' * 1_000_000}" for number in range(34)]
    assert printed(cell, "stderr") == ""
    assert peak_megabytes(notebook.pid) < MOST_MB


@pytest.mark.flood
def test_a_text_of_any_letters_arrives_whole_and_in_its_place(notebook: Notebook) -> None:
    code = "print('before', flush=True)\nprint('é😀\"\\\\\\n' * 8_000_000)\ndisplay('between')\nprint('after')"
    cell = notebook.run(code)
    assert printed(cell) == "before\n" + 'é😀"\\\n' * 8_000_000 + "\nafter\n"
    kinds = [message["msg_type"] for message in cell.published]
    assert kinds[:2] == ["status", "execute_input"]
    assert kinds[-1] == "status"
    assert [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if kind != before][2:-1] == ["stream", "display_data", "stream"]
    assert len({message["header"]["msg_id"] for message in cell.published}) == len(cell.published)


@pytest.mark.parametrize(
    ("content", "arrives"),
    [
        ('{"text": "%s", "name": "stderr"}', ("stderr", "é")),
        pytest.param(
            '{ "more": [{"name": "x"}, "text"],\n"name":"stdout" ,"text" : "%s" , "x": null}',
            ("stdout", "\\u00e9"),
            marks=pytest.mark.flood,
        ),
        pytest.param('{"text": "%s"}', ("stdout", "é"), marks=pytest.mark.flood),
    ],
)
def test_a_stream_arrives_whole_however_it_is_written(content: str, arrives: tuple[str, str]) -> None:
    name, spelt = arrives
    raw = (content % (f"{spelt}\\n" * (LARGE // (len(spelt.encode()) + 2)))).encode()
    with running(beside("puppet.py")) as notebook:
        cell = notebook.run(script(("stream", raw.decode("latin-1"))))
        assert {written["name"] for written in cell.of("stream")} == {name}
        assert printed(cell, name) == json.loads(raw)["text"]
        assert peak_megabytes(notebook.pid) < MOST_MB


def test_of_a_stream_that_is_not_one_the_good_part_arrives_and_the_rest_is_told() -> None:
    with running(beside("puppet.py")) as notebook:
        cell = notebook.run(script(("stream", '{"name": "stdout", "text": "' + "x" * LARGE + "\\q")))
        assert len(printed(cell)) > LARGE - (1 << 20)
        assert printed(cell, "stderr") == "cellhold: stream was left out, from some point on: Invalid \\escape\n"


def test_the_output_limit_counts_the_pieces(own: Notebook) -> None:
    assert own.run("%limits output=5m").status == "ok"
    cell = own.run("import time\nprint('x' * 50_000_000)\ntime.sleep(100)")
    assert 3 << 20 < len(printed(cell)) <= 5 << 20
    assert "OutputLimitExceeded" in printed(cell, "stderr")
    assert cell.reply["ename"] == "KeyboardInterrupt"


# ------------------------------------------------------------------------------------------------------------------ rich output


@pytest.mark.parametrize(
    "kind",
    [
        "text/html",
        pytest.param("application/vnd.plotly.v1+json", marks=pytest.mark.flood),
        pytest.param("image/png", marks=pytest.mark.flood),
    ],
)
def test_a_large_display_arrives_as_it_was_sent(kind: str, notebook: Notebook) -> None:
    cell = notebook.run(SHOW.format(kind=kind, size=100_000_000))
    assert [content["data"][kind] for content in cell.of("display_data")] == ["x" * 100_000_000]
    assert printed(cell, "stderr") == ""
    assert peak_megabytes(notebook.pid) < MOST_MB
    assert notebook.run("print('still')").text == "still\n"


@pytest.mark.flood
def test_what_is_larger_than_a_message_may_be_is_told_with_the_key_that_raises_it(own: Notebook) -> None:
    assert own.run("%limits message=50m").status == "ok"
    cell = own.run(SHOW.format(kind="text/html", size=60_000_000))
    (text,) = [content["text"] for content in cell.of("stream")]
    assert text == (
        "cellhold: display_data was left out, it has 57.2 MiB; a message can have 50 MiB\nhint: %limits message=64m raises the limit\n"
    )
    assert cell.status == "ok"
    assert own.run("%limits message=64m").status == "ok"
    assert own.run(SHOW.format(kind="text/html", size=60_000_000)).of("stream") == []
    assert "a message can have 1 MiB" in own.run("%limits message=1m\n" + SHOW.format(kind="text/html", size=2_000_000)).text
    assert "a cell's messages need at least 1 MiB" in own.run("%limits message=10k").error


def test_a_message_that_the_host_has_no_room_for_is_told(own: Notebook) -> None:
    resource.prlimit(own.pid, resource.RLIMIT_FSIZE, (10_000_000, -1))
    cell = own.run(SHOW.format(kind="text/html", size=LARGE))
    assert printed(cell, "stderr") == "cellhold: display_data was left out, it could not be kept on the host's disk: File too large\n"
    assert cell.status == "ok"
    assert len(printed(own.run(f"print('x' * {LARGE})"))) == LARGE + 1  # text needs no room


def test_displays_are_replaced_and_cleared_as_ever(notebook: Notebook) -> None:
    code = "from IPython.display import clear_output, display\nshown = display('x', display_id='a')\n"
    code += f"shown.update({{'text/html': 'x' * {LARGE}}}, raw=True)\nclear_output()\nprint('done')"
    cell = notebook.run(code)
    kinds = [message["msg_type"] for message in cell.published]
    assert kinds[2:-1] == ["display_data", "update_display_data", "clear_output", "stream"]
    assert cell.of("update_display_data")[0]["transient"] == {"display_id": "a"}


# ---------------------------------------------------------------------------------------------------------------------- widgets

WIDGET = "import ipywidgets\nimage = ipywidgets.Image(value=bytes({size}))\nimage\n"


def views(cell: Cell) -> list[dict[str, Any]]:
    return [content["data"] for content in cell.of("execute_result")]


def test_a_large_widget_arrives_whole(notebook: Notebook) -> None:
    cell = notebook.run(WIDGET.format(size=LARGE))
    (opened,) = [message for message in cell.published if message["msg_type"] == "comm_open" and message["buffers"]]
    assert [len(buffer) for buffer in opened["buffers"]] == [LARGE]
    assert "application/vnd.jupyter.widget-view+json" in views(cell)[0]
    assert peak_megabytes(notebook.pid) < MOST_MB


def test_a_widget_whose_state_was_left_out_is_told_in_its_place(own: Notebook) -> None:
    own.run("%limits message=1m")
    cell = own.run(WIDGET.format(size=2_000_000))
    shown = {"text/plain": "cellhold: a widget is not shown: its state, or that of one in it, was left out"}
    assert views(cell) == [shown]
    assert "comm_open was left out, it has 1.9 MiB; a message can have 1 MiB" in printed(cell, "stderr")
    assert views(own.run("ipywidgets.VBox([image])")) == [shown]
    assert "application/vnd.jupyter.widget-view+json" in views(own.run("ipywidgets.IntSlider()"))[0]


def test_nothing_passes_for_the_panels_widgets_however_large_it_is() -> None:
    filling = "x" * LARGE
    forged = [
        f'{{"comm_id": "cellhold-panel", "data": "{filling}"}}',
        f'{{"comm_id": "x", "data": "{filling}", "comm\\u005fid": "\\u0063ellhold-panel"}}',
        f'{{"comm_id": ["cellhold-panel"], "data": "{filling}"}}',
        f'{{"data": "{filling}"}}',
    ]
    with running(beside("puppet.py")) as notebook:
        for content in forged:
            cell = notebook.run(script(("comm_msg", content)))
            assert (cell.of("comm_msg"), cell.of("stream"), cell.status) == ([], [], "ok")
        cell = notebook.run(script(("comm_msg", f'{{"data": {{"comm_id": "cellhold-panel", "x": "{filling}"}}, "comm_id": "theirs"}}')))
        assert [content["comm_id"] for content in cell.of("comm_msg")] == ["theirs"]


# ---------------------------------------------------------------------------------------------------------------------- replies

BIG = {"big": f"'x' * {LARGE}"}


def test_a_large_reply_arrives_whole(notebook: Notebook) -> None:
    cell = notebook.run("1", user_expressions=BIG)
    assert cell.status == "ok"
    assert len(cell.reply["user_expressions"]["big"]["data"]["text/plain"]) == LARGE + 2
    assert peak_megabytes(notebook.pid) < MOST_MB


def test_a_cell_whose_reply_was_left_out_ends_as_it_would_have(own: Notebook) -> None:
    own.run("%limits message=1m")
    first = own.client.execute("1", user_expressions=BIG)
    second = own.client.execute("2")
    failing = own.client.execute("1/0", user_expressions=BIG)
    cell = own.collect(first)
    assert cell.reply["status"] == "ok"
    assert cell.reply["user_expressions"] == {}
    assert cell.text == "1"
    assert own.collect(second).status == "ok"
    assert own.collect(failing).status == "error"
    own.run("f = lambda: 1\nf.__doc__ = 'x' * 2_000_000")
    assert own.ask("inspect_request", {"code": "f", "cursor_pos": 1, "detail_level": 0}, "shell")["status"] == "ok"


@pytest.mark.flood
def test_a_large_reply_that_nobody_can_read_gets_an_answer() -> None:
    with running(beside("puppet.py")) as notebook:
        for bad in ('{"status": "ok", "n": [NaN, "%s"]}', '{"status": "ok", "n": "%s"', "[" * 300 + '"%s"' + "]" * 300):
            with tempfile.NamedTemporaryFile("w", dir=os.environ["CELLHOLD_HOME"], suffix=".json", delete=False) as file:
                json.dump({"reply": bad % ("x" * LARGE)}, file)
            assert "cannot pass on the cell kernel's answer" in notebook.run(file.name).reply["evalue"]


# --------------------------------------------------------------------------------------------------------------------- fairness


@pytest.mark.flood
def test_control_is_answered_while_a_large_message_is_on_its_way(notebook: Notebook) -> None:
    cell = notebook.client.execute(f"print('x' * {4 * LARGE})\n" + SHOW.format(kind="text/html", size=2 * LARGE))
    answers = [notebook.ask("kernel_info_request", {})["status"] for _ in range(10)]
    assert answers == ["ok"] * 10
    assert notebook.client.hb_channel.is_beating()
    whole = notebook.collect(cell, patience=PATIENCE)
    assert len(printed(whole)) == 4 * LARGE + 1
    assert len(whole.of("display_data")[0]["data"]["text/html"]) == 2 * LARGE
    assert peak_megabytes(notebook.pid) < MOST_MB
