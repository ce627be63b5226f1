"""The wheels of a kernel layer: an ipykernel and all that it needs, for a Python that is not the one that fetches them.

    TO/cp312-musl-x86_64-1a2b3c4d/*.whl      complete: it was renamed to this when the last wheel was there

Which they are was resolved beforehand (pins.json, made by tools/kernel_wheels.py): pip resolves the markers of dependencies for the
Python that it runs on, whichever it is asked for (pypa/pip#11664). The host's own pip fetches them, from the index that its user has
configured, or that is given here. How they get into an image is not the business of this module (unpacking.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from cellhold import helper
from cellhold.errors import CellholdError, NotSupported
from cellhold.store.scratch import scratch
from cellhold_kernel.images.found import version_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellhold_kernel.images.found import Python

LIBCS = ("glibc", "musl")
MACHINES = ("x86_64", "aarch64")
_GLIBC_UNTOLD = (2, 28)  # Debian 10's, RHEL 8's
_OLDEST_GLIBC = {"x86_64": 5, "aarch64": 17}  # that wheels were ever made for
_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}  # PEPs 599, 571, 513
_MUSL = ("musllinux_1_2", "musllinux_1_1")
_SEPARATORS = re.compile(r"[-_.]+")
_MISSING = re.compile(r"No matching distribution found for ([^\s=]+)==(\S+)")
_SILENT = ("Retrying (", "Connection", "timed out", "Temporary failure")
_LONGEST_REASON = 300
_PIP = "import runpy; runpy.run_module('pip', run_name='__main__', alter_sys=True)"
_PIP_SECONDS = 1800.0  # for 10 MB; pip itself gives up on a server that says nothing for 15 s, and on no other
_HINT = "give a directory with the wheels, or another index; or build an image with ipykernel in it: RUN pip install ipykernel"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a wheel has to fit."""

    version: tuple[int, int]
    libc: str
    machine: str
    glibc: tuple[int, int] | None = None

    def __str__(self) -> str:
        """As in: Python 3.12 (musl, x86_64)."""
        return f"{version_text(self.version)} ({self.libc}, {self.machine})"

    @property
    def name(self) -> str:
        """As in: cp312-musl-x86_64."""
        return "cp{}{}-{}-{}".format(*self.version, self.libc, self.machine)

    def platforms(self) -> tuple[str, ...]:
        """The platform tags that fit, the best first (PEPs 600 and 656)."""
        if self.libc == "musl":
            return tuple(f"{tag}_{self.machine}" for tag in _MUSL)
        newest = (self.glibc or _GLIBC_UNTOLD)[1]
        tags: list[str] = []
        for minor in range(newest, _OLDEST_GLIBC[self.machine] - 1, -1):
            tags += [f"manylinux_2_{minor}_{self.machine}", *([f"{_ALIASES[minor]}_{self.machine}"] if minor in _ALIASES else [])]
        return tuple(tags)


def target(python: Python) -> Target:
    """What wheels for this Python have to fit. Raises NotSupported where there are none, or where a fact is not known."""
    if python.version is None or python.libc is None or python.machine is None:
        unknown = "its version" if python.version is None else "its C library" if python.libc is None else "which machine it is for"
        raise NotSupported(f"cannot add a kernel to {python.path} of the image: there is no telling {unknown}")
    return Target(version=python.version, libc=python.libc, machine=python.machine, glibc=python.glibc)


def pins(wanted: Target) -> Mapping[str, str]:
    """Name -> version of all that is installed. Raises NotSupported for a Python without an entry in the table, and for gaps in it."""
    table = json.loads((resources.files("cellhold_kernel.images") / "pins.json").read_text())
    entry = table.get("{}.{}".format(*wanted.version))
    if entry is None:
        known = ", ".join(table)
        raise NotSupported(
            f"cannot add a kernel to an image with {version_text(wanted.version)}: wheels are known for {known}",
            hint="build an image with ipykernel in it: RUN pip install ipykernel",
        )
    platform = f"{wanted.libc}-{wanted.machine}"
    gaps = entry.get("gaps", {}).get(platform)
    if gaps:
        raise NotSupported(
            f"cannot add a kernel to an image with {wanted}: nobody has made wheels of {', '.join(gaps)} for it",
            hint="build an image with ipykernel in it: RUN pip install ipykernel, with a compiler",
        )
    return {**entry["pins"], **entry.get("instead", {}).get(platform, {})}


