"""The view that front ends load: the modules of js/ as one, and its style sheet.

anywidget takes one module as a text (`_esm`), without an address from which another
could be imported. So the modules are joined in the order of their imports; each exports
and imports only names, and no two have a name in common.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

MODULES = ("dom", "values", "charts", "lifecycle", "layers", "cells", "network", "panel")  # each after those that it imports
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)


@cache
def module() -> str:
    """Return the view as one ECMAScript module."""
    here = resources.files("cellhold_kernel.widgets") / "js"
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", (here / f"{name}.js").read_text(encoding="utf-8"))) for name in MODULES)


@cache
def style() -> str:
    """Return the view's style sheet."""
    return (resources.files("cellhold_kernel.widgets") / "panel.css").read_text(encoding="utf-8")
