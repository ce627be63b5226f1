"""Jupyter's front ends on loopback, and Debian's Chromium to look at them.

They are JupyterLab, Notebook 7 and Voila, as their users have them.

    with served("lab", folder) as server, browser() as page:
        open_notebook(page, server, "demo.ipynb")
        run_cell(page, 0)

Settings, data and runtime files lie in a directory of the test's own; nothing of the
user's is read.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from playwright.sync_api import Page

PATIENCE_MS = 90_000  # a busy machine needs more than the 30 s that Playwright waits
_START_SECONDS = 90.0
_CHROMIUM = "/usr/bin/chromium"
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
_PATHS = {"lab": "doc/tree", "notebook": "notebooks", "voila": "voila/render"}
_READY_AT = {"lab": "api/status", "notebook": "api/status", "voila": ""}
_QUIET = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}}
# Its menus are not needed; with it JupyterLab draws outputs just so long before a
# kernel is there that ipywidgets' manager often gives a saved widget up (it waits 2 s,
# and does not look again once all are restored).
_WITHOUT = {"disabledExtensions": {"@jupyterhub/jupyter-server-proxy": True}}
# The toolbar says idle before there is a kernel, and keys pressed then are lost; the
# application itself tells the truth.
_READY = """() => {
  const widget = window.jupyterapp?.shell.currentWidget, context = widget?.sessionContext, kernel = context?.session?.kernel;
  return Boolean(context?.isReady && kernel?.status === "idle" && kernel.connectionStatus === "connected");
}"""


@dataclass(frozen=True)
class Server:
    """A running one."""

    base: str
    token: str
    kind: str

    def url(self, notebook: str) -> str:
        """Return the address of a notebook on its own."""
        return f"{self.base}/{_PATHS[self.kind]}/{notebook}?token={self.token}&reset"


@contextmanager
def served(kind: str, folder: Path, kernelspecs: Path) -> Iterator[Server]:
    """Yield a server ("lab", "notebook", "voila") for the notebooks in a folder.

    kernelspecs: a Jupyter data directory.
    """
    home = Path(tempfile.mkdtemp(prefix="fe"))
    try:
        settings = home / "config/labconfig"
        settings.mkdir(parents=True)
        (settings / "default_setting_overrides.json").write_text(json.dumps(_QUIET))
        (settings / "page_config.json").write_text(json.dumps(_WITHOUT))
        server = Server(f"http://127.0.0.1:{_free_port()}", secrets.token_hex(16), kind)
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                _command(server, folder), env=_environment(home, kernelspecs), cwd=folder, stdout=log, stderr=log, start_new_session=True
            )
        try:
            _wait(server, process, home / "log")
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    """Return a free port below the ephemeral ones (ip(7)).

    The notebooks of other tests take ephemeral ports until the server is up.
    """
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311  # not a secret
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _command(server: Server, folder: Path) -> list[str]:
    if server.kind == "voila":
        port = server.base.rpartition(":")[2]
        return [
            sys.executable,
            "-m",
            "voila",
            str(folder),
            f"--port={port}",
            "--no-browser",
            "--Voila.ip=127.0.0.1",
            f"--token={server.token}",
        ]
    flags = [
        f"--ServerApp.port={server.base.rpartition(':')[2]}",
        "--ServerApp.port_retries=0",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.open_browser=False",
        "--ServerApp.allow_root=True",
        f"--IdentityProvider.token={server.token}",
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.terminals_enabled=False",
    ]
    if server.kind == "lab":
        return [sys.executable, "-m", "jupyterlab", *flags, "--LabApp.extension_manager=readonly", "--LabApp.expose_app_in_browser=True"]
    return [sys.executable, "-m", "notebook", *flags, "--JupyterNotebookApp.expose_app_in_browser=True"]


def _environment(home: Path, kernelspecs: Path) -> dict[str, str]:
    own = {name: str(home / name.lower()) for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR")}
    own |= {"HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_PLATFORM_DIRS": "1", "JUPYTER_PATH": str(kernelspecs)}
    return {**os.environ, **own}


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{server.base}/{_READY_AT[server.kind]}?token={server.token}", timeout=2).read()  # noqa: S310  # loopback
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server does not come up: {log.read_text()[-2000:]}") from None
            time.sleep(0.05)
        else:
            return


@contextmanager
def browser(*, width: int = 1200, height: int = 1000, dark: bool = False, offline: bool = False) -> Iterator[Page]:
    """Yield a page of a fresh Chromium. offline: without any network."""
    with sync_playwright() as driver, tempfile.TemporaryDirectory(prefix="cr") as profile:
        context = driver.chromium.launch_persistent_context(
            profile,
            executable_path=_CHROMIUM,
            headless=True,
            args=_FLAGS,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            offline=offline,
        )
        context.set_default_timeout(PATIENCE_MS)
        page = context.pages[0] if context.pages else context.new_page()
        heard: list[str] = []
        page.on("console", lambda said: heard.append(said.text[:300]))
        try:
            yield page
        except Exception as error:
            error.add_note(f"the page said: {heard[-20:]}\nit showed: {page.locator('body').inner_text()[-3000:]}")
            raise
        finally:
            context.close()


def write(path: Path, cells: Sequence[str], *, kernel: str, outputs: Sequence[Any] = ()) -> None:
    """Write a notebook with these code cells. outputs: of the first."""
    notebook_format: Any = nbformat  # it has no types
    made = notebook_format.v4.new_notebook(cells=[notebook_format.v4.new_code_cell(code) for code in cells])
    made.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
    if outputs:
        made.cells[0].outputs = list(outputs)
    notebook_format.write(made, path)


def open_notebook(page: Page, server: Server, name: str) -> None:
    """Open it, and wait until its kernel is idle."""
    page.goto(server.url(name))
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.wait_for_function(_READY)


def run_cell(page: Page, number: int) -> None:
    """Run a cell, and wait for nothing."""
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").nth(number).click()
    page.keyboard.press("Shift+Enter")
