"""A set of packages: resolved by uv at one index, made once, found again without it, with the versions of the notebook."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import wheelhouse
from cellhold.errors import CellholdError, InvalidSpec
from cellhold.image import tags
from cellhold.store.home import open_home
from cellhold_kernel.images.packages import sets
from cellhold_kernel.images.packages import target as targets
from cellhold_kernel.settings.requirements import PackageSet, parse_list

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.store.home import Home
    from wheelhouse import Index

HERE = targets.of_this_host()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that this host is configured for: `small`, which needs `tiny`."""
    with wheelhouse.serving() as found:
        monkeypatch.setenv("CELLHOLD_INDEX", found.url)
        found.add("tiny", "1.0")
        found.add("small", "1.0", requires=["tiny>=1"], scripts={"small": "small:main"}, modules={"small.py": "def main(): print('small')"})
        yield found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home")


def wanted(text: str, *, owner: str = "", target: targets.PythonTarget = HERE, **more: object) -> sets.Wanted:
    return sets.Wanted(packages=replace(PackageSet(wanted=parse_list(text)), **more), target=target, owner=owner)  # type: ignore[arg-type]


def make(home: Home, asked: sets.Wanted) -> sets.PackageLayer:
    return sets.make(asked, home, lambda **_words: None)


def test_a_set_becomes_a_layer_that_a_python_imports_from(home: Home, index: Index) -> None:
    asked = wanted("small")
    assert sets.find(asked, home) is None
    layer = make(home, asked)
    assert sets.find(asked, home) == layer
    assert sets.versions(layer.path) == [("small", "1.0"), ("tiny", "1.0")]
    env = {"PYTHONPATH": str(layer.path / targets.site_packages(HERE)), "PYTHONDONTWRITEBYTECODE": "1"}
    code = "import small, tiny; print(tiny.VERSION)"
    assert subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout == "1.0\n"
    assert 'name = "small"' in sets.lock_text(layer.path)
    assert index.asked


def test_the_second_notebook_with_it_asks_nobody(home: Home, index: Index) -> None:
    layer = make(home, wanted("small", owner="first"))
    index.asked.clear()
    assert make(home, wanted("small", owner="second")) == layer
    assert make(home, wanted("small", owner="first")) == layer
    assert index.asked == []


