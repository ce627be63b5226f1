"""Notebooks under a policy of the test's own, for tests of the gate."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cellhold.store import record
from cellhold.store.home import open_home
from kernels import beside, running
from ruled import POLICY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernels import Cell, Notebook

MARK = "only-the-server-knows"


def starter(folder: Path, rules: Path, image: str) -> Callable[..., Any]:
    """Return a function that starts a notebook in a folder, on an image.

    policy: text of the file `rules`; metadata: of its file; name: of that, "" = nobody
    says; texts: of its kernelspec.
    """

    @contextmanager
    def started(policy: str = "", *, metadata: Any = None, name: str = "n.ipynb", **texts: str) -> Iterator[Notebook]:
        rules.write_text(policy)
        environment = {**os.environ, POLICY: str(rules), "HOME": str(folder), "JUPYTER_TOKEN": MARK}
        environment.pop("JPY_SESSION_NAME", None)
        if name:
            asked = {} if metadata is None else {"cellhold": metadata}
            (folder / name).write_text(json.dumps({"metadata": asked, "cells": [], "nbformat": 4, "nbformat_minor": 5}))
            environment["JPY_SESSION_NAME"] = str(folder / name)
        manager = beside("ruled.py", **{"image": image, "memory": "64m", **texts})
        with running(manager, env=environment, cwd=str(folder)) as notebook:
            yield notebook

    return started


def refused(cell: Cell, *words: str) -> None:
    """Check that a cell was refused, with one sentence that has these words."""
    assert cell.status == "error", cell.text
    sentence = cell.error.splitlines()[0]
    assert sentence.startswith(("NotAllowed: cannot ", "InvalidSpec: cannot ")), cell.error
    assert [word for word in words if word not in sentence] == [], cell.error
    assert "Traceback" not in cell.error


def done(cell: Cell) -> str:
    """Check that a cell succeeded, and return its output."""
    assert cell.status == "ok", cell.error
    shown = [*cell.of("display_data"), *cell.of("update_display_data")]
    return cell.text + "".join(str(content["data"].get("text/plain")) for content in shown)


def kept() -> list[str]:
    known = filter(None, map(record.read, open_home().containers.iterdir()))
    return [one.name for one in known if one.kept]
