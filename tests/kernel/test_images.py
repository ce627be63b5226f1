"""A notebook that names an image of a registry: what keeps it from coming is told in the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

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
