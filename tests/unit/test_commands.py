"""The table of commands says what the modules add; so that one command loads one module."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from cellhold import cli

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    assert "cellhold.container.container" in loaded


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_shell_gets_all_commands_and_flags(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
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
    parsers = list(every_parser(cli.parser()))
    assert len(parsers) > 50
    for parser in parsers:
        assert parser.format_help().startswith("usage: cellhold")
