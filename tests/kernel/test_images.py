"""A notebook on an image of a registry: pulled for the cell that names it, with its progress there; and kept by a commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

from cellhold.cli import main
from cellhold.errors import CellholdError, ImageRefused
from cellhold_kernel.jobs import job
from kernels import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from images import Image
    from kernels import Notebook
    from peers import Peers
    from registry import Registry

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")
NAMED = "%container image={image}\nimport sys, platform; print(sys.executable, platform.freedesktop_os_release()['ID'])"


@pytest.fixture
def notebook(jupyter_path: Path) -> Iterator[Notebook]:
    del jupyter_path
    with running(KernelManager(kernel_name="cellhold-small")) as started:
        yield started


@pytest.mark.peers
def test_a_cell_that_names_an_image_sees_it_come_and_runs_in_it_and_a_commit_keeps_what_it_did(
    notebook: Notebook, debian_python_image: Image, registry: Registry, peers: Peers, capfd: pytest.CaptureFixture[str]
) -> None:
    image = peers.push(debian_python_image, registry.reference("debian-python:1"))
    cell = notebook.run(NAMED.format(image=image))
    assert cell.status == "ok", cell.error
    assert "/usr/bin/python3 debian" in cell.text
    shown = [content["data"]["text/plain"] for kind in ("display_data", "update_display_data") for content in cell.of(kind)]
    assert f"pulling {image}" in shown[0]
    assert shown[-1].startswith(f"pulled {image}: 3 layers, ")
    assert all("<progress" in content["data"]["text/html"] or "pull" in content["data"]["text/html"] for content in cell.of("display_data"))
    assert notebook.run("open('/kept', 'w').write('by a cell')").status == "ok"
    container = notebook.run("%container").text.split("container", 1)[1].split()[0].strip("|: ")
    committed = registry.reference("kept:1")
    capfd.readouterr()
    assert main(["commit", container, committed]) == 0, capfd.readouterr().err
    assert main(["push", "--quiet", committed]) == 0
    assert peers.podman_run(committed, "/bin/cat", "/kept") == "by a cell"
    again = notebook.run(f"%container image={committed}\nprint(open('/kept').read())")
    assert "by a cell" in again.text
    assert again.of("display_data") == []


def test_what_cannot_be_pulled_is_a_sentence_and_the_old_container_stays(notebook: Notebook) -> None:
    notebook.run("kept = 'yes'")
    cell = notebook.run("%container image=127.0.0.1:1/science:3")
    assert cell.status == "error"
    assert "127.0.0.1:1" in cell.error
    assert "hint: " in cell.error
    assert notebook.run("print(kept)").text.strip() == "yes"


def test_nothing_of_the_notebooks_folder_is_imported_on_the_host(jupyter_path: Path, tmp_path: Path) -> None:
    del jupyter_path
    folder, caught = tmp_path / "folder", tmp_path / "caught"
    folder.mkdir()
    for name in ("cellhold_kernel", "cellhold", "json", "argparse", "urllib3", "zmq"):
        (folder / f"{name}.py").write_text(f"open({str(caught)!r}, 'a').write({name!r})")
    with running(KernelManager(kernel_name="cellhold-small"), cwd=str(folder)) as started:
        assert "127.0.0.1:1" in started.run("%container image=127.0.0.1:1/science:3").error
    assert not caught.exists()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"error": "ImageRefused", "sentence": "cannot use it", "hint": "another one"}, ImageRefused),
        ({"error": "SetupFailed", "sentence": "cannot write to the store", "hint": None}, CellholdError),
        ({"error": "annotations", "sentence": "x"}, CellholdError),
    ],
)
def test_whatever_a_pull_fails_with_is_an_error_to_tell(error: dict[str, object], kind: type[CellholdError]) -> None:
    told = job.parse_error(error)
    assert type(told) is kind
    assert (str(told), told.hint) == (error["sentence"], error.get("hint"))
