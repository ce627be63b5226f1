"""The lock of a notebook's packages in its metadata, where juv keeps it.

The text of a uv.lock.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cellhold.errors import InvalidSpec
from cellhold_kernel.settings.notebook import Notebook

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellhold_kernel.settings.folder import Folder
    from cellhold_kernel.settings.settings import Settings
    from cellhold_kernel.settings.workspace import Workspace

KEY = "uv.lock"


def package_fields(notebook: Path | None, workspace: Workspace | None, settings: Settings, words: Mapping[str, str]) -> dict[str, Any]:
    """Return what a ContainerRequest has of the notebook's packages.

    words: of the request. The file is read where some are named.
    """
    if notebook is None or "packages" not in {**settings.said, **words}:
        return {"is_file": notebook is not None}
    return {"is_file": True, "lock": read(notebook, None if workspace is None else workspace.folder)}


def read(path: Path, folder: Folder | None = None) -> str | None:
    """Return it, None where the notebook has none.

    What it says is a stranger's (packages/lock.py).

    Of a notebook above 2 MiB it is not read. Called when packages are asked for.
    """
    with suppress(OSError, InvalidSpec, ValueError):
        document = Notebook(path, folder).document()
        metadata = document.get("metadata") if isinstance(document, dict) else None
        text = metadata.get(KEY) if isinstance(metadata, dict) else None
        return text if isinstance(text, str) and text.strip() else None
    return None
