"""The rule of the house for docstrings, comments and names, as far as a program can hold it (CONTRIBUTING.md).

Whether a sentence is imperative, true and English is for the reviewer.
"""

from __future__ import annotations

import ast
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
KERNEL = "engine files gate images jobs magics protocol relay settings shell transport widgets".split()
PACKAGES = ("runtime/cellhold", *(f"kernel/cellhold_kernel/{name}" for name in KERNEL))
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
SUMMARY_LENGTH, PROSE_LENGTH = 80, 88
NO_NAMES = frozenset({"told", "shown", "plain", "said", "found", "known", "asked", "given", "place"})
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documented(module: ast.Module) -> Iterator[tuple[str, Documented, bool]]:
    """Yield module, classes and functions: qualified name, node, whether it is public."""
    yield "module", module, True
    yield from below(module, "", is_public=True)


def below(node: ast.AST, prefix: str, *, is_public: bool) -> Iterator[tuple[str, Documented, bool]]:
    """Yield what is defined in a node; a function's own functions are nobody else's."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Documented):
            public = is_public and not child.name.startswith("_")  # type: ignore[union-attr]  # a module is no child
            yield f"{prefix}{child.name}", child, public  # type: ignore[union-attr]
            yield from below(child, f"{prefix}{child.name}.", is_public=public and isinstance(child, ast.ClassDef))  # type: ignore[union-attr]
        else:
            yield from below(child, prefix, is_public=is_public)


def wide_lines(path: Path, module: ast.Module) -> Iterator[int]:
    """Yield the lines of docstrings (but the first) and of comments that are too wide; a URL cannot be wrapped."""
    lines = path.read_text().splitlines()
    numbers = set[int]()
    for _name, node, _is_public in documented(module):
        if ast.get_docstring(node) is not None:
            first = node.body[0]
            numbers.update(range(first.lineno + 1, (first.end_lineno or first.lineno) + 1))
    with path.open("rb") as file:
        numbers.update(
            token.start[0]
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
        )
    return (number for number in sorted(numbers) if len(lines[number - 1]) > PROSE_LENGTH and "://" not in lines[number - 1])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_comments_and_names_keep_the_rule(path: Path) -> None:
    module = ast.parse(path.read_text())
    faults = [f"line {number}: wider than {PROSE_LENGTH}" for number in wide_lines(path, module)]
    for name, node, is_public in documented(module):
        docstring = ast.get_docstring(node)
        summary = (docstring or "").partition("\n")[0]
        if isinstance(node, Function) and node.name.strip("_") in NO_NAMES:
            faults.append(f"{name}: the name does not say what it does")
        if docstring is None and is_public and path.stat().st_size:
            faults.append(f"{name}: no docstring")
        if len(summary) > SUMMARY_LENGTH:
            faults.append(f"{name}: the first line has {len(summary)} characters")
        if summary and not summary.endswith("."):
            faults.append(f"{name}: the first line does not end in a full stop")
    assert faults == []
