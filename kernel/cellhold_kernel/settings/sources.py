"""The sources of a notebook's settings: kernelspec, its metadata, the policy.

Which of them wins is the business of settings.py; what each may ask for, of the gate.
"""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from cellhold.errors import CellholdError, InvalidSpec
from cellhold.linux import hostpath
from cellhold_kernel.protocol import documents
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings import environment
from cellhold_kernel.settings.notebook import METADATA, Notebook
from cellhold_kernel.settings.policy import PATH
from cellhold_kernel.settings.settings import Settings, Trust

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellhold_kernel.settings.folder import Folder
    from cellhold_kernel.settings.workspace import Workspace

LARGEST_KERNELSPEC = 1 << 20  # bytes
_LARGEST_NUMBER = 1 << 63  # more than any key could take
_SHOWN = 64
_SHOWN_PATH = 300


class Sources(NamedTuple):
    """Everything that a spec is made of.

    workspace: the notebook's folder, None if it was removed. policy: the file of the
    machine's policy. notebook: its file, if that can be determined.
    """

    settings: Settings = Settings()
    workspace: Workspace | None = None
    policy: Path = PATH
    notebook: Path | None = None


def of_kernelspec(directory: Path) -> Settings:
    """Read the settings in `metadata.cellhold` of the kernelspec in `directory`.

    Raises InvalidSpec, or OSError if there is no kernel.json.
    """
    path = directory / "kernel.json"
    try:
        document = documents.load(hostpath.read(path, LARGEST_KERNELSPEC))
        metadata = _metadata(document)
        names = environment.patterns(metadata.pop(environment.PASSTHROUGH, []))
        texts = _texts(metadata)
        passed = environment.of_kernelspec(document, names, os.environ)
    except ValueError as error:
        raise InvalidSpec(f"cannot read kernelspec {path}: {error}", hint="write it again with: cellhold kernel install") from None
    return Settings(environment=passed).over(str(path), texts)


def of_notebook(path: Path, folder: Folder | None = None) -> dict[str, str]:
    """Read `metadata.cellhold` of a notebook's own file; {} if there is no file yet.

    folder: the notebook's held folder. Raises InvalidSpec.
    """
    hint = "%container key=value in its first cell does the same"
    try:
        return _texts(_metadata(Notebook(path, folder).document()))
    except FileNotFoundError:
        return {}
    except InvalidSpec as error:
        raise InvalidSpec(str(error), hint=hint) from None
    except ValueError as error:
        raise InvalidSpec(f"cannot read the metadata of notebook {escape(str(path), most=_SHOWN_PATH)}: {error}", hint=hint) from None


def _metadata(document: Any) -> dict[str, Any]:
    """Return `metadata.cellhold` of a kernelspec or a notebook. Raises ValueError."""
    metadata = document.get("metadata", {}) if isinstance(document, dict) else None
    values = metadata.get(METADATA, {}) if isinstance(metadata, dict) else None
    if not isinstance(values, dict):
        whose = "the document" if metadata is None else METADATA if isinstance(metadata, dict) else "metadata"
        raise ValueError(f'{whose} is not an object: write "{METADATA}": {{"memory": "512m"}}')  # noqa: TRY004  # as of all texts
    return dict(values)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return key -> text.

    A value is a string, a number, or a list of strings for a key that may be repeated.
    Raises ValueError.
    """
    return {key: _format_value(value, key) for key, value in values.items()}


def _format_value(value: Any, key: str) -> str:
    """Return a JSON value as a text. Raises ValueError for a type that no key has."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return ", ".join(value) if key == "packages" else shlex.join(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER:
        return json.dumps(value)
    raise ValueError(f"the value of {escape(key, most=_SHOWN)} is neither a string nor a number, nor a list of strings")


def collect(kernelspec: Path | None, notebook: Path | None, folder: Folder | None = None) -> tuple[Settings, CellholdError | None]:
    """Return the settings of kernelspec and notebook, and the first error on the way.

    A source that cannot be read counts as empty. folder: the notebook's held folder.
    """
    settings, failure = Settings(), None
    if kernelspec is not None:
        try:
            settings = of_kernelspec(kernelspec)
        except OSError as error:
            failure = CellholdError(f"cannot read the kernelspec {kernelspec / 'kernel.json'}: {error.strerror}")
        except CellholdError as error:
            failure = error
    if notebook is not None:
        try:
            settings = settings.over(f"the metadata of {notebook.name}", of_notebook(notebook, folder), trust=Trust.METADATA)
        except CellholdError as error:
            failure = failure or error
    return settings, failure
