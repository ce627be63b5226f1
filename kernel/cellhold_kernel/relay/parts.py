"""What one host kernel works with, the same for each part of its relay.

HostKernel makes it. A part takes from it what it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellhold_kernel.engine.controls import Controls
    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.protocol.messages import Signer
    from cellhold_kernel.relay.pending import Requests
    from cellhold_kernel.relay.progress import Progress
    from cellhold_kernel.relay.replies import Answers
    from cellhold_kernel.transport.frontend import Frontend
    from cellhold_kernel.transport.loop import Loop
    from cellhold_kernel.widgets.lazy_panel import LazyPanel


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Parts:
    """Both ends, and the requests that are not answered yet."""

    frontend: Frontend
    session: Session
    loop: Loop
    signer: Signer
    requests: Requests
    answers: Answers
    controls: Controls
    panel: LazyPanel
    progress: Progress
