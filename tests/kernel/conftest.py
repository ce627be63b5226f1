"""Kernels for the tests: the installed kernelspec, and the host kernel with something else than a container behind it."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cellhold_kernel import install
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from notebook import Notebook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def jupyter_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Jupyter data directory with the kernelspecs `cellhold`, `cellhold-small` (256 MiB) and `cellhold-broken`; Jupyter finds it."""
    data = tmp_path_factory.mktemp("jupyter")
    install.install(data, texts={})
    install.install(data, name="cellhold-small", texts={"memory": "256m"})
    broken = install.install(data, name="cellhold-broken", texts={}) / "kernel.json"
    broken.write_text(broken.read_text().replace('"cellhold": {}', '"cellhold": {"image": "nonsuch"}'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(data))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        yield data


@contextmanager
def running(manager: KernelManager, *arguments: str, wait: bool = True) -> Iterator[Notebook]:
    """A notebook with a kernel of that manager, shut down in the end."""
    manager.start_kernel(extra_arguments=list(arguments))
    client = manager.client()
    client.start_channels()
    try:
        if wait:
            client.wait_for_ready(timeout=100)
        yield Notebook(manager, client)
    finally:
        client.stop_channels()
        if manager.has_kernel:
            manager.shutdown_kernel(now=not manager.is_alive())
        manager.cleanup_resources()
        client.context.destroy()


@pytest.fixture
def kernel(jupyter_path: Path) -> Iterator[Notebook]:
    """A notebook on the kernelspec `cellhold-small`."""
    del jupyter_path
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        yield notebook


def beside(program: str, **texts: str) -> KernelManager:
    """A manager of the host kernel as a program of this folder runs it, with these settings."""
    directory = Path(os.environ["CELLHOLD_HOME"]) / f"spec-{time.monotonic_ns()}"
    directory.mkdir()
    (directory / "kernel.json").write_text(json.dumps({"metadata": {"cellhold": texts}}))
    manager = KernelManager(kernel_name="python3")
    argv = [sys.executable, str(HERE / program), "-f", "{connection_file}", "--kernelspec", str(directory)]
    manager._kernel_spec = KernelSpec(argv=argv, display_name=program, language="python", interrupt_mode="message")
    return manager


@pytest.fixture(params=[pytest.param("container", marks=pytest.mark.requires("root", "overlayfs")), "stand-in"])
def either(request: pytest.FixtureRequest, jupyter_path: Path) -> Callable[[], KernelManager]:
    """Makes a manager of the real kernel with 256 MiB, or of the host kernel with a plain subprocess behind it."""
    del jupyter_path
    if request.param == "container":
        return lambda: KernelManager(kernel_name="cellhold-small")
    return lambda: beside("standin.py", memory="256m")
