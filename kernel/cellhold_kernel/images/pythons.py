"""The Pythons of an image, and what can be told of each without running it: from where it lies and what lies beside it.

A Python finds its own files by rules (https://docs.python.org/3/library/sys_path_init.html), which are followed here: pyvenv.cfg beside
the program, as it was called, makes it a virtual environment; else lib/python3.N/os.py is looked for from where the program really is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold_kernel.images import elf
from cellhold_kernel.images.found import OLDEST, LeftOut, Python, version_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold_kernel.images.around import Around
    from cellhold_kernel.images.elf import Program
    from cellhold_kernel.images.tree import Place, Tree

_PLAIN = ("python3", "python")
_NAMES = (*_PLAIN, *(f"python3.{minor}" for minor in range(19, OLDEST[1] - 1, -1)), "python2")
_PREFIXES = ("/usr/local", "/usr", "/opt/conda", "/opt/venv", "/venv")  # where images have one that is not on PATH
_PREFIX_VARIABLES = ("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DIR")
_ENVIRONMENTS = "/opt/conda/envs"
_MOST_ENVIRONMENTS = 32
_MOST = 24  # Pythons
_LONGEST_CONFIG = 4096
_VERSIONED = re.compile(r"python(\d)\.(\d{1,2})", re.ASCII)
_CONFIGURED = re.compile(r"(\d)\.(\d{1,2})(\.|$)", re.ASCII)
_LIBC = re.compile(r"libc-2\.(\d{1,3})\.so", re.ASCII)
_MUSL = ("/lib/ld-musl-x86_64.so.1", "/lib/ld-musl-aarch64.so.1")
_SPLIT_GLIBC = (2, 34)  # since then its file's name does not tell its version


@dataclass(frozen=True, kw_only=True)
class _Library:
    """A standard library: `root`/lib/python`version`."""

    root: str
    version: tuple[int, int]


def prefixes(tree: Tree, around: Around) -> tuple[str, ...]:
    """Where an installation may be that is not on PATH, as jupyter and conda have them; they need not be there."""
    named = [around.absolute(value) for variable in _PREFIX_VARIABLES if (value := around.env.get(variable))]
    environments = [f"{_ENVIRONMENTS}/{name}" for name in tree.names(_ENVIRONMENTS)[:_MOST_ENVIRONMENTS]]
    return tuple(dict.fromkeys([*named, *_PREFIXES, *environments]))


def pythons(tree: Tree, around: Around) -> tuple[list[Python], list[LeftOut]]:
    """The Pythons on PATH, then the others; each once, and what only looks like one."""
    found: dict[tuple[str, str], Python] = {}
    left_out: list[LeftOut] = []
    directories = dict.fromkeys([*around.directories("PATH"), *(f"{prefix}/bin" for prefix in prefixes(tree, around))])
    for path in (f"{directory.rstrip('/')}/{name}" for directory in directories for name in _NAMES):
        place = tree.place(path)
        if place is not None and place.is_program:
            if len(found) < _MOST:
                python = _python(tree, around, path, place)
                found.setdefault((python.prefix, python.real), python)
        elif path.endswith(_PLAIN) and (place is not None or tree.link(path) is not None):
            left_out.append(LeftOut(name=path, reason=f"cannot use {path}: {_no_program(tree, path, place)}"))
    return list(found.values()), left_out


def _no_program(tree: Tree, path: str, place: Place | None) -> str:
    return f"it is a link to {tree.link(path)}, which is not in the image" if place is None else "it is no program that can be run"


def _python(tree: Tree, around: Around, path: str, place: Place) -> Python:
    config = _environment(tree, path)
    library = _library(tree, around, place.path, config)
    version = library.version if library else _told_version(place.path, config)
    prefix = _above(path) if config is not None else library.root if library else _above(place.path)
    program = None
    with tree.opened(path) as fd:
        program = None if fd is None else elf.read(fd)
    libc = _libc(tree, program)
    return Python(
        path=path,
        real=place.path,
        prefix=prefix,
        version=version,
        has_ipykernel=_has_ipykernel(tree, around, prefix, version, library if _sees_base(config) else None),
        libc=libc,
        glibc=_glibc(tree, program) if program is not None and libc == "glibc" else None,
        machine=program.machine if program else None,
        fault=_fault(version, library, program),
    )


def _above(path: str) -> str:
    """The prefix of a program that lies in its directory bin."""
    return path.rpartition("/")[0].rpartition("/")[0] or "/"


def _environment(tree: Tree, path: str) -> dict[str, str] | None:
    """pyvenv.cfg beside the program or one above; None if it is in no virtual environment."""
    directory = path.rpartition("/")[0]
    for place in (directory, directory.rpartition("/")[0]):
        text = tree.read(f"{place}/pyvenv.cfg", most_bytes=_LONGEST_CONFIG)
        if text is not None:
            rows = (line.partition("=") for line in text.decode(errors="replace").splitlines())
            return {name.strip().lower(): value.strip() for name, _, value in rows}
    return None


def _sees_base(config: dict[str, str] | None) -> bool:
    return config is None or config.get("include-system-site-packages", "").lower() == "true"


def _library(tree: Tree, around: Around, real: str, config: dict[str, str] | None) -> _Library | None:
    """The standard library that it would take; None if there is none, or there is no telling which."""
    told = _told_version(real, config)
    versions = [told] if told else [(3, minor) for minor in range(19, OLDEST[1] - 1, -1)]
    for root in _roots(around, real, config):
        there = [version for version in versions if _has_library(tree, root, version)]
        if len(there) == 1:
            return _Library(root=root, version=there[0])
    return None


def _told_version(real: str, config: dict[str, str] | None) -> tuple[int, int] | None:
    """The version in the program's name, or else in pyvenv.cfg, which may be older than the program."""
    told = _VERSIONED.fullmatch(real.rpartition("/")[2])
    if told is None and config is not None:
        told = _CONFIGURED.match(config.get("version") or config.get("version_info") or "")
    return (int(told[1]), int(told[2])) if told else None


