"""The folder and the kernelspecs that front ends are started with."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellhold_kernel import install


@pytest.fixture
def kernelspecs(tmp_path: Path) -> Path:
    """A Jupyter data directory with `cellhold-panel`: 256 MiB, half a processor, 64 processes, 64 MiB of disk."""
    data = tmp_path / "jupyter"
    data.mkdir()
    install.install(data, name="cellhold-panel", texts={"memory": "256m", "cpus": "0.5", "pids": "64", "disk": "64m"})
    return data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the notebooks."""
    made = tmp_path / "notebooks"
    made.mkdir()
    return made


@pytest.fixture
def shots() -> Path:
    """Where screenshots are kept, to be looked at: a folder that git ignores."""
    made = Path(__file__).parents[1] / ".shots"
    made.mkdir(exist_ok=True)
    return made
