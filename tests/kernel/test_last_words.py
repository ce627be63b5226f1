"""What a cell has said arrives, also what it said just before it was killed; then, what has killed it."""

from __future__ import annotations

import ast
import os
import time
from typing import TYPE_CHECKING

import pytest
import zmq
from jupyter_client.manager import KernelManager

from cellhold_kernel import install
from cellhold_kernel.engine.local.last_words import LastWords
from cellhold_kernel.protocol.messages import Signer
from cellhold_kernel.transport import exchange
from cellhold_kernel.transport.inside import log
from kernels import PATIENCE, beside, running, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernels import Cell, Notebook

pytestmark = [pytest.mark.shared_kernels, pytest.mark.usefixtures("jupyter_path")]

DIE = "import os; os.kill(os.getpid(), 9)"
SIGNER = Signer("a key")
LINES = "".join(f"{number}\n" for number in range(1000))


@pytest.fixture(scope="module")
def shared(jupyter_path: Path) -> Iterator[Notebook]:
    """Beside it, a kill is one at the memory limit (standin.py)."""
    del jupyter_path
    with running(beside("standin.py", memory="256m")) as started:
        yield started


@pytest.fixture
def notebook(shared: Notebook) -> Notebook:
    """The one of several tests: what is said of a container that was killed before has been said."""
    assert shared.run("pass").status == "ok"
    return shared


@pytest.fixture
def own() -> Iterator[Notebook]:
    """As `shared`, of a test's own: for what ends the kernel, or holds for it until it ends."""
    with running(beside("standin.py", memory="256m")) as started:
        yield started


def printed(cell: Cell, name: str = "stdout") -> str:
    return "".join(content["text"] for content in cell.of("stream") if content["name"] == name)


def last_stream(notebook: Notebook) -> str:
    """What is printed until the thousand lines are there; nobody says `idle` when a kernel has died."""
    text = ""
    while not text.endswith("999\n"):
        message = notebook.client.get_iopub_msg(timeout=PATIENCE)
        text += message["content"].get("text", "")
    return text


def kinds(cell: Cell) -> list[str]:
    return [message["msg_type"] for message in cell.published]


# ------------------------------------------------------------------------------------------------------------- killed, 20 of 20


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.random)])
def test_the_last_lines_arrive_and_then_what_has_killed_the_cell(times: int, notebook: Notebook) -> None:
    for _ in range(times):
        cell = notebook.run(f"for number in range(1000): print(number)\n{DIE}")
        assert printed(cell) == LINES
        assert kinds(cell)[-2:] == ["error", "status"]
        assert cell.reply["ename"] == "MemoryLimitExceeded"


@pytest.mark.requires("root", "overlayfs")
def test_the_last_lines_before_the_memory_limit_arrive(kernel: Notebook) -> None:
    end = "x = bytearray(1)\nwhile True: x += bytes(10_000_000)"
    for _ in range(5):
        cell = kernel.run(f"import sys\nfor number in range(1000): print(number)\nprint('err', file=sys.stderr)\n{end}")
        assert printed(cell) == LINES
        assert printed(cell, "stderr").endswith("err\n")
        assert cell.reply["ename"] == "MemoryLimitExceeded"
        assert kinds(cell)[-2:] == ["error", "status"]


@pytest.mark.requires("root", "overlayfs")
def test_a_cell_that_is_ended_for_its_time_has_said_all_until_then(kernel: Notebook) -> None:
    count = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    count += "for number in range(10**9):\n    print(number); time.sleep(0.001)"
    kernel.run("%limits cell-time=1s")
    cell = kernel.run(count)
    assert cell.reply["ename"] == "TimeLimitExceeded"
    numbers = [int(line) for line in printed(cell).split()]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 1000


