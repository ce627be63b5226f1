"""The widgets of a notebook: the panel, whole, compact or in parts.

Each is a view of the one model (panel.py). Its id is fixed, so that a notebook finds it
when it is reopened; `parts` says what js/panel.js draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold_kernel.widgets import bundle
from cellhold_kernel.widgets.saved import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold_kernel.widgets.panel import Panel

_ANYWIDGET = ">=0.9.0 <1.0.0"


class Kind(NamedTuple):
    """A kind of view.

    parts: of js/panel.js, from top to bottom. has_picture: whether a picture can show
    most of it.
    """

    parts: tuple[str, ...]
    has_picture: bool


KINDS = {
    "panel": Kind(("life", "layers", "charts", "cells", "story"), has_picture=True),
    "compact": Kind(("actions", "few"), has_picture=True),
    "layers": Kind(("layers",), has_picture=False),  # LayerStack
    "monitor": Kind(("charts", "cells"), has_picture=True),  # ResourceMonitor
    "controls": Kind(("life", "story"), has_picture=False),  # LifecycleControls
}


class PanelView:
    """One widget (comms.Widget)."""

    def __init__(self, name: str, panel: Panel) -> None:
        """Make a view of a panel. name: of KINDS."""
        self.id = f"{PREFIX}{name}"
        self.kind = KINDS[name]
        self._panel = panel

    def state(self) -> dict[str, Any]:
        """Return an anywidget's state: the module that draws it, and which parts."""
        module = {"_module": "anywidget", "_module_version": _ANYWIDGET}
        return {
            **{f"_model{key}": value for key, value in {**module, "_name": "AnyModel"}.items()},
            **{f"_view{key}": value for key, value in {**module, "_name": "AnyView"}.items()},
            "_view_count": None,
            "_dom_classes": [],
            "_anywidget_id": "cellhold_kernel.widgets.Panel",
            "_esm": bundle.module(),
            "_css": bundle.style(),
            "parts": list(self.kind.parts),
        }

    def receive(self, content: Mapping[str, Any]) -> None:
        """Pass a message of the front end to the panel."""
        self._panel.receive(self, content)
