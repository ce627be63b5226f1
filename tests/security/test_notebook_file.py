"""The notebook's own file, which the host kernel reads and cells may write: nothing that lies in its place hangs or fills the host."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.errors import InvalidSpec
from cellhold_kernel.settings import sources
from cellhold_kernel.settings.folder import Folder
from cellhold_kernel.settings.notebook import MOST_BYTES, Notebook
from cellhold_kernel.widgets import saved
from kernels import beside, running

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY = {"memory": "64m"}


def _written(path: Path, **more: Any) -> Path:
    path.write_text(json.dumps({"cells": [], "metadata": {"cellhold": MEMORY}, "nbformat": 4, "nbformat_minor": 5, **more}))
    return path


def _asked(path: Path, folder: Path | None = None) -> dict[str, str]:
    return sources.of_notebook(path, Folder.at(folder or path.parent))


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link(path: Path) -> None:
    path.symlink_to(_written(path.with_name("other.json")))


def _directory(path: Path) -> None:
    path.mkdir()


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)


def _deep(path: Path) -> None:
    path.write_text("[" * 1_000_000)


def _deep_and_large(path: Path) -> None:
    path.write_text('{"metadata": ' + '{"a": ' * 1_000_000)


def _many(path: Path) -> None:
    """Which takes 3 GB of memory as Python's values."""
    path.write_bytes(b'{"cells": [' + b"[]," * (50 << 20) + b'[]], "metadata": {}}')


def _not_utf_8(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\xff")


def _large_ask(path: Path) -> None:
    _written(path, metadata={"cellhold": {"memory": "1" * (1 << 20)}}, cells=["x" * (4 << 20)])


HOSTILE: dict[Callable[[Path], None], str] = {
    _fifo: "not a regular file",
    _zero: "a symbolic link",
    _link: "a symbolic link",
    _directory: "not a regular file",
    _sparse: "at most",
    _deep: "nested more than 200 levels deep",
    _deep_and_large: "nested more than 200 levels deep",
    _many: "it takes too much memory|too large to be read in time",
    _not_utf_8: "it is not JSON",
    _large_ask: "has more than 65536 bytes",
}


@pytest.mark.parametrize(("make", "reason"), HOSTILE.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_no_notebook_is_told_in_a_sentence(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    path = tmp_path / "n.ipynb"
    make(path)
    began = time.monotonic()
    with pytest.raises(InvalidSpec, match=f"cannot read .*n.ipynb.*(?:{reason})") as raised:
        _asked(path)
    assert raised.value.hint
    assert time.monotonic() - began < 200
    saved.widgets(Notebook(path, Folder.at(tmp_path)))


@pytest.mark.usefixtures("jupyter_path")
@pytest.mark.parametrize("make", [_fifo, _zero, _many], ids=lambda make: make.__name__)
def test_a_kernel_starts_beside_it_and_its_first_cell_is_told(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "n.ipynb"
    make(path)
    with running(beside("standin.py"), cwd=str(tmp_path), env={**os.environ, "JPY_SESSION_NAME": str(path)}) as notebook:
        assert "cannot read" in notebook.run("1").error
        assert notebook.run("%container pids=50").status == "ok"
        assert notebook.run("'it goes on'").text == "'it goes on'"
        assert notebook.ask("comm_info_request", {}, "shell")["status"] == "ok"
        peak = next(line for line in Path(f"/proc/{notebook.pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
        assert int(peak.split()[1]) < 300 << 10, peak


def test_a_large_notebook_is_heard(tmp_path: Path) -> None:
    path = _written(tmp_path / "n.ipynb", cells=[{"source": "x" * (30 << 20)}, float("nan")])
    assert _asked(path) == MEMORY


def test_a_large_file_that_is_no_object_is_told_as_a_small_one_is(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    documents: tuple[Any, ...] = ([], {"metadata": []}, {"metadata": {"cellhold": []}}, "text")
    for document in documents:
        texts = []
        for padding in ("", " " * (4 << 20)):
            path.write_text(json.dumps(document) + padding)
            with pytest.raises(InvalidSpec) as raised:
                _asked(path)
            texts.append(str(raised.value))
        assert texts[0] == texts[1]


def test_a_notebook_below_the_folder_or_elsewhere_is_found_and_no_link_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "nb" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for path in (tmp_path / "nb" / "sub" / "n.ipynb", tmp_path / "elsewhere" / "n.ipynb"):
        assert _asked(_written(path), tmp_path / "nb") == MEMORY
    assert sources.of_notebook(tmp_path / "elsewhere" / "n.ipynb") == MEMORY  # the folder is gone
    (tmp_path / "nb" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidSpec, match="a symbolic link is on the way"):
        _asked(tmp_path / "nb" / "link" / "n.ipynb", tmp_path / "nb")
    for nothing in (tmp_path / "nb" / "none.ipynb", tmp_path / "none" / "n.ipynb", tmp_path / "nb/sub/n.ipynb/n.ipynb"):
        assert _asked(nothing, tmp_path / "nb") == {}


def test_the_folder_is_the_one_that_is_held_whatever_its_name_leads_to(tmp_path: Path) -> None:
    (tmp_path / "nb").mkdir()
    (tmp_path / "other").mkdir()
    path = _written(tmp_path / "nb" / "n.ipynb")
    _written(tmp_path / "other" / "n.ipynb", metadata={"cellhold": {"memory": "1m"}})
    folder = Folder.at(tmp_path / "nb")
    (tmp_path / "nb").rename(tmp_path / "moved")
    (tmp_path / "nb").symlink_to(tmp_path / "other")
    assert sources.of_notebook(path, folder) == MEMORY


def test_faces_are_found_in_a_large_file_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    mark = '"model_id": "cellhold-%s"'
    for before in (0, (1 << 20) - 10, (5 << 20) - 3):
        path.write_text(" " * before + mark % "panel" + " " * (1 << 20) + mark % "monitor" + mark % ("x" * 100))
        assert saved.widgets(Notebook(path, Folder.at(tmp_path))) == {"panel", "monitor"}


@pytest.mark.parametrize("name", ["kernel.json", "connection"])
def test_the_users_own_files_are_regular_and_bounded_too(tmp_path: Path, name: str) -> None:
    from cellhold_kernel.protocol import connection  # noqa: PLC0415  # for this alone

    path = tmp_path / name
    for make in (_fifo, _zero, _sparse):
        make(path)
        with pytest.raises(OSError, match=r"regular file|more than"):
            sources.of_kernelspec(tmp_path) if name == "kernel.json" else connection.read(path)
        path.unlink()