def test_what_was_printed_is_no_less_than_what_was_done(notebook: Notebook, tmp_path: Path) -> None:
    """Killed from outside, at any moment."""
    done = tmp_path / "done"
    code = f"file = open({str(done)!r}, 'w')\nfor number in range(10**9):\n    print(number); file.write(f'{{number}}\\n'); file.flush()"
    for _ in range(5):
        done.unlink(missing_ok=True)
        cell = notebook.client.execute(f"{code}")
        assert until(lambda: done.exists() and done.stat().st_size > 100_000)
        notebook.client.execute("%container kill")
        numbers = [int(line) for line in printed(notebook.collect(cell)).split()]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= len(done.read_text().splitlines())
        assert notebook.run("%container restart").status == "ok"


# ------------------------------------------------------------------------------------------------------------- what was said


def test_more_than_the_log_holds_arrives_whole(notebook: Notebook) -> None:
    cell = notebook.run(f"for number in range(34): print(number, 'é' * 1_000_000)\n{DIE}")
    assert printed(cell).splitlines() == [f"{number} {'é' * 1_000_000}" for number in range(34)]


def test_what_was_written_to_the_descriptors_arrives(notebook: Notebook) -> None:
    code = (
        "import os, subprocess\nfor number in range(1000): os.write(1, b'%d\\n' % number)\nsubprocess.run(['sh', '-c', 'echo sub >&2'])\n"
    )
    code += "import ctypes; ctypes.CDLL(None).dprintf(2, b'free(): invalid pointer\\n')\n"
    for _ in range(5):
        cell = notebook.run(code + DIE)
        assert printed(cell) == LINES
        assert printed(cell, "stderr").endswith("sub\nfree(): invalid pointer\n")


def test_every_letter_arrives_wherever_a_pipe_is_cut(notebook: Notebook) -> None:
    cell = notebook.run(
        "import os\nfor _ in range(20): os.write(1, ('x' + 'é' * 50_000).encode())\nos.write(1, b'\\n')\nimport time; time.sleep(1)"
    )
    assert printed(cell) == ("x" + "é" * 50_000) * 20 + "\n"


def test_displays_arrive_in_their_place(notebook: Notebook) -> None:
    for _ in range(5):
        cell = notebook.run(f"for number in range(30):\n    print('a')\n    display(number)\nprint('b')\n{DIE}")
        said = [message["content"] for message in cell.published if message["msg_type"] in {"stream", "display_data"}]
        texts = [content.get("text", content.get("data", {}).get("text/plain")) for content in said if content.get("name") != "stderr"]
        assert texts == [text for number in range(30) for text in ("a\n", str(number))] + ["b\n"]


def test_nothing_arrives_twice(notebook: Notebook) -> None:
    code = "import os, sys, time\nprint('sent', flush=True)\ndisplay('shown')\ntime.sleep(0.5)\n"
    code += "if not (child := os.fork()):\n    print('child', flush=True)\n    time.sleep(0.3)\n    os._exit(0)\n"
    code += "os.waitpid(child, 0)\nprint('late')\n"
    cell = notebook.run(code + DIE)
    assert sorted(printed(cell).split()) == ["child", "late", "sent"]
    assert len(cell.of("display_data")) == 1
    assert printed(notebook.run("print('again')")) == "again\n"


def test_what_a_thread_of_an_earlier_cell_says_is_that_cells(notebook: Notebook) -> None:
    first = notebook.client.execute(
        "import threading\nturn = threading.Event()\ndef speak():\n    turn.wait()\n    print('earlier')\n"
        "speaking = threading.Thread(target=speak)\nspeaking.start()"
    )
    notebook.collect(first)
    second = notebook.client.execute(f"turn.set()\nspeaking.join()\nprint('now')\n{DIE}")
    said: dict[str, str] = {}
    while True:
        message = notebook.client.get_iopub_msg(timeout=PATIENCE)
        if message["msg_type"] == "stream":
            said[message["parent_header"]["msg_id"]] = message["content"]["text"]
        if message["msg_type"] == "error":
            break
    assert said in ({first: "earlier\n", second: "now\n"}, {second: "earlier\nnow\n"})  # which it is, IPython's version decides


def test_the_output_limit_holds_for_it(own: Notebook) -> None:
    own.run("%limits output=100k")
    cell = own.run(f"print('x' * 1_000_000)\n{DIE}")
    assert printed(cell) == ""
    assert "OutputLimitExceeded" in printed(cell, "stderr")


