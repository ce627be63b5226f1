"""The host kernel with a container that SIGUSR1 pauses and unpauses."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from cellhold.container.container import Container
from cellhold.spec.lifecycle import State
from cellhold_kernel import app
from cellhold_kernel.engine.local.engine import LocalEngine

if TYPE_CHECKING:
    from cellhold.spec.spec import Spec


def create(spec: Spec) -> Container:
    """Create a container that obeys the signal."""
    box = Container.create(spec)
    signal.signal(signal.SIGUSR1, lambda _number, _frame: box.unpause() if box.state is State.PAUSED else box.pause())
    return box


if __name__ == "__main__":
    sys.exit(app.serve(app.arguments(sys.argv[1:]), LocalEngine(create)))
