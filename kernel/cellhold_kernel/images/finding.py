"""find(): what an image has that cells could run in. It looks where it has to and walks no tree: an image's size does not matter.

Without root some directories belong to subordinate ids of the user and may be looked into by their owner only; then a small program
becomes root of a user namespace with the same ids and looks (as `cellhold.store.scan` has it).
"""

from __future__ import annotations

import ast
from dataclasses import asdict, replace
from errno import ESTALE
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cellhold.linux import hostpath
from cellhold.linux.hostpath import HostPath
from cellhold.store import subids, user_namespace
from cellhold_kernel.images import kernelspecs, pythons
from cellhold_kernel.images.around import around
from cellhold_kernel.images.found import Found, KernelSpec, LeftOut, Python
from cellhold_kernel.images.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellhold.image.model import Layer
    from cellhold.linux.hostpath import Identity
    from cellhold_kernel.images.around import Around

    Named = tuple[str, Identity | None]  # a layer for another process

SHELLS = ("bash", "ash", "dash", "sh")
_PACKAGE_PARENT = str(Path(__file__).parents[2])
_PROGRAM = (
    "sys.path.append({parent!r}); from cellhold_kernel.images import finding; "
    "sys.stdout.buffer.write(ascii(finding.{function}(*{arguments!r})).encode())"
)


def find(layers: Sequence[Layer], *, env: Mapping[str, str], user: str, cwd: str) -> Found:
    """The kernelspecs, Pythons and shells of a stack of layers, topmost first.

    env, user, cwd: of the image's config. Nothing of the image is run. Raises ImageRefused for a tree that is made to be endless, and
    OSError where a layer is not there.
    """
    try:
        with Tree(layers) as tree:
            return look(tree, env=env, user=user, cwd=cwd)
    except PermissionError:
        pass
    return _found(_as_owner("look_leniently", _named(layers), dict(env), user, cwd))


def logo(layers: Sequence[Layer], spec: KernelSpec) -> bytes | None:
    """The picture of a kernelspec that was found in these layers: a PNG of at most 256 KiB, or None."""
    try:
        with Tree(layers) as tree:
            return kernelspecs.logo(tree, spec)
    except PermissionError:
        pass
    told: bytes | None = _as_owner("logo_leniently", _named(layers), spec.resource_dir)
    return told


def look(tree: Tree, *, env: Mapping[str, str], user: str, cwd: str) -> Found:
    """find(), in an open tree."""
    near = around(tree, env=env, user=user, cwd=cwd)
    interpreters, no_interpreters = pythons.pythons(tree, near)
    specs, no_specs = kernelspecs.kernelspecs(tree, near, interpreters)
    return Found(
        kernelspecs=tuple(specs),
        pythons=tuple(interpreters),
        shells=_shells(tree, near),
        left_out=(*no_specs, *no_interpreters),
    )


def _shells(tree: Tree, near: Around) -> tuple[str, ...]:
    places = (near.program(tree, name) for name in SHELLS)
    return tuple(path for path in places if path is not None)


def look_leniently(layers: list[Named], env: dict[str, str], user: str, cwd: str) -> dict[str, Any]:
    """find() as plain values; what may not be looked at is taken not to be there: a container could not use it either."""
    with Tree(_opened(layers), lenient=True) as tree:
        found = look(tree, env=env, user=user, cwd=cwd)
    return asdict(replace(found, kernelspecs=tuple(replace(spec, env=dict(spec.env)) for spec in found.kernelspecs)))


def logo_leniently(layers: list[Named], resource_dir: str) -> bytes | None:
    """logo(), as look_leniently()."""
    with Tree(_opened(layers), lenient=True) as tree:
        return kernelspecs.logo(tree, KernelSpec(name="", argv=(), resource_dir=resource_dir))


def _named(layers: Sequence[Layer]) -> list[Named]:
    return [(layer.current_path(), layer.identity) if isinstance(layer, HostPath) else (str(layer), None) for layer in layers]


def _opened(layers: Sequence[Named]) -> list[HostPath]:
    """The layers in another process: a directory of the host has to be the one that was opened. Raises OSError."""
    found = []
    for path, identity in layers:
        found.append(hostpath.opened(path))
        if identity not in (None, found[-1].identity):
            raise OSError(ESTALE, f"{path} is another directory now")
    return found


def _as_owner(function: str, *arguments: object) -> Any:
    """Call one of the two above as root of a user namespace with all ids of the user; as oneself where there are no others."""
    if not subids.is_rootless() or subids.delegation().helpers is None:
        return globals()[function](*arguments)
    return ast.literal_eval(user_namespace.run(_PROGRAM.format(parent=_PACKAGE_PARENT, function=function, arguments=arguments)).decode())


def _found(told: dict[str, Any]) -> Found:
    return Found(
        kernelspecs=tuple(KernelSpec(**{**spec, "env": MappingProxyType(spec["env"])}) for spec in told["kernelspecs"]),
        pythons=tuple(Python(**python) for python in told["pythons"]),
        shells=tuple(told["shells"]),
        left_out=tuple(LeftOut(**left) for left in told["left_out"]),
    )
