"""The wheels of a kernel layer: an ipykernel and its dependencies for any Python.

    TO/cp312-musl-x86_64-1a2b3c4d/*.whl      complete: renamed when all are there

The versions were resolved beforehand (pins.json, made by tools/kernel_wheels.py): pip
resolves the markers of dependencies for the Python that it runs on, whatever
--python-version says (pypa/pip#11664). The host's own pip fetches the wheels, from the
index that its user has configured, or from a given one. How they get into an image is
not the business of this module (unpacking.py).
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
_GLIBC_ASSUMED = (2, 28)  # if it cannot be determined: Debian 10's, RHEL 8's
_OLDEST_GLIBC = {"x86_64": 5, "aarch64": 17}  # for which there are wheels at all
_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}  # PEPs 599, 571, 513
_MUSL = ("musllinux_1_2", "musllinux_1_1")
_SEPARATORS = re.compile(r"[-_.]+")
_MISSING = re.compile(r"No matching distribution found for ([^\s=]+)==(\S+)")
_SILENT = ("Retrying (", "Connection", "timed out", "Temporary failure")
_LONGEST_REASON = 300
_PIP = "import runpy; runpy.run_module('pip', run_name='__main__', alter_sys=True)"
_PIP_SECONDS = 1800.0  # for 10 MB; pip itself gives up only on a server that is silent for 15 s
_HINT = "give a directory with the wheels, or another index; or build an image with ipykernel in it: RUN pip install ipykernel"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a wheel must be compatible with."""

    version: tuple[int, int]
    libc: str
    machine: str
    glibc: tuple[int, int] | None = None

    def __str__(self) -> str:
        """Format it, such as: Python 3.12 (musl, x86_64)."""
        return f"{version_text(self.version)} ({self.libc}, {self.machine})"

    @property
    def name(self) -> str:
        """Its name, such as: cp312-musl-x86_64."""
        return "cp{}{}-{}-{}".format(*self.version, self.libc, self.machine)

    def platforms(self) -> tuple[str, ...]:
        """Return the compatible platform tags, best first (PEPs 600 and 656)."""
        if self.libc == "musl":
            return tuple(f"{tag}_{self.machine}" for tag in _MUSL)
        newest = (self.glibc or _GLIBC_ASSUMED)[1]
        tags: list[str] = []
        for minor in range(newest, _OLDEST_GLIBC[self.machine] - 1, -1):
            tags += [f"manylinux_2_{minor}_{self.machine}", *([f"{_ALIASES[minor]}_{self.machine}"] if minor in _ALIASES else [])]
        return tuple(tags)


def target(python: Python) -> Target:
    """Return what wheels for this Python must be compatible with.

    Raises NotSupported if a fact of the Python cannot be determined.
    """
    if python.version is None or python.libc is None or python.machine is None:
        unknown = "its version" if python.version is None else "its C library" if python.libc is None else "which machine it is for"
        raise NotSupported(f"cannot add a kernel to {python.path} of the image: cannot determine {unknown}")
    return Target(version=python.version, libc=python.libc, machine=python.machine, glibc=python.glibc)


def pins(wanted: Target) -> Mapping[str, str]:
    """Return name -> version of all packages to install.

    Raises NotSupported for a Python without an entry in the table, or with missing
    wheels.
    """
    table = json.loads((resources.files("cellhold_kernel.images") / "pins.json").read_text())
    entry = table.get("{}.{}".format(*wanted.version))
    if entry is None:
        versions = ", ".join(table)
        raise NotSupported(
            f"cannot add a kernel to an image with {version_text(wanted.version)}: wheels are known for {versions}",
            hint="build an image with ipykernel in it: RUN pip install ipykernel",
        )
    platform = f"{wanted.libc}-{wanted.machine}"
    gaps = entry.get("gaps", {}).get(platform)
    if gaps:
        raise NotSupported(
            f"cannot add a kernel to an image with {wanted}: there are no wheels of {', '.join(gaps)} for it",
            hint="build an image with ipykernel in it: RUN pip install ipykernel, with a compiler",
        )
    return {**entry["pins"], **entry.get("instead", {}).get(platform, {})}


def fetch(python: Python, to: Path, *, index: str | None = None, wheels: Path | None = None, store: Path | None = None) -> tuple[Path, ...]:
    """Fetch the wheels for a Python of an image; return their paths below `to`.

    Nothing is fetched if they are there already. index: URL of a package index (PEP
    503) instead of the configured one. wheels: a directory to search, the only source
    if no index is given. store: whose scratch directory is used, on the file system of
    `to`; None: one in `to`. Raises NotSupported for a Python without wheels,
    CellholdError if some cannot be fetched.
    """
    wanted = target(python)
    pinned = pins(wanted)
    requirements = [f"{name}=={version}" for name, version in sorted(pinned.items())]
    digest = hashlib.sha256("\n".join([*requirements, *wanted.platforms()]).encode()).hexdigest()[:8]
    directory = to / f"{wanted.name}-{digest}"
    if not directory.is_dir():
        to.mkdir(parents=True, exist_ok=True)
        with scratch(store or to) as coming:
            fresh = coming / "wheels"
            _download(wanted, requirements, fresh, index, wheels)
            _check_complete(wanted, pinned, fresh)
            _keep(fresh, directory)
    return tuple(sorted(directory.glob("*.whl")))


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


def _refused(wanted: Target, output: str, index: str | None, wheels: Path | None) -> CellholdError:
    where = str(wheels) if wheels is not None and index is None else f"the index {index}" if index else "the package index"
    missing = _MISSING.search(output)
    if any(word in output for word in _SILENT):
        reason = f"{where} does not answer"
    elif missing is not None:
        reason = f"{where} has no wheel of {missing[1]} {missing[2]} for it"
    else:
        errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
        errors = errors or output.strip().splitlines()[-1:]
        reason = (errors or ["pip gives no reason"])[-1][:_LONGEST_REASON]
    return CellholdError(
        f"cannot fetch a kernel for {wanted}: {reason}",
        hint=_HINT,
    )


def _check_complete(wanted: Target, pinned: Mapping[str, str], directory: Path) -> None:
    """Raise CellholdError if a wheel is missing: the index is not trusted."""
    fetched = {tuple(wheel.name.split("-")[:2]) for wheel in directory.glob("*.whl")}
    names = {(normalized(name), version) for name, version in fetched}
    missing = [f"{name} {version}" for name, version in pinned.items() if (normalized(name), version) not in names]
    if missing:
        raise CellholdError(f"cannot fetch a kernel for {wanted}: {', '.join(missing)} did not arrive")


def _keep(fresh: Path, directory: Path) -> None:
    """Rename the directory; another process's is the same, if that was first."""
    try:
        fresh.rename(directory)
    except OSError:
        if not directory.is_dir():
            raise


def normalized(name: str) -> str:
    """Return a project's name in PEP 503's normal form."""
    return _SEPARATORS.sub("-", name).lower()
