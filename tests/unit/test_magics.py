"""The table of magics: each row has a module that does what its kind says, found by its word."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from cellhold.errors import InvalidSpec
from cellhold_kernel.magics import lines, registry

if TYPE_CHECKING:
    from cellhold_kernel.engine.session import Session

NOBODYS = cast("Session", None)  # a cell that is read wrong, or is no magic, asks nothing of it


@pytest.mark.parametrize("name", registry.LINES)
def test_each_line_magic_shows_something_and_all_but_container_change_something(name: str) -> None:
    magic = registry.line_magic(name)
    assert callable(magic.mime_bundle)
    assert hasattr(magic, "change") is (name != "container")
    assert lines.read(f"%{name}\n1") == ({name: {}}, f"# %{name}\n1", ())


@pytest.mark.parametrize("name", registry.CELLS)
def test_each_cell_magic_begins_with_its_word_and_nothing_longer(name: str) -> None:
    assert callable(import_module(f"cellhold_kernel.magics.{name}").begin)
    assert registry.begin_job(NOBODYS, f"%%{name}s x\n1") is None
    with pytest.raises(InvalidSpec):
        registry.begin_job(cast("Session", SimpleNamespace(missing={})), f"%%{name} 'x\n1")


@pytest.mark.parametrize("code", ["", "  \n", "1", "%%", "%%time\n1", "x = '%%run'", "# %%run busybox"])
def test_any_other_cell_is_no_job(code: str) -> None:
    assert registry.begin_job(NOBODYS, code) is None


def test_no_magic_is_missed_by_the_look_at_the_raw_cell() -> None:
    words = (*(f"%{name}" for name in registry.LINES), *(f"%%{name}" for name in registry.CELLS))
    assert all(any(mark in word.encode() for mark in registry.MARKS) for word in words)
