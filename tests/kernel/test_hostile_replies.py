"""What a container may answer in place of JSON: whoever asked gets an answer, and nothing is lost for others."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels import beside, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernels import Notebook

pytestmark = [pytest.mark.shared_kernels, pytest.mark.usefixtures("jupyter_path")]

_DEEP = 100_000
UNREADABLE = {
    "NaN": b'{"status": "ok", "n": NaN}',
    "Infinity": b'{"status": "ok", "n": [-Infinity]}',
    "a number beyond the largest": b'{"status": "ok", "n": 1e999}',
    "lists in lists": b'{"status": "ok", "n": ' + b"[" * _DEEP + b"]" * _DEEP + b"}",
    "objects in objects": b'{"n": ' * _DEEP + b"1" + b"}" * _DEEP,
    "nested almost as deeply as Python reads": b'{"n": ' * 940 + b"1" + b"}" * 940,
    "an integer of 5000 digits": b'{"status": "ok", "n": ' + b"9" * 5000 + b"}",
    "nothing": b"",
    "a list": b'["ok"]',
    "cut off": b'{"status": "ok", "n": "',
    "UTF-16": '{"status": "ok"}'.encode("utf-16"),
}
READABLE = {
    "a lone surrogate": b'{"status": "ok", "\\ud800": "\\udc80"}',
    "no UTF-8 in a text": b'{"status": "ok", "n": "\xff\xfe"}',
    "a key twice": b'{"status": "error", "status": "ok"}',
    "brackets in a text": b'{"status": "ok", "n": "' + b"[" * _DEEP + b'"}',
    "a large text": b'{"status": "ok", "n": "' + b"x" * (1 << 19) + b'"}',
}


def text(raw: bytes) -> str:
    return raw.decode("latin-1")


def script(**wanted: Any) -> str:
    """The code of a cell (see puppet.py). A file: what is sent in large frames leaves zmq with threads of its own in this process."""
    with tempfile.NamedTemporaryFile("w", dir=os.environ["CELLHOLD_HOME"], suffix=".json", delete=False) as file:
        json.dump(wanted, file)
    return file.name


def send(notebook: Notebook, kind: str, content: bytes, channel: str = "shell") -> str:
    """Send a message with that content as it is, which jupyter_client would refuse or mend; its id."""
    session = notebook.client.session
    header = session.msg_header(kind)
    signed = [session.pack(header), b"{}", b"{}", content]
    getattr(notebook.client, f"{channel}_channel").socket.send_multipart([b"<IDS|MSG>", session.sign(signed), *signed])
    return str(header["msg_id"])


@contextmanager
def _stage(log: Path, **texts: str) -> Iterator[Notebook]:
    """A notebook whose cell kernel is puppet.py. Whatever it sends, the host kernel has no traceback to tell of."""
    with log.open("wb") as file, running(beside("puppet.py", **texts), stderr=file) as notebook:
        yield notebook
        _is_well(notebook)
    assert "Traceback" not in log.read_text()


def _is_well(notebook: Notebook) -> None:
    assert notebook.ask("kernel_info_request", {}, "shell")["status"] == "ok"
    assert notebook.reply(notebook.client.execute("1"))["content"]["status"] == "ok"


@pytest.fixture(scope="module")
def shared(jupyter_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    del jupyter_path
    with _stage(tmp_path_factory.mktemp("shared") / "log") as notebook:
        yield notebook


@pytest.fixture
def notebook(shared: Notebook) -> Iterator[Notebook]:
    """One of several tests, well after each of them."""
    yield shared
    _is_well(shared)


def test_an_answer_that_nobody_can_read_is_an_error_in_words(notebook: Notebook) -> None:
    for raw in UNREADABLE.values():
        cell = notebook.run(script(reply=text(raw)))
        assert cell.status == "error"
        assert cell.reply["evalue"].startswith("cannot pass on the cell kernel's answer: "), cell.reply
    for raw in READABLE.values():
        assert notebook.run(script(reply=text(raw))).status == "ok"


@pytest.mark.parametrize("kind", ["complete", "inspect", "history", "is_complete", "comm_info", "debug", "nonsuch"])
def test_each_kind_of_question_is_answered(kind: str, notebook: Notebook) -> None:
    for raw in (*UNREADABLE.values(), *READABLE.values()):
        notebook.run(script(answers={f"{kind}_request": text(raw)}))
        channel = "control" if kind == "debug" else "shell"
        assert notebook.ask(f"{kind}_request", {"code": "{}"}, channel)["status"] in ("ok", "error", "unknown")


def test_the_comms_of_a_panel_are_told_whatever_the_container_says_of_its_own(tmp_path: Path) -> None:
    """The answer to this one is put together from both sides."""
    shapes = [b'{"status": "ok", "comms": %s}' % raw for raw in (b"NaN", b"[]", b'{"a": 1e999}', b'"\\ud800"', b"null", b'{"b": []}')]
    with _stage(tmp_path / "log") as notebook:
        notebook.run("%container panel")
        for raw in (*UNREADABLE.values(), *READABLE.values(), *shapes):
            notebook.run(script(answers={"comm_info_request": text(raw)}))
            answer = notebook.ask("comm_info_request", {}, "shell")
            assert answer["status"] == "ok"
            assert any(name.startswith("cellhold-") for name in answer["comms"])


def test_a_cell_whose_answer_went_to_another_client_is_still_told_what_has_become_of_it(tmp_path: Path) -> None:
    with _stage(tmp_path / "log", memory="256m") as notebook:
        cell = notebook.run(script(answers_another=True))
        assert cell.reply["ename"] == "MemoryLimitExceeded"


def test_what_a_cell_kernel_says_it_is_cannot_keep_a_paused_notebook_from_being_answered(tmp_path: Path) -> None:
    language = '"protocol_version": "5.3", "language_info": {"name": "python"}, "status": "ok"'
    with _stage(tmp_path / "log") as notebook:
        for raw in ('"n": NaN', '"n": 1e999', '"n": ' + '{"n": ' * 900 + "1" + "}" * 900, '"\\ud800": "\\udfff"'):
            notebook.run(script(answers={"kernel_info_request": f"{{{language}, {raw}}}"}))
            notebook.ask("kernel_info_request", {}, "shell")
            notebook.run("%container pause")
            assert notebook.ask("kernel_info_request", {}, "shell")["status"] == "ok"
            notebook.run("%container unpause")


def test_the_header_that_a_cells_output_belongs_to_may_be_anything(tmp_path: Path) -> None:
    """What the host kernel adds to a cell (here: that it has written too much) is said with a parent header from the container."""
    levels = range(700, 1000, 5)  # somewhere there Python still reads what it cannot write again
    deep = ['{"msg_id": "THIS", "n": ' + '{"n": ' * depth + "1" + "}" * (depth + 1) for depth in levels]
    with _stage(tmp_path / "log", output="1k") as notebook:
        for parent in (
            "[]",
            "NaN",
            '{"msg_id": NaN}',
            '{"msg_id": "THIS", "n": 1e999}',
            '{"msg_id": {"a": []}}',
            '{"msg_id": "\\ud800"}',
            *deep,
        ):
            published = [
                ["execute_input", '{"execution_count": 1e400, "code": ""}', None],
                ["execute_input", '{"execution_count": 5, "code": ""}', None],
                ["stream", json.dumps({"name": "stdout", "text": "x" * 2000}), parent],
                ["status", '{"execution_state": ["idle"]}', parent],
                ["status", '{"execution_state": NaN}', parent],
                ["comm_msg", '{"comm_id": {"a": 1}}', parent],
                ["error", "[]", parent],
                ["clear_output", "", parent],
            ]
            message = notebook.client.execute(script(publish=published))
            assert notebook.reply(message)["content"]["status"] == "ok"


_values = st.recursive(
    st.sampled_from([None, True, "", "x", "\ud800", "\x1b[31m", "cellhold-panel", 0, -1, 1 << 80, 1e300, float("nan"), float("inf")]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["status", "comms", "n", "code", "text"]), inner, max_size=3)
    ),
    max_leaves=6,
)
_FIELDS = (
    *("status", "execution_count", "execution_state", "comms", "comm_id", "target_name", "data", "text", "name", "ename", "evalue"),
    *("traceback", "protocol_version", "language_info", "supported_features", "matches", "cursor_start", "prompt", "payload", "code"),
)
_contents = st.dictionaries(st.sampled_from(_FIELDS), _values, max_size=6).map(json.dumps)
_bytes = st.one_of(
    _contents,
    st.tuples(_contents, st.integers(0, 200), st.sampled_from(["\xff", "\0", "{", "[", '"', "\\", "NaN", "1e999"])).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
    ),
)
_kinds = st.sampled_from(
    "status execute_input stream display_data error comm_open comm_msg comm_close clear_output execute_result x input_request".split()
)


@pytest.fixture(scope="module")
def stage(jupyter_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    del jupyter_path
    with _stage(tmp_path_factory.mktemp("stage") / "log") as notebook:
        notebook.run("%container panel")
        yield notebook


@pytest.mark.random
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(reply=_bytes, comms=_bytes, info=_bytes, published=st.lists(st.tuples(_kinds, _bytes, st.none() | _bytes), max_size=4))
def test_whatever_the_container_sends_every_question_is_answered(
    stage: Notebook, reply: str, comms: str, info: str, published: list[Any]
) -> None:
    answers = {"comm_info_request": comms, "kernel_info_request": info}
    message = stage.client.execute(script(reply=reply, publish=published, answers=answers), store_history=False)
    stage.reply(message)
    stage.ask("comm_info_request", {}, "shell")
    stage.ask("kernel_info_request", {}, "shell")


_requests = st.sampled_from(
    "execute complete inspect is_complete history comm_info kernel_info comm_open comm_msg comm_close interrupt usage debug x".split()
)
_CODES = (
    *("%container image=\ud800", "%container image=\0", "%container kernel=\ud800", "%limits memory=\ud800", "%network egress=\ud800"),
    *("%%dockerfile \ud800\nFROM host", "%%dockerfile x\nFROM \ud800", "%%run \ud800", "%%run host\n\ud800", "%container commit \ud800"),
    *("%container panel \ud800", "%container kill \ud800", "%container \ud800", "%container volume='", "%limits cpus=1e999"),
    *("%container volume=\ud800:/x", "%container tmpfs=/\ud800", "%container ports=\ud800", "%container network=\ud800"),
)


def test_what_cannot_be_written_in_a_cell_is_refused_in_words(notebook: Notebook) -> None:
    for code in _CODES:
        reply = notebook.reply(send(notebook, "execute_request", json.dumps({"code": code}).encode()))["content"]
        assert reply["status"] == "error"
        assert "cannot " in reply["evalue"]
        assert "log" not in reply["evalue"]


@pytest.mark.random
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kind=_requests, channel=st.sampled_from(["shell", "control"]), content=_bytes)
def test_whatever_a_front_end_asks_it_is_answered(stage: Notebook, kind: str, channel: str, content: str) -> None:
    is_request = "comm_" not in kind or kind == "comm_info"
    message = send(stage, f"{kind}_request" if is_request else kind, content.encode("latin-1"), channel)
    if is_request:
        stage.reply(message, channel)
    assert stage.ask("kernel_info_request", {}, "shell")["status"] == "ok"
