"""No file, class or function is larger than a reader can hold, and no package has more rooms at its top than he can count."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ENTRIES_MOST = {"runtime/cellhold": 18, "kernel/cellhold_kernel": 14}  # modules and packages, but for __init__ and __main__
FILE_MOST, CLASS_MOST, FUNCTION_MOST = 400, 250, 60  # lines
CHECKED = [*ENTRIES_MOST, "tests", "tools"]
SUFFIXES = {".py", ".js", ".css"}
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def files(directory: str) -> Iterator[Path]:
    """The sources below a directory; what a run of the tests leaves there has a dot in front."""
    for path in sorted((ROOT / directory).rglob("*")):
        if path.suffix in SUFFIXES and not any(part.startswith(".") for part in path.relative_to(ROOT).parts):
            yield path


def definitions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, lines and the most lines of each class and function in a file."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, FUNCTIONS | ast.ClassDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1, CLASS_MOST if isinstance(node, ast.ClassDef) else FUNCTION_MOST


@pytest.mark.parametrize("directory", CHECKED)
def test_no_file_is_too_long(directory: str) -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in files(directory)}
    assert sizes
    assert {name: lines for name, lines in sizes.items() if lines > FILE_MOST} == {}


@pytest.mark.parametrize("directory", CHECKED)
def test_no_class_or_function_is_too_long(directory: str) -> None:
    paths = [path for path in files(directory) if path.suffix == ".py"]
    too_long = [f"{path.relative_to(ROOT)}: {name}, {lines}" for path in paths for name, lines, most in definitions(path) if lines > most]
    assert too_long == []


@pytest.mark.parametrize("package", ENTRIES_MOST)
def test_no_package_has_too_many_entries_at_its_top(package: str) -> None:
    entries = {path.name for path in (ROOT / package).iterdir() if not path.name.startswith(("__", "."))}
    assert len(entries) <= ENTRIES_MOST[package], entries