@pytest.mark.parametrize("end", ["import os; os._exit(3)", "import os; os.abort()", "import os; os.kill(os.getpid(), 15)"])
def test_a_kernel_that_ends_by_itself_has_said_it_too(end: str, own: Notebook) -> None:
    own.client.execute(f"for number in range(1000): print(number)\n{end}")
    assert last_stream(own) == LINES
    assert until(lambda: not own.manager.is_alive())


@pytest.mark.requires("root", "overlayfs")
@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ({}, f"for number in range(1000): print(number)\n{DIE}"),
        ({"kernel": "shell"}, "n=0; while [ $n -lt 1000 ]; do echo $n; n=$((n+1)); done; kill -9 $$"),
    ],
    ids=["python", "shell"],
)
def test_a_container_that_ends_by_itself_has_said_it_too(texts: dict[str, str], code: str, jupyter_path: Path) -> None:
    name = f"cellhold-{'-'.join(texts.values())}"
    install.install(jupyter_path, name=name, texts=texts)
    with running(KernelManager(kernel_name=name)) as notebook:
        notebook.client.execute(code)
        assert last_stream(notebook) == LINES
        assert until(lambda: not notebook.manager.is_alive())


def test_a_container_that_is_replaced_while_a_cell_runs_has_said_it_too(notebook: Notebook, tmp_path: Path) -> None:
    done = tmp_path / "done"
    code = f"for number in range(1000): print(number)\nopen({str(done)!r}, 'w').close()\nimport time; time.sleep(100)"
    cell = notebook.client.execute(code)
    assert until(done.exists)
    notebook.client.execute("%container restart")
    whole = notebook.collect(cell)
    assert printed(whole) == LINES
    assert whole.reply["ename"] == "ContainerRestarted"


# ------------------------------------------------------------------------------------------------------------- hostile, behind


SPOIL = """
import gc, mmap, os
(log,) = [found for found in gc.get_objects() if isinstance(found, mmap.mmap) and len(found) > 2 << 20]
log[:] = {bytes} * (len(log) // {size})
"""


@pytest.mark.parametrize(
    "with_what", [b"\xff", b"\x01", b"\x03\x02\0\0\xff\xff\0\0", bytes(range(256))], ids=["flag", "word", "length", "garbage"]
)
def test_a_log_that_was_spoilt_spoils_nothing_else(with_what: bytes, notebook: Notebook) -> None:
    cell = notebook.run(SPOIL.format(bytes=with_what, size=len(with_what)) + DIE)
    assert cell.reply["ename"] == "MemoryLimitExceeded"
    assert printed(notebook.run("print('fine')")).endswith("fine\n")


def _forged(record: Callable[[int], bytes]) -> tuple[LastWords, int]:
    """A log that is full of such records, and how many they are."""
    words, count = LastWords(), 0
    for segment in (0, 1):
        data = bytearray()
        while len(data) + len(more := record(count)) <= log.SEGMENT:
            data += more
            count += 1
        os.pwrite(words.memory, data, log.SEGMENTS + segment * log.SEGMENT)
        os.pwrite(words.memory, log.NUMBER.pack(len(data)), log.USED + 8 * segment)
        os.pwrite(words.memory, log.NUMBER.pack(segment + 1), log.TURN + 8 * segment)
    return words, count


def _text(number: int, *, stream: int = 0, parent: bytes = b"") -> bytes:
    return log.RECORD.pack(log.TEXT, stream, len(parent), 1, number + 1, 0) + parent + b"x"


def _display(number: int) -> bytes:
    parts = SIGNER.make("clear_output", {})
    data = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    return log.RECORD.pack(log.MESSAGE, log.SHOWN, 0, len(data), number + 1, 0) + data


