"""The kernelspecs of an image, found where jupyter_core searches.

Their content is untrusted. The first of a name is taken, even if it is not usable, as
Jupyter does. What is left out is reported with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, ImageRefused
from cellhold.image import fields
from cellhold_kernel.images.found import KernelSpec, LeftOut
from cellhold_kernel.images.pythons import prefixes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.images.around import Around
    from cellhold_kernel.images.found import Python
    from cellhold_kernel.images.tree import Tree

_NAME = re.compile(r"[a-z0-9._-]{1,64}", re.ASCII)
_BARE_PYTHON = re.compile(r"python(\d(\.\d{1,2})?)?", re.ASCII)
_SHARED = "share/jupyter"
_SYSTEM = ("/usr/local", "/usr")
_MOST = 64  # kernelspecs, usable or not
_MOST_WORDS = 256  # in argv, and in env
_LARGEST = 64 << 10
_LARGEST_LOGO = 256 << 10
_LOGO = "logo-64x64.png"  # not the SVG: that could hold scripts
_PNG = b"\x89PNG\r\n\x1a\n"
_MODES = ("signal", "message")
_FALSE = {"", "0", "n", "no", "f", "false", "off"}


@dataclass(frozen=True, kw_only=True)
class _Where:
    """A directory of kernelspecs, and the prefix of its installation."""

    path: str
    prefix: str


def kernelspecs(tree: Tree, around: Around, pythons: Sequence[Python]) -> tuple[list[KernelSpec], list[LeftOut]]:
    """Return the usable kernelspecs and the others, in Jupyter's search order."""
    specs: dict[str, KernelSpec | LeftOut] = {}
    for where in _directories(tree, around, pythons):
        for entry in tree.names(where.path):
            name = entry.lower()
            directory = f"{where.path}/{entry}"
            if name not in specs and len(specs) < _MOST and tree.find(f"{directory}/kernel.json") is not None:
                specs[name] = _kernelspec(tree, around, name, directory, where.prefix)
    usable = [spec for spec in specs.values() if isinstance(spec, KernelSpec)]
    return usable, [spec for spec in specs.values() if isinstance(spec, LeftOut)]


def logo(tree: Tree, spec: KernelSpec) -> bytes | None:
    """Return the logo for the launcher: a PNG of at most 256 KiB, or None."""
    content = tree.read(f"{spec.resource_dir}/{_LOGO}", most_bytes=_LARGEST_LOGO)
    return content if content is not None and len(content) <= _LARGEST_LOGO and content.startswith(_PNG) else None


def _directories(tree: Tree, around: Around, pythons: Sequence[Python]) -> list[_Where]:
    """Return the directories in the order of jupyter_core.paths.jupyter_path().

    A Jupyter of the image would search one prefix; here each Python's is searched.
    """
    env = around.env
    data = env.get("JUPYTER_DATA_DIR") or f"{env.get('XDG_DATA_HOME') or f'{around.home}/.local/share'}/jupyter"
    user_base = env.get("PYTHONUSERBASE") or f"{around.home}/.local"
    first = pythons[0].prefix if pythons else "/usr"
    user = [around.absolute(data), around.absolute(f"{user_base}/{_SHARED}")]
    installed = dict.fromkeys([*(python.prefix for python in pythons), *prefixes(tree, around)])
    own = [f"{prefix.rstrip('/')}/{_SHARED}" for prefix in installed if prefix not in _SYSTEM]
    middle = [*own, *user] if _prefers_own(tree, around, pythons) else [*user, *own]
    paths = dict.fromkeys([*around.directories("JUPYTER_PATH"), *middle, *(f"{prefix}/{_SHARED}" for prefix in _SYSTEM)])
    return [_Where(path=f"{path}/kernels", prefix=path.removesuffix(f"/{_SHARED}") if path not in user else first) for path in paths]


def _prefers_own(tree: Tree, around: Around, pythons: Sequence[Python]) -> bool:
    """Return whether an installation's kernelspecs come before the user's.

    They do in virtual environments, in conda's, and by JUPYTER_PREFER_ENV_PATH.
    """
    env = around.env
    if "JUPYTER_PREFER_ENV_PATH" in env:
        return env["JUPYTER_PREFER_ENV_PATH"].lower() not in _FALSE
    if "CONDA_PREFIX" in env and env.get("CONDA_DEFAULT_ENV", "base") != "base":
        return True
    return bool(pythons) and tree.find(f"{pythons[0].prefix}/pyvenv.cfg") is not None


def _kernelspec(tree: Tree, around: Around, name: str, directory: str, prefix: str) -> KernelSpec | LeftOut:
    try:
        if not _NAME.fullmatch(name):
            raise ImageRefused(f"cannot use the kernelspec {fields.quote(name)}: a name has letters, digits, '.', '_' and '-'")
        content = tree.read(f"{directory}/kernel.json", most_bytes=_LARGEST)
        if content is None:
            raise ImageRefused(f"cannot use the kernelspec {name}: its kernel.json is not a regular file")
        return _usable(tree, around, _read(name, content, directory, prefix))
    except CellholdError as error:
        return LeftOut(name=name, reason=str(error))


def _read(name: str, content: bytes, directory: str, prefix: str) -> KernelSpec:
    """Parse kernel.json. Raises ImageRefused."""
    document = fields.read(content, f"kernelspec {name}", most_bytes=_LARGEST)
    mode = document["interrupt_mode"].optional_text() or "signal"
    argv, env = document["argv"].required().texts(), document["env"].text_of()
    if not argv or not argv[0] or len(argv) > _MOST_WORDS or len(env) > _MOST_WORDS:
        raise document["argv"].refused(f"{len(argv)} words with {len(env)} environment variables are not a command")
    if mode not in _MODES:
        raise document["interrupt_mode"].refused(f"{fields.quote(mode)} is neither signal nor message")
    if any("=" in variable or not variable for variable in env):
        raise document["env"].refused("it has a name that no environment variable can have")
    if not any("{connection_file}" in word for word in argv):
        raise document["argv"].refused("it does not have {connection_file}")
    return KernelSpec(
        name=name,
        argv=argv,
        env=MappingProxyType(env),
        display_name=document["display_name"].optional_text() or name,
        language=document["language"].optional_text() or "",
        interrupt_mode=mode,
        resource_dir=directory,
        prefix=prefix,
    )


def _usable(tree: Tree, around: Around, spec: KernelSpec) -> KernelSpec:
    """Return the kernelspec with the program that a bare `python` means.

    jupyter_client takes its own Python, which is that of the prefix. Raises
    ImageRefused.
    """
    words = spec.command("{connection_file}")
    own = f"{spec.prefix.rstrip('/')}/bin/{words[0]}"
    candidates = [own, words[0]] if _BARE_PYTHON.fullmatch(words[0]) else [words[0]]
    program = next((path for candidate in candidates if (path := around.program(tree, candidate)) is not None), None)
    if program is None:
        where = "in the image" if "/" in words[0] else "on the image's PATH"
        raise ImageRefused(f"cannot use the kernelspec {spec.name}: its program {fields.quote(words[0])} is not {where}")
    if len(candidates) == 1:
        return spec
    return replace(spec, argv=(program, *spec.argv[1:]))
