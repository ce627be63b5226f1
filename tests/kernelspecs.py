"""The kernelspecs that the tests start kernels of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold_kernel import install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def jupyter_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a Jupyter data directory, which Jupyter finds.

    Its kernelspecs are `cellhold`, `cellhold-small` (256 MiB) and `cellhold-broken`.
    """
    data = tmp_path_factory.mktemp("jupyter")
    install.install(data, texts={})
    install.install(data, name="cellhold-small", texts={"memory": "256m"})
    broken = install.install(data, name="cellhold-broken", texts={}) / "kernel.json"
    broken.write_text(broken.read_text().replace('"cellhold": {}', '"cellhold": {"image": "127.0.0.1:1/nonsuch"}'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(data))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        yield data