def fetch(python: Python, to: Path, *, index: str | None = None, wheels: Path | None = None, store: Path | None = None) -> tuple[Path, ...]:
    """The wheels for a Python of an image, in a directory below `to`; no work if they are there already.

    index: URL of a package index (PEP 503) in place of the one that pip is configured for; wheels: a directory that is looked
    through, and nothing else if no index is given; store: whose scratch is used, None: `to` has its own (one file system with
    `to`). Raises NotSupported for a Python without wheels, CellholdError where some cannot be had.
    """
    wanted = target(python)
    pinned = pins(wanted)
    requirements = [f"{name}=={version}" for name, version in sorted(pinned.items())]
    digest = hashlib.sha256("\n".join([*requirements, *wanted.platforms()]).encode()).hexdigest()[:8]
    place = to / f"{wanted.name}-{digest}"
    if not place.is_dir():
        to.mkdir(parents=True, exist_ok=True)
        with scratch(store or to) as coming:
            fresh = coming / "wheels"
            _download(wanted, requirements, fresh, index, wheels)
            _check_complete(wanted, pinned, fresh)
            _keep(fresh, place)
    return tuple(sorted(place.glob("*.whl")))


def _download(wanted: Target, requirements: list[str], to: Path, index: str | None, wheels: Path | None) -> None:
    command = helper.python_code(_PIP, bounds=helper.Bounds(memory_bytes=2 << 30))
    command += ["download", "--disable-pip-version-check", "--no-input", "--quiet", "--retries", "2"]
    command += ["--no-deps", "--only-binary", ":all:", "--implementation", "cp", "--python-version", "{}.{}".format(*wanted.version)]
    for platform in wanted.platforms():
        command += ["--platform", platform]
    command += ["--dest", str(to.absolute())]
    if index is not None:
        command += ["--index-url", index]
    if wheels is not None:
        command += [*(["--no-index"] if index is None else []), "--find-links", str(wheels.absolute())]
    try:
        ran = helper.run([*command, *requirements], env=helper.environment(*helper.PIP), seconds=_PIP_SECONDS)
    except TimeoutError as error:
        raise CellholdError(f"cannot fetch a kernel for {wanted}: pip: {error}", hint=_HINT) from error
    if ran.returncode:
        raise _refused(wanted, ran.stderr.decode(errors="replace"), index, wheels)


def _refused(wanted: Target, said: str, index: str | None, wheels: Path | None) -> CellholdError:
    where = str(wheels) if wheels is not None and index is None else f"the index {index}" if index else "the package index"
    missing = _MISSING.search(said)
    if any(word in said for word in _SILENT):
        reason = f"{where} does not answer"
    elif missing is not None:
        reason = f"{where} has no wheel of {missing[1]} {missing[2]} for it"
    else:
        errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")] or said.strip().splitlines()[
            -1:
        ]
        reason = (errors or ["pip says no more"])[-1][:_LONGEST_REASON]
    return CellholdError(
        f"cannot fetch a kernel for {wanted}: {reason}",
        hint=_HINT,
    )


def _check_complete(wanted: Target, pinned: Mapping[str, str], place: Path) -> None:
    """Whether each is there: pip was asked for them, and an index is others' work."""
    there = {tuple(wheel.name.split("-")[:2]) for wheel in place.glob("*.whl")}
    names = {(normalized(name), version) for name, version in there}
    missing = [f"{name} {version}" for name, version in pinned.items() if (normalized(name), version) not in names]
    if missing:
        raise CellholdError(f"cannot fetch a kernel for {wanted}: {', '.join(missing)} did not come")


def _keep(fresh: Path, place: Path) -> None:
    """Another process may have been quicker: its wheels are the same."""
    try:
        fresh.rename(place)
    except OSError:
        if not place.is_dir():
            raise


def normalized(name: str) -> str:
    """A project's name as PEP 503 compares it."""
    return _SEPARATORS.sub("-", name).lower()
