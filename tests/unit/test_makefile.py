"""What the README tells a newcomer to type does something: JupyterLab starts, and the two commands that test run each test once."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def last_command(target: str) -> str:
    """What make would run last for it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # these tests are run by make
    return subprocess.check_output(["make", "--dry-run", target], cwd=CHECKOUT, env=environment, text=True).splitlines()[-1]


def test_make_lab_works_for_root_too() -> None:
    planned = last_command("lab")
    assert planned.startswith(".venv/bin/jupyter lab ")
    assert ("--allow-root" in planned) == (os.geteuid() == 0)
    assert planned.endswith(".ipynb")


def test_what_make_test_leaves_out_is_all_that_make_test_all_runs() -> None:
    quick, slow = last_command("pytest"), last_command("pytest-slow")
    expression = re.search(r' -m "(.*)"$', slow)
    assert expression is not None
    assert quick == slow.replace(expression[0], f' -m "not ({expression[1]})"')
    markers = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    assert set(expression[1].split(" or ")) <= {marker.partition(":")[0] for marker in markers}  # an unknown one would be of no test


def test_both_are_what_ci_runs() -> None:
    rules = (CHECKOUT / "Makefile").read_text()
    assert "\ntest: $(VENV)/.test\n\t$(MAKE) --jobs=2 lint pytest\n" in rules
    assert "\ntest-all: $(VENV)/.test\n\t$(MAKE) --jobs=2 pytest-slow guest\n" in rules
    assert [line for line in (CHECKOUT / ".ci/run").read_text().splitlines() if line.startswith("make ")] == [
        "make demo",
        "make test",
        "make test-all",
    ]
