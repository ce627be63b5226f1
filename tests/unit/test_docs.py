"""What the documentation names is there: files, and the pages that it links to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {ROOT / "CHANGELOG.md"})  # that tells of what was
FILES = [f"/{path.relative_to(ROOT)}" for top in ("runtime", "kernel", "tests", "tools") for path in (ROOT / top).rglob("*.py")]
OF_USERS = {"jupyter_server_config.py"}
_NAME = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py)`")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_files_that_there_are(page: Path) -> None:
    names = set(_NAME.findall(page.read_text(encoding="utf-8")))
    assert not {name for name in names - OF_USERS if not any(path.endswith(f"/{name}") for path in FILES)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_links_to_what_there_is(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link
