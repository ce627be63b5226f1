"""The kernelspecs that the tests start, and kernels of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop

from cellhold import doctor
from cellhold_kernel import install
from kernels import beside, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernels import Notebook


@pytest.fixture(scope="session")
def jupyter_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Jupyter data directory with the kernelspecs `cellhold`, `cellhold-small` (256 MiB) and `cellhold-broken`; Jupyter finds it."""
    data = tmp_path_factory.mktemp("jupyter")
    install.install(data, texts={})
    install.install(data, name="cellhold-small", texts={"memory": "256m"})
    broken = install.install(data, name="cellhold-broken", texts={}) / "kernel.json"
    broken.write_text(broken.read_text().replace('"cellhold": {}', '"cellhold": {"image": "127.0.0.1:1/nonsuch"}'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(data))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        loop = ensure_event_loop()  # jupyter_client keeps one for its blocking calls
        yield data
        loop.close()


@pytest.fixture
def kernel(jupyter_path: Path) -> Iterator[Notebook]:
    """A notebook on the kernelspec `cellhold-small`."""
    del jupyter_path
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        yield notebook


@pytest.fixture
def either(jupyter_path: Path) -> Callable[[], KernelManager]:
    """Makes a manager of the real kernel with 256 MiB; where no container can be made, of one with a plain subprocess behind it."""
    del jupyter_path
    if doctor.look("root").ok and doctor.look("overlayfs").ok:
        return lambda: KernelManager(kernel_name="cellhold-small")
    return lambda: beside("standin.py", memory="256m")


@pytest.fixture(scope="module")
def worn(jupyter_path: Path) -> Iterator[Notebook]:
    """A notebook of several tests, on the kernelspec `cellhold-small`; in it `kept` is "yes"."""
    del jupyter_path
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        notebook.run("kept = 'yes'")
        yield notebook
