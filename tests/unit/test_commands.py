"""The table of commands says what the modules add; so that one command loads one module."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from cellhold.cli import command

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("module", command.MODULES)
def test_a_module_adds_the_commands_of_the_table(module: str) -> None:
    commands = argparse.ArgumentParser().add_subparsers()
    import_module(f"cellhold.cli.{module}").add(commands)
    assert tuple(commands.choices) == command.MODULES[module]


def test_a_run_loads_nothing_that_only_images_need() -> None:
    code = "import sys; from cellhold.cli.command import parser; parser('run'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    unwanted = {"urllib3", "rich", "zstandard", "importlib.metadata", "cellhold.image.stored", "cellhold.doctor", "cellhold.build"}
    assert unwanted.isdisjoint(loaded)
    assert "cellhold.container.container" in loaded


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_shell_gets_all_commands_and_flags(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("cellhold", "run", "exec", "volume", "completion"))
    assert shell != "bash" or all(flag in script for flag in ("--memory-swap", "--restart", "--health-cmd"))


def every_parser(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """It, and those of all commands below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from every_parser(below)


def test_every_command_has_a_help_that_can_be_printed() -> None:
    parsers = list(every_parser(command.parser()))
    assert len(parsers) > 50
    for parser in parsers:
        assert parser.format_help().startswith("usage: cellhold")


_INTERRUPTED = """
import os, runpy, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["cellhold", "ps"]
runpy.run_module("cellhold.cli", run_name="__main__")
"""


@pytest.mark.parametrize("module", ["cellhold.cli.command", "argparse", "cellhold.errors", "cellhold.cli.containers", "cellhold.container"])
def test_a_command_that_is_interrupted_while_it_is_loaded_prints_no_traceback(module: str) -> None:
    code = _INTERRUPTED.replace("MODULE", repr(module))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")
