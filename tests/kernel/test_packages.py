"""Packages that a notebook names: in front of the image's, in a layer that stays; in a real container, from an index on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import wheelhouse
from kernels import real, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernels import Notebook
    from wheelhouse import Index

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups"),
    pytest.mark.usefixtures("jupyter_path"),
]


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that this host is configured for. Its `traitlets` would break the kernel."""
    with wheelhouse.serving() as found:
        monkeypatch.setenv("CELLHOLD_INDEX", found.url)
        found.add("tiny", "1.0")
        found.add("small", "1.0", requires=["tiny"], scripts={"small": "small:main"}, modules={"small.py": "def main(): print('small')"})
        found.add("shtab", "99.0")  # an older one is in the image
        found.add("traitlets", "99.0", modules={"traitlets/__init__.py": "raise SystemExit('not for the kernel')"})
        yield found


def test_packages_of_a_kernelspec_are_in_front_of_the_images_for_cells_and_what_they_start(index: Index) -> None:
    with running(real(packages="small, shtab, traitlets", memory="256m")) as notebook:
        cell = notebook.run("import small, tiny, shtab, traitlets; print(tiny.VERSION, shtab.VERSION, traitlets.__file__)")
        assert cell.text.startswith("1.0 99.0 /"), cell.error
        assert "/opt/cellhold/packages/" not in cell.text  # the kernel's own, which it has loaded
        assert notebook.run("!small; python -c 'import tiny; print(tiny.VERSION)'").text.split() == ["small", "1.0"]
        assert "Read-only file system" in notebook.run("!touch /opt/cellhold/packages/x /opt/cellhold/packages/bin/x").text
        layers = notebook.run("%container layers").text
        assert "packages: shtab, small, traitlets" in layers
        index.asked.clear()
        cell = notebook.run("%container packages=tiny\nimport tiny\ntry:\n    import small\nexcept ImportError:\n    print('no small')")
        assert "no small\n" in cell.text, cell.error
        assert index.asked
    with running(real(packages="small, shtab, traitlets", memory="256m")) as notebook:
        index.asked.clear()
        assert notebook.run("import small; print('here')").text == "here\n"
        assert index.asked == []


def test_what_cannot_be_had_is_told_in_the_cell(index: Index, tmp_path: Path) -> None:
    del tmp_path
    with running(real(memory="256m")) as notebook:
        assert "nowhere" in notebook.run("%container packages=nowhere").error
        assert "not a requirement" in notebook.run("%container packages='a b'").error
        assert notebook.run("print('still here')").text == "still here\n"
    assert index.asked


def test_pip_install_brings_packages_into_the_running_container_without_losing_a_variable(index: Index) -> None:
    with running(real(memory="256m")) as notebook:
        notebook.run("kept = 'yes'")
        cell = notebook.run("%pip install small\nimport small, tiny\nprint(kept, tiny.VERSION)")
        assert "yes 1.0\n" in cell.text, cell.error or cell.text
        assert notebook.run("!small").text.strip() == "small"
        assert "packages: small" in notebook.run("%container layers").text
        assert "Read-only file system" in notebook.run("!touch /opt/cellhold/packages/x").text
        assert "umount:" in notebook.run("!umount /opt/cellhold/packages 2>&1").text
        cell = notebook.run("%pip install -q shtab\nimport shtab\nprint(kept, shtab.VERSION)")
        assert "yes 99.0\n" in cell.text, cell.error or cell.text
        index.add("tiny", "2.0")
        cell = notebook.run("%pip install -U tiny")
        assert "packages: tiny 2.0: an older one is loaded" in cell.text, cell.text
        assert notebook.run("%container restart\nimport tiny, small, shtab; print(tiny.VERSION)").text.endswith("2.0\n")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%pip install -r requirements.txt", "cannot use -r with %pip install"),
        ("%pip install --index-url=http://evil.example tiny", "cannot use --index-url=http://evil.example"),
        ("%pip install http://evil.example/tiny.whl", "a package is named"),
        ("%pip install", "no package is named"),
        ("%pip uninstall tiny", "cannot do %pip uninstall"),
    ],
)
def test_what_pip_cannot_do_here_is_refused(worn: Notebook, line: str, says: str) -> None:
    assert says in worn.run(line).error
    assert worn.run("kept").text == "'yes'"


def test_a_link_on_the_way_to_the_packages_is_not_followed(index: Index) -> None:
    with running(real(memory="256m")) as notebook:
        notebook.run("!mkdir -p /tmp/elsewhere; ln -s /tmp/elsewhere /opt/cellhold")
        assert "cannot mount on /opt/cellhold/packages" in notebook.run("%pip install tiny").error
        assert notebook.run("!ls -A /tmp/elsewhere").text == ""
    assert index.asked
