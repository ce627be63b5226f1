"""The Pythons of an image, examined without running them.

A Python finds its own files by rules
(https://docs.python.org/3/library/sys_path_init.html), which are followed here:
pyvenv.cfg beside the program, as it was called, makes it a virtual environment; else
lib/python3.N/os.py is searched upwards from the program's real path.
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
_PREFIXES = ("/usr/local", "/usr", "/opt/conda", "/opt/venv", "/venv")  # common in images, even if not on PATH
_PREFIX_VARIABLES = ("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DIR")
_ENVIRONMENTS = "/opt/conda/envs"
_MOST_ENVIRONMENTS = 32
_MOST = 24  # Pythons
_LONGEST_CONFIG = 4096
_VERSIONED = re.compile(r"python(\d)\.(\d{1,2})", re.ASCII)
_CONFIGURED = re.compile(r"(\d)\.(\d{1,2})(\.|$)", re.ASCII)
_LIBC = re.compile(r"libc-2\.(\d{1,3})\.so", re.ASCII)
_MUSL = ("/lib/ld-musl-x86_64.so.1", "/lib/ld-musl-aarch64.so.1")
_SPLIT_GLIBC = (2, 34)  # since then the file's name does not contain the version


@dataclass(frozen=True, kw_only=True)
class _Library:
    """A standard library: `root`/lib/python`version`."""

    root: str
    version: tuple[int, int]


def prefixes(tree: Tree, around: Around) -> tuple[str, ...]:
    """Return where installations outside PATH may be, by jupyter's and conda's rules.

    They need not exist.
    """
    named = [around.absolute(value) for variable in _PREFIX_VARIABLES if (value := around.env.get(variable))]
    environments = [f"{_ENVIRONMENTS}/{name}" for name in tree.names(_ENVIRONMENTS)[:_MOST_ENVIRONMENTS]]
    return tuple(dict.fromkeys([*named, *_PREFIXES, *environments]))


def pythons(tree: Tree, around: Around) -> tuple[list[Python], list[LeftOut]]:
    """Return the Pythons on PATH, then others, each once; and unusable candidates."""
    installed: dict[tuple[str, str], Python] = {}
    left_out: list[LeftOut] = []
    directories = dict.fromkeys([*around.directories("PATH"), *(f"{prefix}/bin" for prefix in prefixes(tree, around))])
    for path in (f"{directory.rstrip('/')}/{name}" for directory in directories for name in _NAMES):
        place = tree.find(path)
        if place is not None and place.is_program:
            if len(installed) < _MOST:
                python = _python(tree, around, path, place)
                installed.setdefault((python.prefix, python.real), python)
        elif path.endswith(_PLAIN) and (place is not None or tree.link(path) is not None):
            left_out.append(LeftOut(name=path, reason=f"cannot use {path}: {_no_program(tree, path, place)}"))
    return list(installed.values()), left_out


def _no_program(tree: Tree, path: str, place: Place | None) -> str:
    return f"it is a link to {tree.link(path)}, which is not in the image" if place is None else "it is not an executable file"


def _python(tree: Tree, around: Around, path: str, place: Place) -> Python:
    config = _environment(tree, path)
    library = _library(tree, around, place.path, config)
    version = library.version if library else _named_version(place.path, config)
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
    """Return the prefix of a program in a directory bin."""
    return path.rpartition("/")[0].rpartition("/")[0] or "/"


def _environment(tree: Tree, path: str) -> dict[str, str] | None:
    """Read pyvenv.cfg beside the program or one above; None if there is none."""
    beside = path.rpartition("/")[0]
    for directory in (beside, beside.rpartition("/")[0]):
        text = tree.read(f"{directory}/pyvenv.cfg", most_bytes=_LONGEST_CONFIG)
        if text is not None:
            rows = (line.partition("=") for line in text.decode(errors="replace").splitlines())
            return {name.strip().lower(): value.strip() for name, _, value in rows}
    return None


def _sees_base(config: dict[str, str] | None) -> bool:
    return config is None or config.get("include-system-site-packages", "").lower() == "true"


def _library(tree: Tree, around: Around, real: str, config: dict[str, str] | None) -> _Library | None:
    """Return the standard library that it would use; None if that is not unique."""
    named = _named_version(real, config)
    versions = [named] if named else [(3, minor) for minor in range(19, OLDEST[1] - 1, -1)]
    for root in _roots(around, real, config):
        matching = [version for version in versions if _has_library(tree, root, version)]
        if len(matching) == 1:
            return _Library(root=root, version=matching[0])
    return None


def _named_version(real: str, config: dict[str, str] | None) -> tuple[int, int] | None:
    """Return the version in the program's name, or else in pyvenv.cfg.

    The latter may be older than the program.
    """
    match = _VERSIONED.fullmatch(real.rpartition("/")[2])
    if match is None and config is not None:
        match = _CONFIGURED.match(config.get("version") or config.get("version_info") or "")
    return (int(match[1]), int(match[2])) if match else None


def _roots(around: Around, real: str, config: dict[str, str] | None) -> Iterator[str]:
    """Yield where a standard library may be, in the order in which Python searches."""
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
    return any(tree.find(f"{base}/{landmark}") is not None for landmark in landmarks)


def _has_ipykernel(tree: Tree, around: Around, prefix: str, version: tuple[int, int] | None, base: _Library | None) -> bool:
    directories = list(around.directories("PYTHONPATH"))
    for root in [prefix, *([base.root] if base else [])] if version is not None else []:
        directories += _packages(root.rstrip("/"), version)
    return any(tree.find(f"{directory.rstrip('/')}/ipykernel/__init__.py") is not None for directory in directories)


def _packages(root: str, version: tuple[int, int] | None) -> list[str]:
    """Return a Python's package directories, by PyPA's, Fedora's and Debian's rules."""
    name = "python{}.{}".format(*version) if version else "python3"
    directories = [f"{root}/{lib}/{name}/site-packages" for lib in ("lib", "lib64")]
    if root == "/usr":
        directories += [f"/usr/local/lib/{name}/dist-packages", f"/usr/local/lib/{name}/site-packages", "/usr/lib/python3/dist-packages"]
    return directories


def _libc(tree: Tree, program: Program | None) -> str | None:
    if program is None:  # a script that starts a Python
        return "musl" if any(tree.find(loader) for loader in _MUSL) else "glibc"
    if program.loader is None:
        return None
    name = program.loader.rpartition("/")[2]
    return "musl" if name.startswith("ld-musl-") else "glibc" if name.startswith("ld-linux-") else None


def _glibc(tree: Tree, program: Program) -> tuple[int, int] | None:
    """Return glibc's version, by the name of its file, which is beside the loader."""
    loader = tree.find(program.loader or "")
    near = [] if loader is None else [loader.path.rpartition("/")[0]]
    multiarch = f"{program.machine}-linux-gnu"
    for directory in (*near, f"/lib/{multiarch}", f"/usr/lib/{multiarch}", "/lib64", "/usr/lib64", "/lib"):
        place = tree.find(f"{directory}/libc.so.6")
        if place is not None:
            match = _LIBC.fullmatch(place.path.rpartition("/")[2])
            return (2, int(match[1])) if match else _SPLIT_GLIBC
    return None


def _fault(version: tuple[int, int] | None, library: _Library | None, program: Program | None) -> str | None:
    if version is not None and version < OLDEST:
        return f"it is {version_text(version)}, and {version_text(OLDEST)} is the oldest that a kernel runs on"
    if library is None and program is not None:
        return "its standard library is not where Python looks for it"
    return None
