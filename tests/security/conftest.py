"""What the kernels of these tests need of their session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jupyter_core.utils import ensure_event_loop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def jupyter_loop() -> Iterator[None]:
    """The event loop that jupyter_client keeps for its blocking calls, closed in the end."""
    loop = ensure_event_loop()
    yield
    loop.close()
