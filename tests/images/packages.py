"""Debian packages for test images: of the machine's own release, from the sources that its apt has.

apt reads whole lists at each of its runs, 60 000 packages: that is most of what a small image costs. So it is given short lists, of
only the packages in question and what they depend on, cut from those that the machine has.
"""

from __future__ import annotations

import platform
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from images.layout import call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_FORMAT = "$(RELEASE)\t$(COMPONENT)\t$(REPO_URI)\t$(FILENAME)"
_LISTS = Path("/var/lib/apt/lists")
_PACKED = ("", ".lz4", ".gz", ".xz", ".zst", ".bz2")
_CAT = "/usr/lib/apt/apt-helper"
_DEPENDS = re.compile(r"^(?:Pre-)?Depends: (.+)$", re.MULTILINE)


class Index(NamedTuple):
    """A list of packages that apt has on disk."""

    suite: str
    component: str
    uri: str
    file: Path

    @property
    def name(self) -> str:
        """What apt calls it where lists are not compressed."""
        return self.file.stem if self.file.suffix in _PACKED else self.file.name

    @property
    def source(self) -> str:
        """It as a line of sources.list. Trusted: apt checked the signature when it got the list, and the list has the hashes."""
        return f"deb [trusted=yes] {self.uri} {self.suite} {self.component}"

    def stanzas(self) -> Iterator[tuple[str, str]]:
        """Each package's name and all that is said of it."""
        for stanza in call(_CAT, "cat-file", str(self.file)).split("\n\n"):
            yield stanza.partition("\n")[0].removeprefix("Package: "), stanza


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Short lists: files in `directory` as they belong into /var/lib/apt/lists, `sources` for sources.list, and whose they are."""

    directory: Path
    sources: Sequence[str]
    names: Sequence[str]

    def download(self, into: Path) -> None:
        """Download the packages that were asked for, without what they depend on."""
        (self.directory / "sources").write_text("\n".join(self.sources), encoding="ascii")
        places = {
            "Dir::State::Lists": self.directory,
            "Dir::Etc::SourceList": self.directory / "sources",
            "Dir::Etc::SourceParts": "/dev/null",
        }
        options = {**places, "Dir::Cache::PkgCache": "", "APT::Sandbox::User": "root"}
        call("apt-get", "-qq", *(f"--option={name}={value}" for name, value in options.items()), "download", *self.names, directory=into)


def suite() -> str:
    """The release of this machine, which is the one of the images: "bookworm"."""
    return _release().get("VERSION_CODENAME", "")


def cut(names: Iterable[str], into: Path) -> Lists:
    """Write short lists into a directory that this makes anew; a name that this release does not have is left out."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    indexes = _indexes(into)
    there: dict[str, list[tuple[Index, str]]] = defaultdict(list)
    for index in indexes:
        for name, stanza in index.stanzas():
            there[name].append((index, stanza))
    chosen = [record for name in sorted(_closure(names, there)) for record in there[name]]
    for index in indexes:
        (into / index.name).write_text("".join(f"{stanza}\n\n" for of, stanza in chosen if of == index))
    return Lists(directory=into, sources=[index.source for index in indexes], names=[name for name in names if name in there])


def fresh(make: Callable[[], None]) -> None:
    """Do what downloads packages; once more with new lists if that fails, since a package goes when it gets an update."""
    try:
        make()
    except RuntimeError:
        call("apt-get", "-qq", "update")
        make()


def _closure(names: Iterable[str], there: Mapping[str, list[tuple[Index, str]]]) -> set[str]:
    """The names and all that they may depend on, every alternative of it: more than apt will take, and never less."""
    found: set[str] = set()
    new = set(names)
    while new := {name for name in new if name in there} - found:
        found |= new
        lines = (line for name in new for _, stanza in there[name] for line in _DEPENDS.findall(stanza))
        new = {word.split()[0].partition(":")[0] for line in lines for word in re.split("[,|]", line)}
    return found


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _indexes(empty: Path) -> list[Index]:
    """The lists of this release that this machine's apt has, or gets now; skips on other systems than Debian and Ubuntu."""
    if not any(system in _release().get("ID", "") for system in ("debian", "ubuntu")):
        pytest.skip("test images cannot be made: this machine is neither Debian nor Ubuntu")
    if not _on_disk(empty):
        call("apt-get", "-qq", "update")
    return _on_disk(empty)


def _on_disk(empty: Path) -> list[Index]:
    """`empty` has no lists: apt would read those that there are before it tells what does not need them."""
    told = ("--no-release-info", "--format", _FORMAT, "Created-By: Packages")
    lines = call("apt-get", f"--option=Dir::State::Lists={empty}", "indextargets", *told).splitlines()
    wanted = [line.split("\t") for line in lines if line.startswith(suite())]
    files = [(name, component, uri, f"{Path(path).name}{packed}") for name, component, uri, path in wanted for packed in _PACKED]
    there = [Index(name, component, uri, _LISTS / file) for name, component, uri, file in files]
    return [index for index in there if index.file.exists()]
