"""choose(): which kernel a notebook on an image gets. A pure function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from cellhold.errors import CellholdError, InvalidSpec, NotSupported
from cellhold.image.fields import quote
from cellhold_kernel.images.found import KernelSpec

if TYPE_CHECKING:
    from cellhold_kernel.images.found import Found, Python

NATIVE = "python3"
SHELL = "shell"
_WORD = "%container kernel="


@dataclass(frozen=True, kw_only=True)
class OwnKernel:
    """A kernel that the image has."""

    spec: KernelSpec


@dataclass(frozen=True, kw_only=True)
class KernelLayer:
    """A Python of the image, which needs a layer with an ipykernel on top."""

    python: Python


@dataclass(frozen=True, kw_only=True)
class Shell:
    """A shell of the image, which the host kernel drives. path: in the image."""

    path: str


Choice = OwnKernel | KernelLayer | Shell


def choose(found: Found, wanted: str | None = None) -> Choice:
    """Return what runs the cells.

    wanted: the value of `kernel=`: a kernelspec's name, "python3" or "shell". Raises
    InvalidSpec if the image does not have that kernel, or several without a choice,
    NotSupported if it has none, CellholdError for a Python that no kernel can run on.
    The messages contain names from the image: they are shown only through
    `text.escape`.
    """
    if wanted is not None:
        return _wanted(found, wanted.lower())
    choice = _python_kernel(found)
    if choice is not None:
        return choice
    if len(found.kernelspecs) > 1:
        names = ", ".join(spec.name for spec in found.kernelspecs)
        raise InvalidSpec(f"cannot choose a kernel of the image: it has {names}", hint=f"{_WORD}{found.kernelspecs[0].name}")
    if found.kernelspecs:
        return OwnKernel(spec=found.kernelspecs[0])
    return _layer(found) or _shell(found) or _nothing(found)


def _wanted(found: Found, wanted: str) -> Choice:
    for spec in found.kernelspecs:
        if spec.name == wanted:
            return OwnKernel(spec=spec)
    choice: Choice | None = None
    if wanted == NATIVE:
        choice = _python_kernel(found) or _layer(found)
    elif wanted == SHELL:
        choice = _shell(found)
    if choice is not None:
        return choice
    reason = next((left.reason for left in found.left_out if left.name == wanted), None)
    if reason is not None:
        raise CellholdError(reason, hint=_others(found))
    raise InvalidSpec(f"cannot use kernel={quote(wanted)[1:-1]}: the image has no such kernel", hint=_others(found))


def _others(found: Found) -> str | None:
    """Return the hint with the choices, None if there are none."""
    names = [spec.name for spec in found.kernelspecs]
    if NATIVE not in names and any(python.fault is None for python in found.pythons):
        names.append(NATIVE)
    if SHELL not in names and found.shells:
        names.append(SHELL)
    return " or ".join(f"{_WORD}{name}" for name in names) or None


def _python_kernel(found: Found) -> OwnKernel | None:
    """Return the image's own ipykernel, with or without a kernelspec."""
    for spec in found.kernelspecs:
        if spec.name == NATIVE:
            return OwnKernel(spec=spec)
    for python in found.pythons:
        if python.has_ipykernel and python.fault is None:
            return OwnKernel(spec=_native(python))
    return None


def _native(python: Python) -> KernelSpec:
    """Return the kernelspec that `ipykernel install` would write."""
    return KernelSpec(
        name=NATIVE,
        argv=(python.path, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
        display_name="Python 3 (ipykernel)",
        language="python",
        prefix=python.prefix,
    )


def _layer(found: Found) -> KernelLayer | None:
    """Return a layer for the first usable Python; None if there is no Python.

    Raises CellholdError if no Python is usable.
    """
    sound = next((python for python in found.pythons if python.fault is None), None)
    if sound is not None:
        return KernelLayer(python=sound)
    hint = f"{_WORD}{SHELL}" if found.shells else None
    for python in found.pythons:
        raise CellholdError(f"cannot run a kernel on {python.path} of the image: {python.fault}", hint=hint)
    for left in found.left_out:
        if left.name.startswith("/"):  # a path: a file that is named python, but cannot be used
            raise CellholdError(left.reason, hint=hint)
    return None


def _shell(found: Found) -> Shell | None:
    return Shell(path=found.shells[0]) if found.shells else None


def _nothing(found: Found) -> NoReturn:
    left = f" ({found.left_out[0].reason})" if found.left_out else ""
    raise NotSupported(
        f"cannot run cells in the image: it has no Jupyter kernel, no Python and no shell{left}",
        hint="an image with at least a shell (sh, ash, bash, dash) or a Python can be a notebook",
    )
