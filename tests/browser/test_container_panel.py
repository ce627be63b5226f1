"""ContainerPanel in JupyterLab: the panel of a plain Python notebook, live, and with its picture behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from front_ends import browser, open_notebook, run_cell, served, write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.browser, pytest.mark.requires("root", "overlayfs", "cgroup-freezer")]

SHOW = """
from cellhold import Container, Spec
from cellhold_kernel import ContainerPanel
box = Container.create(Spec(image="host", args=("sleep", "1000")))
box.start()
panel = ContainerPanel(box)
panel
"""
END = "panel.close(); box.remove(force=True)"


def test_it_lives_looks_as_the_panel_does_and_has_a_picture_for_where_it_does_not_live(
    folder: Path, kernelspecs: Path, shots: Path
) -> None:
    write(folder / "plain.ipynb", [SHOW, "str(box.state)", END], kernel="python3")
    with served("lab", folder, kernelspecs) as server, browser() as page:
        open_notebook(page, server, "plain.ipynb")
        run_cell(page, 0)
        badge = page.locator(".ch-badge", has_text="running")
        badge.wait_for()
        assert page.locator(".ch").evaluate("panel => getComputedStyle(panel).borderTopStyle") == "solid"  # it has its style sheet
        page.locator(".jp-OutputArea-output img").wait_for(state="hidden")
        page.locator(".ch button[data-action=pause]").click()
        page.locator(".ch-badge", has_text="paused").wait_for()
        run_cell(page, 1)
        page.locator(".jp-OutputArea-output", has_text="'paused'").wait_for()
        page.locator(".ch").screenshot(path=shots / "plain.png")
        run_cell(page, 2)
        page.locator(".jp-OutputArea-output img").wait_for(state="visible")
