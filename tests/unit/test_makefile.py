"""What the README tells a newcomer to type does something: JupyterLab refuses root unless it is told not to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def test_make_lab_works_for_root_too() -> None:
    checkout = Path(__file__).parents[2]
    planned = subprocess.check_output(["make", "--dry-run", "lab"], cwd=checkout, text=True).splitlines()[-1]
    assert planned.startswith(".venv/bin/jupyter lab ")
    assert ("--allow-root" in planned) == (os.geteuid() == 0)
    assert planned.endswith(".ipynb")
