"""Kernels of the kernelspecs that the tests start (`jupyter_path`, in ../kernelspecs.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

from cellhold import doctor
from kernels import beside, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernels import Notebook


@pytest.fixture
def kernel(jupyter_path: Path) -> Iterator[Notebook]:
    """A notebook on the kernelspec `cellhold-small`."""
    del jupyter_path
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        yield notebook


@pytest.fixture(scope="module")
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
