"""The table of commands says what the modules add; so that one command loads one module."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module

import pytest

from cellhold import cli


@pytest.mark.parametrize("module", cli.MODULES)
def test_a_module_adds_the_commands_of_the_table(module: str) -> None:
    commands = argparse.ArgumentParser().add_subparsers()
    import_module(f"cellhold.cli.{module}").add(commands)
    assert tuple(commands.choices) == cli.MODULES[module]


def test_a_run_loads_nothing_that_only_images_need() -> None:
    code = "import sys; from cellhold.cli import parser; parser('run'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    unwanted = {"urllib3", "rich", "zstandard", "importlib.metadata", "cellhold.image.stored", "cellhold.doctor", "cellhold.build"}
    assert unwanted.isdisjoint(loaded)
    assert "cellhold.container" in loaded
