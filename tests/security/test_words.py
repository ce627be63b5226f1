"""Words of a container, an image or a registry on their way to a terminal or a notebook: none of them is obeyed there."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxes import cellhold, environment
from cellhold.cli import main
from cellhold.cli.screen import Screen, sentences
from cellhold.errors import CellholdError
from cellhold.spec import words
from kernels import beside, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RAW = "\x1b]0;title\x07\x1b[31m\r\b\x9b2J\u202egnp\u2066\u2028\udcff"
_CONTROLS = [chr(number) for number in (*range(32), *range(0x7F, 0xA0), 0x061C, *range(0x200B, 0x2010), *range(0x2028, 0x202F))]


def unfit(text: str) -> list[str]:
    return [repr(letter) for letter in text if not (letter.isprintable() or letter in words.LINES)]


@given(st.text(st.characters()) | st.text(st.sampled_from([*_CONTROLS, "a", "\ud800", "\udcff"])))
def test_what_is_printable_is_obeyed_by_nobody_and_can_be_encoded(text: str) -> None:
    made = words.printable(text)
    assert made.isprintable()
    assert made.encode().decode() == made
    assert not unfit(words.printable(text, keep=words.LINES))
    if text.isprintable():
        assert made == text


def test_texts_anywhere_in_a_value_are_cleaned_and_numbers_stay() -> None:
    given_one: dict[str, Any] = {"data": {RAW: [RAW, 1, None, (RAW,)]}, "n": 2.5}
    made = words.clean(given_one)
    assert not unfit("".join(_texts(made)))
    assert made["n"] == 2.5
    assert next(iter(made["data"].values()))[1:3] == [1, None]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.items() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from _texts(item)


def test_what_the_command_prints_goes_through_one_border() -> None:
    below = io.StringIO()
    screen = Screen(below)
    print(RAW, "ä ✖\tb", sep="\n", file=screen, flush=True)
    assert not unfit(below.getvalue())
    assert below.getvalue().endswith("\nä ✖\tb\n")
    assert json.dumps({"text": RAW}) == words.printable(json.dumps({"text": RAW}), keep=words.LINES)


def test_an_error_is_one_line_and_its_hint_another_whatever_stands_in_them() -> None:
    text = sentences(CellholdError(f"cannot {RAW}\nhint: run this", hint=f"or\n{RAW}"))
    assert text.count("\n") == 2
    assert not unfit(text)


@pytest.mark.parametrize(
    "line",
    [
        ("inspect", RAW.replace("\udcff", "")),
        ("which", RAW.replace("\udcff", ""), "/x"),
        ("cp", f"none:/{RAW}", "/tmp/x"),
        ("rm", RAW),
        ("logs", RAW),
        ("volume", "inspect", RAW),
        ("network", "inspect", RAW),
        ("tag", RAW, "x"),
        ("history", RAW),
        ("ps", "--filter", f"{RAW}=1"),
    ],
    ids=lambda line: " ".join(line[:1]),
)
def test_no_command_prints_what_a_terminal_obeys(line: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(line) not in (0, None)
    printed = capfd.readouterr()
    assert printed.err.startswith("cellhold: ")
    assert not unfit(printed.out + printed.err)


def test_a_traceback_of_the_command_is_fit_for_a_terminal_too(tmp_path: Path) -> None:
    code = f"from cellhold.cli import screen\nwith screen.escaping(for_good=True):\n    raise RuntimeError({RAW!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=environment(), cwd=tmp_path)
    assert b"RuntimeError" in done.stderr
    assert not unfit(done.stderr.decode())


@pytest.mark.requires("root", "overlayfs")
def test_paths_and_labels_of_a_container_are_spelt_out(busybox_root: Path, tmp_path: Path) -> None:
    """diff, cp, ps, events and top, through the command as people run it."""
    bad = "a\x1b[31mb\nc"

    def ran(*line: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(cellhold(*line), capture_output=True, check=False, env=environment(), cwd=tmp_path)

    made = ran("run", "-d", "--label", f"x={bad}", str(busybox_root), "sh", "-c", f"touch '/{bad}'; sleep 1000 '{bad}'")
    assert made.returncode == 0, made.stderr
    box = made.stdout.decode().strip()
    try:
        (tmp_path / "into").mkdir()
        for line in (
            ("ps", "--no-trunc"),
            ("diff", box),
            ("top", box),
            ("events", "--since", "1h", "--until", str(time.time() + 1)),
            ("cp", f"{box}:/none{bad}", "into"),
            ("cp", f"{box}:/{bad}", "/dev/null/x"),
        ):
            done = ran(*line)
            assert not unfit((done.stdout + done.stderr).decode()), line
            assert done.stdout or done.stderr, line
    finally:
        ran("rm", "-f", box)


@pytest.mark.usefixtures("jupyter_path")
def test_a_notebook_is_shown_nothing_to_obey_but_a_programs_own_output() -> None:
    """Errors and texts of the host kernel; what a cell prints itself has its colours."""
    with running(beside("standin.py")) as notebook:
        for code in (
            f"%container image={RAW[:-1]}",
            f"%limits {RAW[:-1]}=1",
            f"%container commit {RAW[:-1]}",
            f"%%dockerfile {RAW[:-1]}\nFROM x",
        ):
            cell = notebook.run(code.replace("\r", "").replace("\u2028", ""))
            assert cell.status == "error"
            shown = [text for kind in ("error", "stream", "display_data") for content in cell.of(kind) for text in _texts(content)]
            assert not unfit("".join([*shown, *_texts(cell.reply)]))
        assert "\x1b[31m" in notebook.run("print('\\x1b[31mred')").text
