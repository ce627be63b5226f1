"""The panel's layers: what each changes and has, which of them answers, how images differ, and what the container writes on top."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager

from cellhold.store import record
from cellhold.store.home import open_home
from kernels import running
from views import answer, hear, tell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernels import Notebook

pytestmark = [
    pytest.mark.requires("root", "overlayfs", "cgroup-freezer"),
    pytest.mark.shared_kernels,
    pytest.mark.usefixtures("jupyter_path"),
]


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    """One whose panel somebody sees."""
    with running(KernelManager(kernel_name="cellhold-small")) as opened:
        yield opened


@pytest.fixture
def on_image(notebook: Notebook, shell_image: str) -> Notebook:
    notebook.run(f"%container image={shell_image}")
    seen(notebook)
    return notebook


@pytest.fixture(scope="module")
def asked(jupyter_path: Path, shell_image: str) -> Iterator[Notebook]:
    """One on the image, of several tests that do nothing but ask."""
    del jupyter_path
    with running(KernelManager(kernel_name="cellhold-small")) as opened:
        opened.run(f"%container image={shell_image}")
        seen(opened)
        yield opened


def seen(notebook: Notebook) -> dict[str, Any]:
    notebook.run("%container panel")
    tell(notebook, {"do": "hello"})
    return hear(notebook, lambda said: said["t"] == "full")


def written(notebook: Notebook, code: str) -> dict[str, Any]:
    """What the views are told of what was written, after a cell."""
    assert notebook.run(code).status == "ok"
    told: dict[str, Any] = hear(notebook, lambda said: said["t"] == "state" and "paths" in said["changed"].get("written", {}))["changed"][
        "written"
    ]
    return told


def rows(found: dict[str, Any]) -> dict[str, list[Any]]:
    return {row[1]: row for row in found["paths"]}


def test_layers_say_what_they_change_and_which_of_them_answers_for_a_path(notebook: Notebook, shell_image: str) -> None:
    notebook.run(f"%container image={shell_image}")
    full = seen(notebook)
    assert [layer["size"] is None for layer in full["layers"]] == [False] * len(full["layers"])
    layers = full["layers"]
    if not layers[0]["changes"]:  # they are looked into by a process, which may have ended by now
        layers = hear(notebook, lambda said: said["t"] == "state" and bool(said["changed"].get("layers")))["changed"]["layers"]
    assert [layer["changes"] for layer in layers][:2] == ["+2 ~0 -0", "+3 ~0 -0"]
    for path, words in (("/etc/passwd", "has it"), ("/nonsuch", "does not have it")):
        found = answer(notebook, {"do": "which", "path": path})
        assert found["path"] == path
        assert words in [said for _name, said in found["steps"]]
    assert "+2 ~0 -0" not in notebook.run("%container layers").text  # that one costs nothing, whatever the image's size
    assert "COPY --chmod=644" in notebook.run("%container layers").text


def test_what_a_cell_writes_is_told_with_its_bytes_copies_up_and_whiteouts(on_image: Notebook) -> None:
    found = written(
        on_image, "mkdir /made; head -c 300000 /dev/zero > /made/one; ln /made/one /made/two; echo 2 > /etc/passwd; rm /etc/group"
    )
    assert (found["changed"], found["deleted"], found["unlisted"]) == (2, 1, 0)
    paths = rows(found)
    assert paths["/etc/passwd"][0] == "C"  # copied up
    assert paths["/etc/group"][0] == "D"  # a whiteout
    assert sorted(paths[name][2] for name in ("/made/one", "/made/two")) == [0, 303104]  # a hard link counts once
    assert found["most"][0] == ["/made", 303104]
    on_image.run("echo 3 > /made/three; echo 4 > /made/four; rm /made/four")
    told = hear(on_image, lambda said: said["t"] == "state" and [cell["files"] for cell in said["changed"].get("cells", ())][-1:] == [1])
    assert told["changed"]["cells"][-1]["result"] == "ok"


def test_its_sum_is_that_of_du(notebook: Notebook) -> None:
    full = seen(notebook)
    found = written(
        notebook,
        "import os\nfor n in range(50): open(f'/root/{n}', 'wb').write(b'x' * n * 1000)\n"
        "os.link('/root/49', '/root/link'); os.makedirs('/opt/a/b/c'); os.truncate('/root/1', 1 << 30); os.unlink('/root/2')",
    )
    directory = open_home().container(full["id"])
    known = record.read(directory)
    assert known is not None
    assert len(known.overlays) > 1  # the host image is an overlay a tree
    uppers = [directory / f"storage/{number}/upper" for number in range(len(known.overlays))]  # and more, for what is mounted over it
    listed = subprocess.check_output(["du", "--summarize", "--block-size=1", *uppers], text=True).splitlines()
    assert found["bytes"] == sum(int(line.split()[0]) for line in listed)


def test_a_layers_files_are_told_a_directory_at_a_time(asked: Notebook) -> None:
    top = answer(asked, {"do": "browse", "layer": "1", "path": ""})
    directories = [name for kind, name, _size, is_directory in top["entries"] if is_directory]
    assert "bin" in directories
    found = answer(asked, {"do": "browse", "layer": "1", "path": "bin"})
    assert ["A", "busybox"] in [row[:2] for row in found["entries"]]
    assert next(size for _kind, name, size, _ in found["entries"] if name == "busybox") > 500_000
    for layer in ("0", "99", "x", "\0", "-1"):
        assert "cannot" in answer(asked, {"do": "browse", "layer": layer, "path": ""})["text"]
    assert answer(asked, {"do": "browse", "layer": "1", "path": "/../.."})["entries"] == []


def test_an_image_is_compared_with_another_and_with_its_own_lowest_layers(asked: Notebook, shell_image: str) -> None:
    assert answer(asked, {"do": "compare", "other": shell_image})["paths"] == []
    less = answer(asked, {"do": "compare", "other": "1"})
    assert less["added"] > 0
    assert {row[0] for row in less["paths"]} == {"A"}
    assert "/etc/passwd" in rows(less)
    assert "it is not here" in answer(asked, {"do": "compare", "other": "no/such:1"})["text"]


def test_of_this_machines_own_files_there_are_no_layers_to_look_into_but_what_is_written_is_known(notebook: Notebook) -> None:
    seen(notebook)
    assert answer(notebook, {"do": "which", "path": "/usr"})["text"] == "only an image has layers to look into"
    found = written(notebook, "open('/usr/new', 'w').write('x'); import os; os.remove('/usr/bin/env')")
    assert rows(found)["/usr/new"][0] == "A"
    assert rows(found)["/usr/bin/env"][0] == "D"


def test_ten_questions_at_once_are_not_ten_processes(asked: Notebook) -> None:
    for number in range(10):
        tell(asked, {"do": "which", "path": f"/{number}"})
    texts = [hear(asked, lambda said: said["t"] == "which")["text"] for _ in range(10)]
    assert texts.count("too much is being looked for already") >= 6
