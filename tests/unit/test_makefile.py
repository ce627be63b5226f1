"""What the README tells a newcomer to type does something: JupyterLab refuses root unless it is told not to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def test_make_lab_works_for_root_too() -> None:
    checkout = Path(__file__).parents[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # these tests are run by make
    planned = subprocess.check_output(["make", "--dry-run", "lab"], cwd=checkout, env=environment, text=True).splitlines()[-1]
    assert planned.startswith(".venv/bin/jupyter lab ")
    assert ("--allow-root" in planned) == (os.geteuid() == 0)
    assert planned.endswith(".ipynb")
