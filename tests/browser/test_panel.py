"""The container panel in real front ends: it lives while a cell runs, while the container stands still, and after it died."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from front_ends import browser, open_notebook, run_cell, served, write

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.requires("root", "overlayfs", "cgroup-freezer", "cgroup-memory")

PROMPT_MS = 3000  # half a second on a quiet machine, which the benchmark measures
BUSY = "import time\nfor number in range(2000): print(number, flush=True); time.sleep(0.05)"
CELLS = ["%container panel", BUSY, "held = bytearray(b'x') * (1 << 30)", "print(6 * 7)"]


def button(page: Page, action: str) -> Locator:
    return page.locator(f".ch button[data-action={action}]")


def state(page: Page, wanted: str, timeout: float = PROMPT_MS) -> None:
    page.locator(".ch-badge", has_text=wanted).wait_for(timeout=timeout)


def samples(page: Page) -> int:
    return len(page.locator(".ch-chart[data-chart=memory] polyline").first.get_attribute("points").split())  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["lab", "notebook"])
def test_buttons_answer_while_a_cell_runs_while_it_stands_still_and_after_it_died(
    kind: str, folder: Path, kernelspecs: Path, shots: Path
) -> None:
    write(folder / "demo.ipynb", CELLS, kernel="cellhold-panel")
    with served(kind, folder, kernelspecs) as server, browser() as page:
        open_notebook(page, server, "demo.ipynb")
        run_cell(page, 0)
        state(page, "running", 60_000)
        run_cell(page, 1)
        page.locator(".jp-OutputArea-output", has_text="3\n").first.wait_for()

        button(page, "pause").click()
        state(page, "paused")
        page.screenshot(path=shots / f"{kind}-paused.png")
        before = samples(page)
        page.wait_for_timeout(1500)
        assert samples(page) > before  # the plot goes on
        assert button(page, "pause").get_attribute("aria-description") == "it is paused already"
        button(page, "unpause").click()
        state(page, "running")

        button(page, "kill").click()
        state(page, "running")  # it asks first
        assert button(page, "kill").inner_text() == "kill it?"
        button(page, "kill").click()
        state(page, "stopped")
        page.locator(".jp-OutputArea-output", has_text=re.compile("ContainerKilled: cell 2 was killed by %container kill")).wait_for()
        assert button(page, "pause").get_attribute("aria-disabled") == "true"
        button(page, "start").click()
        state(page, "running", 60_000)

        run_cell(page, 2)
        page.locator(".jp-OutputArea-output", has_text="MemoryLimitExceeded").wait_for()
        chart = page.locator(".ch-chart[data-chart=memory]")
        chart.locator("line.ch-oom").wait_for(timeout=PROMPT_MS, state="attached")
        assert chart.locator("line.ch-oom").count() == 1
        assert "killed at the memory limit in cell" in str(chart.get_attribute("aria-label"))
        assert "✖ OOM kill" in page.locator(".ch-table").inner_text()
        run_cell(page, 3)
        page.locator(".jp-OutputArea-output", has_text="42").wait_for()
        page.screenshot(path=shots / f"{kind}-after-oom.png")