def test_ten_at_once_resolve_once(home: Home, index: Index) -> None:
    made: list[sets.PackageLayer] = []
    threads = [threading.Thread(target=lambda: made.append(make(home, wanted("small")))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 10
    assert len(set(made)) == 1
    assert sum(path.startswith("/simple/small") for path in index.asked) == 1
    assert not list((home.root / "packages").glob("making-*"))


def test_a_notebook_gets_the_same_versions_next_year_and_newer_ones_when_it_asks(home: Home, index: Index) -> None:
    make(home, wanted("small", owner="old"))
    index.add("tiny", "1.5")
    index.add("other")
    more = make(home, wanted("small, other", owner="old"))
    assert sets.versions(more.path) == [("other", "1.0"), ("small", "1.0"), ("tiny", "1.0")]
    assert sets.versions(make(home, wanted("small, other", owner="new")).path)[-1] == ("tiny", "1.5")
    newest = make(home, wanted("small, other", owner="old", is_upgrade=True))
    assert sets.versions(newest.path)[-1] == ("tiny", "1.5")
    assert sets.find(wanted("small, other", owner="old"), home) == newest


def test_a_lock_of_the_notebook_pins_and_its_urls_are_not_asked(home: Home, index: Index, tmp_path: Path) -> None:
    lock = sets.lock_text(make(home, wanted("small")).path)
    index.add("tiny", "1.5")
    elsewhere = open_home(tmp_path / "elsewhere")
    with wheelhouse.serving() as evil:
        hostile = lock.replace(index.url.removesuffix("/simple"), evil.url.removesuffix("/simple"))
        assert evil.url.removesuffix("/simple") in hostile
        layer = make(elsewhere, wanted("small", lock=hostile))
        assert evil.asked == []
    assert sets.versions(layer.path) == [("small", "1.0"), ("tiny", "1.0")]


def test_a_file_with_another_hash_than_the_lock_has_is_refused(home: Home, index: Index, tmp_path: Path) -> None:
    lock = sets.lock_text(make(home, wanted("small")).path)
    index.add("tiny", "1.0", modules={"tiny.py": "VERSION = 'evil'"})
    with pytest.raises(InvalidSpec, match=r"cannot install tiny 1\.0: .* has another hash than the lock has"):
        make(open_home(tmp_path / "elsewhere"), wanted("small", lock=lock))


def test_a_file_that_is_not_what_the_index_says_is_refused_and_nothing_is_left(home: Home, index: Index) -> None:
    index.sha256["tiny-1.0-py3-none-any.whl"] = "0" * 64
    with pytest.raises(InvalidSpec, match=r"tiny-1\.0-py3-none-any\.whl has another hash than the index says"):
        make(home, wanted("small"))
    assert home.layers.all() == []
    assert not list((home.root / "scratch").iterdir())


def test_a_hostile_wheel_of_the_index_leaves_nothing(home: Home, index: Index) -> None:
    index.add("tiny", "1.0", record={"tiny.py": wheelhouse.hashed(b"other")})
    with pytest.raises(InvalidSpec, match="another hash than its RECORD says"):
        make(home, wanted("small"))
    assert home.layers.all() == []


def test_a_set_above_its_bound_is_refused(home: Home, index: Index) -> None:
    with pytest.raises(InvalidSpec, match="cannot install"):
        make(home, wanted("small", most_bytes=300))
    assert home.layers.all() == []
    assert not [path for path in index.asked if path == "/files/small-1.0-py3-none-any.whl"][2:]


def test_what_was_published_later_does_not_exist(home: Home, index: Index) -> None:
    index.add("tiny", "1.5")
    index.published["tiny-1.5-py3-none-any.whl"] = "2026-06-01T00:00:00Z"
    old = make(home, wanted("tiny", exclude_newer="2026-02-01T00:00:00Z"))
    assert sets.versions(old.path) == [("tiny", "1.0")]
    assert sets.versions(make(home, wanted("tiny")).path) == [("tiny", "1.5")]


def test_the_wheel_is_the_best_for_the_python_of_the_image(home: Home, index: Index) -> None:
    for tag in (
        "cp312-cp312-manylinux_2_17_x86_64",
        "cp312-cp312-musllinux_1_2_x86_64",
        "cp312-cp312-manylinux_2_28_x86_64",
        "py3-none-any",
    ):
        index.add("fast", "1.0", tag=tag, modules={"fast.py": f"TAG = {tag!r}"})
    for libc, glibc, tag in (("glibc", (2, 28), "manylinux_2_28"), ("glibc", (2, 17), "manylinux_2_17"), ("musl", None, "musllinux_1_2")):
        python = targets.PythonTarget(path="/usr/bin/python3", version=(3, 12), libc=libc, glibc=glibc, machine="x86_64")
        layer = make(home, wanted("fast", target=python))
        assert tag in (layer.path / targets.site_packages(python) / "fast.py").read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nowhere", "nowhere"),
        ("tiny>2", "tiny>2"),
        ("small, tiny<1", "tiny<1"),
        ("nothere", "nothere"),
    ],
)
def test_what_cannot_be_resolved_is_told_with_its_name(home: Home, index: Index, text: str, says: str) -> None:
    with pytest.raises(InvalidSpec, match=f"cannot resolve the packages .*{says}"):
        make(home, wanted(text))
    assert index.asked


def test_a_package_without_a_wheel_is_refused_with_a_remedy(home: Home, index: Index) -> None:
    index.files["built-1.0.tar.gz"] = b"not looked at"
    with pytest.raises(InvalidSpec, match="built") as refused:
        make(home, wanted("built"))
    assert "%%dockerfile" in str(refused.value.hint)
    assert "/files/built-1.0.tar.gz" not in index.asked


def test_an_index_that_does_not_answer_is_told_without_its_login(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with wheelhouse.serving() as gone:
        monkeypatch.setenv("CELLHOLD_INDEX", gone.url.replace("//", "//me:secret@"))
    with pytest.raises(CellholdError, match="does not answer") as refused:
        make(home, wanted("tiny"))
    assert "secret" not in str(refused.value)


def test_a_login_of_the_index_goes_with_it(home: Home, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.login = "me:secret"
    monkeypatch.setenv("CELLHOLD_INDEX", index.url.replace("//", "//me:secret@"))
    assert sets.versions(make(home, wanted("tiny")).path) == [("tiny", "1.0")]


def test_no_variable_and_no_file_of_the_folder_leads_to_another_index(
    home: Home, index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with wheelhouse.serving() as evil:
        evil.add("tiny", "9.0")
        for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
            monkeypatch.setenv(name, evil.url)
        (tmp_path / "uv.toml").write_text(f'[[index]]\nurl = "{evil.url}"\n')
        (tmp_path / "pyproject.toml").write_text(f'[[tool.uv.index]]\nurl = "{evil.url}"\n')
        monkeypatch.chdir(tmp_path)
        layer = make(home, wanted("tiny"))
        assert evil.asked == []
    assert sets.versions(layer.path) == [("tiny", "1.0")]
    assert index.asked


def test_garbage_collection_leaves_what_a_set_or_a_process_has(home: Home, index: Index) -> None:
    layer = make(home, wanted("small"))
    tags.collect(home)
    assert sets.find(wanted("small"), home) == layer
    held = home.layers.hold(layer.chain)
    tags.forget_builds(home)
    assert layer.path.is_dir()
    os.close(held)
    tags.collect(home)
    assert not layer.path.exists()
    assert sets.find(wanted("small"), home) is None
    assert index.asked