def _roots(around: Around, real: str, config: dict[str, str] | None) -> Iterator[str]:
    """Where a standard library may lie: above the program, as it searches upwards."""
    if home := around.env.get("PYTHONHOME"):
        yield around.absolute(home.partition(":")[0])
    if config and config.get("home", "").startswith("/"):
        yield _above(config["home"].rstrip("/") + "/")
    above = real
    while above not in {"", "/"}:
        above = above.rpartition("/")[0] or "/"
        yield above


def _has_library(tree: Tree, root: str, version: tuple[int, int]) -> bool:
    major, minor = version
    base = root.rstrip("/")
    landmarks = (f"lib/python{major}.{minor}/os.py", f"lib64/python{major}.{minor}/os.py", f"lib/python{major}{minor}.zip")
    return any(tree.place(f"{base}/{landmark}") is not None for landmark in landmarks)


def _has_ipykernel(tree: Tree, around: Around, prefix: str, version: tuple[int, int] | None, base: _Library | None) -> bool:
    directories = list(around.directories("PYTHONPATH"))
    for root in [prefix, *([base.root] if base else [])] if version is not None else []:
        directories += _packages(root.rstrip("/"), version)
    return any(tree.place(f"{directory.rstrip('/')}/ipykernel/__init__.py") is not None for directory in directories)


def _packages(root: str, version: tuple[int, int] | None) -> list[str]:
    """Where packages of a Python lie: PyPA's, Fedora's and Debian's ways."""
    name = "python{}.{}".format(*version) if version else "python3"
    places = [f"{root}/{lib}/{name}/site-packages" for lib in ("lib", "lib64")]
    if root == "/usr":
        places += [f"/usr/local/lib/{name}/dist-packages", f"/usr/local/lib/{name}/site-packages", "/usr/lib/python3/dist-packages"]
    return places


def _libc(tree: Tree, program: Program | None) -> str | None:
    if program is None:  # a script that starts a Python
        return "musl" if any(tree.place(loader) for loader in _MUSL) else "glibc"
    if program.loader is None:
        return None
    name = program.loader.rpartition("/")[2]
    return "musl" if name.startswith("ld-musl-") else "glibc" if name.startswith("ld-linux-") else None


def _glibc(tree: Tree, program: Program) -> tuple[int, int] | None:
    """Its version, by the name of its file, which lies beside the loader."""
    loader = tree.place(program.loader or "")
    near = [] if loader is None else [loader.path.rpartition("/")[0]]
    multiarch = f"{program.machine}-linux-gnu"
    for directory in (*near, f"/lib/{multiarch}", f"/usr/lib/{multiarch}", "/lib64", "/usr/lib64", "/lib"):
        place = tree.place(f"{directory}/libc.so.6")
        if place is not None:
            told = _LIBC.fullmatch(place.path.rpartition("/")[2])
            return (2, int(told[1])) if told else _SPLIT_GLIBC
    return None


def _fault(version: tuple[int, int] | None, library: _Library | None, program: Program | None) -> str | None:
    if version is not None and version < OLDEST:
        return f"it is {version_text(version)}, and {version_text(OLDEST)} is the oldest that a kernel runs on"
    if library is None and program is not None:
        return "its standard library is not where a Python looks for it"
    return None
