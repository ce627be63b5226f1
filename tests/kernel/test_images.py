"""A notebook that names an image of a registry: what keeps it from coming is told in the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

from cellhold.errors import CellholdError, ImageRefused
from cellhold_kernel import pulling
from kernels import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernels import Notebook

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups")


@pytest.fixture
def notebook(jupyter_path: Path) -> Iterator[Notebook]:
    del jupyter_path
    with running(KernelManager(kernel_name="cellhold-small")) as started:
        yield started


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
    told = pulling.told(error)
    assert type(told) is kind
    assert (str(told), told.hint) == (error["sentence"], error.get("hint"))