FORGED: dict[str, Callable[[int], bytes]] = {
    "streams": lambda number: _text(number, stream=number % 2),
    "parents": lambda number: _text(number, parent=b"%x" % number),
    "what is no display between": lambda number: _text(number) if number % 2 else log.RECORD.pack(3, 2, 0, 0, number + 1, 0),
    "few displays, many parents": lambda number: _text(number, parent=b"%x" % (number % 50)) if number % 50 else _display(number),
    "displays between streams": lambda number: _text(number, stream=number % 3) if number % 3 < 2 else _display(number),
}


@pytest.mark.parametrize("record", FORGED.values(), ids=FORGED)
def test_however_many_pieces_a_forged_log_has_few_messages_come_of_it_and_every_text(record: Callable[[int], bytes]) -> None:
    """Of 80,000 messages the host kernel was deaf for four seconds."""
    words, count = _forged(record)
    try:
        said = list(words.messages(SIGNER, lambda message_id: {"msg_id": message_id}))
    finally:
        words.close()
    assert len(said) <= 8192
    texts = [message.content["text"] for message in said if message.type == "stream"]
    assert sum(map(len, texts)) == sum(record(number)[:1] == bytes([log.TEXT]) for number in range(count))


def test_a_cell_that_printed_to_both_streams_in_turn_has_said_all_of_it(notebook: Notebook) -> None:
    code = f"import sys\nfor number in range(15_000):\n    print(number)\n    print(number, file=sys.stderr)\n{DIE}"
    cell = notebook.run(code)
    for name in log.STREAMS:
        assert [int(line) for line in printed(cell, name).splitlines()] == [*range(15_000)], name


def test_who_prints_while_a_client_is_behind_waits_and_nothing_is_lost(notebook: Notebook) -> None:
    """More messages than zmq queues; before, it threw away the others."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    deaf = context.socket(zmq.SUB)
    deaf.rcvhwm = 1
    deaf.subscribe(b"")
    deaf.connect(f"tcp://127.0.0.1:{notebook.client.get_connection_info()['iopub_port']}")
    assert deaf.poll(PATIENCE * 1000)
    try:
        cell = notebook.client.execute("for number in range(4000): print(number, 'x' * 6000, flush=True)")
        whole = notebook.collect_published(cell)
    finally:
        context.destroy(linger=0)
    assert [int(line.split()[0]) for line in printed(whole).splitlines()] == list(range(4000))
    assert "a front end that did not read was cut off" in printed(whole, "stderr")


@pytest.mark.parametrize("length", [0, 3000])
def test_what_was_printed_until_the_container_was_replaced_arrives(notebook: Notebook, tmp_path: Path, length: int) -> None:
    done = tmp_path / "done"
    for _ in range(3):
        done.unlink(missing_ok=True)
        code = f"""
file = open({str(done)!r}, "w")
for number in range(10**9):
    print(number, "x" * {length})
    file.write(f"{{number}}\\n")
    file.flush()
"""
        cell = notebook.client.execute(code)
        assert until(lambda: done.exists() and done.stat().st_size > 20_000)
        notebook.client.execute("%container restart")
        numbers = [int(line.split()[0]) for line in printed(notebook.collect(cell)).splitlines()]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= len(done.read_text().splitlines())


def test_what_was_printed_before_a_shutdown_that_the_cell_does_not_hear_arrives(own: Notebook) -> None:
    wait = "import ctypes, time; time.sleep(0.5)"  # until it is published that the cell has begun
    own.client.execute(f"{wait}\nprint('the last')\nctypes.PyDLL(None).sleep(100)")  # with Python's lock: nothing is sent
    while own.client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "execute_input":
        pass
    time.sleep(1)
    own.client.shutdown()
    texts = ""
    while "the last" not in texts:
        texts += own.client.get_iopub_msg(timeout=PATIENCE)["content"].get("text", "")


def test_standard_input_is_empty_as_ever(notebook: Notebook) -> None:
    assert notebook.run("import os; os.read(0, 10)").text == "b''"


def test_the_program_is_one_for_every_python_that_has_a_kernel() -> None:
    program = exchange.program()
    assert "cellhold_kernel." not in program  # which a container does not have
    ast.parse(program, feature_version=(3, 6))
