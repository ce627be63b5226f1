"""The container panel in real front ends: it lives while a cell runs, while the container stands still, and after it died."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from cellhold_kernel import install
from front_ends import browser, open_notebook, run_cell, served, write

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.requires("root", "overlayfs", "cgroup-freezer", "cgroup-memory")]

PROMPT_MS = 3000  # half a second on a quiet machine, which the benchmark measures
BUSY = "import time\nfor number in range(2000): print(number, flush=True); time.sleep(0.05)"
SHOW = "%container panel"
STORY = [
    SHOW,
    # Four at a time: on a machine on which others work one gets less than its limit, and is not held back.
    "import os, time\nuntil = time.time() + 6\nfour = os.fork(), os.fork()\nwhile time.time() < until: pass\nall(four) or os._exit(0)",
    "held = bytearray(b'x') * (150 << 20); time.sleep(3)",
    "import subprocess\nrunning = [subprocess.Popen(['sleep', '3']) for _ in range(30)]\nfor one in running: one.wait()",
    "held = bytearray(b'x') * (1 << 30)",
    "open('/data', 'wb').write(bytes(30 << 20))",
]
CELLS = [SHOW, BUSY, "held = bytearray(b'x') * (1 << 30)", "print(6 * 7)"]


def button(page: Page, action: str) -> Locator:
    return page.locator(f".ch button[data-action={action}]")


def button_of(page: Page, words: str) -> Locator:
    return page.locator(".ch").get_by_role("button", name=words)


def state(page: Page, wanted: str, timeout: float = PROMPT_MS) -> None:
    page.locator(".ch-badge", has_text=wanted).wait_for(timeout=timeout)


def samples(page: Page) -> int:
    return len(page.locator(".ch-chart[data-chart=memory] polyline").first.get_attribute("points").split())  # type: ignore[union-attr]


def everybody_can_use(page: Page) -> None:
    """Ask axe-core: names, roles, contrasts."""
    found = Axe().run(page, context=".ch")
    assert found.violations_count == 0, found.generate_report()


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
        chart.scroll_into_view_if_needed()  # what is not seen is not told, and long outputs push the panel out of sight
        chart.locator("line.ch-oom").wait_for(timeout=PROMPT_MS, state="attached")
        assert chart.locator("line.ch-oom").count() == 1
        assert "killed at the memory limit in cell" in str(chart.get_attribute("aria-label"))
        page.locator(".ch-table", has_text="✖ OOM kill").wait_for(timeout=PROMPT_MS)
        run_cell(page, 3)
        page.locator(".jp-OutputArea-output", has_text=re.compile(r"^42\s*$")).wait_for()
        page.screenshot(path=shots / f"{kind}-after-oom.png")


def test_in_voila_a_page_is_the_panel_alone(folder: Path, kernelspecs: Path, shots: Path) -> None:
    write(folder / "demo.ipynb", [SHOW, "held = bytearray(b'x') * (50 << 20)"], kernel="cellhold-panel")
    with served("voila", folder, kernelspecs) as server, browser() as page:
        page.goto(server.url("demo.ipynb"))
        state(page, "running", 60_000)
        button(page, "pause").click()
        state(page, "paused")
        page.locator(".jp-OutputArea-output img").wait_for(state="hidden")
        page.screenshot(path=shots / "voila.png")


def test_a_notebook_that_is_opened_again_shows_it_live_without_running_a_cell(folder: Path, kernelspecs: Path) -> None:
    write(folder / "demo.ipynb", CELLS, kernel="cellhold-panel")
    with served("lab", folder, kernelspecs) as server:
        with browser() as page:
            open_notebook(page, server, "demo.ipynb")
            run_cell(page, 0)
            state(page, "running", 60_000)
            page.keyboard.press("Control+s")
            page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
            page.reload()
            state(page, "running", 60_000)
            page.locator(".jp-OutputArea-output img").first.wait_for(state="hidden")  # the picture stands back
            button(page, "pause").click()
            state(page, "paused")
            container = page.locator(".ch-head b").inner_text()
            page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        with browser() as page:  # another page, another kernel
            open_notebook(page, server, "demo.ipynb")
            state(page, "running", 60_000)
            assert page.locator(".ch-head b").inner_text() != container
            button(page, "pause").click()
            state(page, "paused")


def test_a_saved_notebook_shows_the_picture_without_a_kernel_or_a_network(folder: Path, kernelspecs: Path, shots: Path) -> None:
    write(folder / "demo.ipynb", [SHOW, "sum(range(5_000_000))", CELLS[2], CELLS[3]], kernel="cellhold-panel")
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", "--execute", "--allow-errors", "demo.ipynb"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env={**os.environ, "JUPYTER_PATH": str(kernelspecs)})
    with browser(offline=True) as page:
        page.goto((folder / "demo.html").as_uri())
        picture = page.locator(".jp-OutputArea-output img")
        picture.wait_for()
        assert picture.evaluate("image => image.naturalWidth") > 400
        page.screenshot(path=shots / "saved.png", full_page=True)


def test_it_is_fit_to_be_seen_light_dark_and_narrow(folder: Path, kernelspecs: Path, shots: Path) -> None:
    write(folder / "demo.ipynb", STORY, kernel="cellhold-panel")
    with served("lab", folder, kernelspecs) as server, browser(width=1180, height=2000) as page:
        open_notebook(page, server, "demo.ipynb")
        run_cell(page, 0)
        state(page, "running", 60_000)
        for number in range(1, len(STORY)):
            run_cell(page, number)
            page.locator(".ch-table tbody tr").nth(number).locator("td", has_text=re.compile("ok|OOM")).wait_for()
        button(page, "pause").click()
        state(page, "paused")
        page.wait_for_timeout(3000)
        page.locator(".ch").screenshot(path=shots / "paused.png")
        button(page, "unpause").click()
        state(page, "running")
        page.wait_for_timeout(2000)
        assert page.locator(".ch-chart[data-chart=cpu] .ch-throttled").count() >= 1
        page.locator(".ch").screenshot(path=shots / "light.png")
        page.locator(".ch-files[data-layer=written] summary").click()
        page.locator(".ch-paths li", has_text="/data").get_by_text("cell [1]").wait_for()
        page.locator(".ch-story > summary").click()
        page.locator(".ch-open", has_text="rootfs.overlay").click()
        page.locator(".ch-calls", has_text='mount("overlay", "/"').wait_for()
        everybody_can_use(page)
        page.locator(".ch").screenshot(path=shots / "story.png")
        page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
        page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
        page.wait_for_timeout(500)
        page.locator(".ch").screenshot(path=shots / "dark.png")
        everybody_can_use(page)
        for width in (720, 460):
            page.set_viewport_size({"width": width, "height": 2600})
            page.wait_for_timeout(500)
            panel = page.locator(".ch")
            assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth")  # nothing is cut off
            panel.screenshot(path=shots / f"narrow-{width}.png")


def test_it_can_be_used_with_the_keyboard_alone(folder: Path, kernelspecs: Path) -> None:
    write(folder / "demo.ipynb", CELLS, kernel="cellhold-panel")
    with served("lab", folder, kernelspecs) as server, browser() as page:
        open_notebook(page, server, "demo.ipynb")
        run_cell(page, 0)
        state(page, "running", 60_000)
        button(page, "start").focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("() => document.activeElement.dataset.action") == "pause"
        page.keyboard.press("Enter")
        state(page, "paused")
        page.keyboard.press("End")
        assert page.evaluate("() => document.activeElement.dataset.action") == "remove"
        page.keyboard.press("Enter")  # not possible now: nothing happens
        state(page, "paused")
        tree = page.locator(".ch").aria_snapshot()
        assert 'toolbar "Container actions"' in tree
        assert 'img "Lifecycle: the container is paused"' in tree
        assert re.search(r'figure "Memory: now [\d.]+ MiB / 256 MiB \(\d+ %\), peak', tree)


def test_layers_are_looked_into_and_compared(folder: Path, kernelspecs: Path, shots: Path, shell_image: str) -> None:
    install.install(kernelspecs, name="cellhold-image", texts={"image": shell_image, "memory": "256m"})
    write(
        folder / "demo.ipynb",
        [SHOW, "echo 1 > /etc/passwd; rm /etc/group; mkdir /made; head -c 300000 /dev/zero > /made/file"],
        kernel="cellhold-image",
    )
    with served("lab", folder, kernelspecs) as server, browser(width=1180, height=1400) as page:
        open_notebook(page, server, "demo.ipynb")
        run_cell(page, 0)
        state(page, "running", 60_000)
        run_cell(page, 1)
        page.locator(".ch-files[data-layer=written] summary").click()
        written = page.locator(".ch-files[data-layer=written] .ch-paths li")
        written.filter(has_text="/etc/passwd").get_by_text("copied up · cell [2]").wait_for()
        written.filter(has_text="/etc/group").get_by_text("whiteout").wait_for()
        page.locator(".ch-files[data-layer='1'] > summary").click()
        page.locator(".ch-files[data-layer='1'] summary", has_text="bin/").click()
        page.locator(".ch-paths li li", has_text="busybox").first.wait_for()
        field = page.get_by_label("A path of the image, or an image to compare it with")
        field.fill("/bin/sh")
        field.press("Enter")
        page.locator(".ch-which li.hit").wait_for()
        field.fill("1")
        button_of(page, "compare").click()
        page.locator(".ch-answer", has_text="against its own lowest 1 layers: +").wait_for()
        button(page, "commit").click()
        page.get_by_text("its top layer would hold +").wait_for()
        everybody_can_use(page)
        page.locator(".ch").screenshot(path=shots / "layers.png")


def test_each_part_is_a_widget_of_its_own_and_there_is_a_compact_one(folder: Path, kernelspecs: Path, shots: Path) -> None:
    kinds = ("compact", "layers", "monitor", "controls")
    write(folder / "demo.ipynb", [f"%container panel {kind}" for kind in kinds], kernel="cellhold-panel")
    with served("lab", folder, kernelspecs) as server, browser(width=900, height=2000) as page:
        open_notebook(page, server, "demo.ipynb")
        for number, kind in enumerate(kinds):
            run_cell(page, number)
            page.locator(".ch").nth(number).locator(".ch-badge", has_text="running").wait_for(timeout=60_000)
            page.locator(".ch").nth(number).screenshot(path=shots / f"part-{kind}.png")
        compact, layers, monitor, controls = (page.locator(".ch").nth(number) for number in range(len(kinds)))
        assert [part.locator(".ch-chart:not([hidden])").count() for part in (compact, layers, monitor, controls)] == [2, 0, 5, 0]
        assert [part.locator(".ch-layers").count() for part in (compact, layers, monitor, controls)] == [0, 1, 0, 0]
        assert [part.locator(".ch-states").count() for part in (compact, layers, monitor, controls)] == [0, 0, 0, 1]
        compact.locator("button[data-action=pause]").click()
        for part in (compact, layers, monitor, controls):
            part.locator(".ch-badge", has_text="paused").wait_for(timeout=PROMPT_MS)
        everybody_can_use(page)


def test_the_sidebar_of_jupyter_resource_usage_shows_the_containers_numbers(folder: Path, kernelspecs: Path, shots: Path) -> None:
    write(
        folder / "demo.ipynb", ["held = bytearray(b'x') * (100 << 20)\nimport socket; print(socket.gethostname())"], kernel="cellhold-panel"
    )
    with served("lab", folder, kernelspecs) as server, browser() as page:
        open_notebook(page, server, "demo.ipynb")
        run_cell(page, 0)
        name = page.locator(".jp-OutputArea-output", has_text=re.compile("^[0-9a-f]{12}")).first.inner_text().strip()
        page.get_by_title("Kernel Usage").first.click()
        sidebar = page.locator(".jp-KernelUsage-view")
        sidebar.get_by_text(f"Kernel Host: {name}").wait_for()
        sidebar.get_by_text(re.compile(r"Memory: 1\d\d(\.\d+)? MB")).wait_for()  # not the host's
        page.screenshot(path=shots / "sidebar.png")
        words = sidebar.inner_text()
        assert "Total: 256.00 MB" in words
        assert "NaN" not in words
        assert "undefined" not in words
