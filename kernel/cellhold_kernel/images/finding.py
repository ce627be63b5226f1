"""find(): what an image has to run cells with.

It looks up certain paths and walks no tree: an image's size does not matter. Without
root, some directories belong to subordinate ids of the user and may be readable by
their owner only; then a small program becomes root of a user namespace with the same
ids and looks (as `cellhold.store.scan` does).
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
    """Find the kernelspecs, Pythons and shells of a stack of layers, topmost first.

    env, user, cwd: of the image's config. Nothing of the image is run. Raises
    ImageRefused for a tree with endless links, and OSError if a layer does not exist.
    """
    try:
        with Tree(layers) as tree:
            return look(tree, env=env, user=user, cwd=cwd)
    except PermissionError:
        pass
    return _from_json(_as_owner("look_leniently", _named(layers), dict(env), user, cwd))


def logo(layers: Sequence[Layer], spec: KernelSpec) -> bytes | None:
    """Return a kernelspec's logo from its layers: a PNG of at most 256 KiB."""
    try:
        with Tree(layers) as tree:
            return kernelspecs.logo(tree, spec)
    except PermissionError:
        pass
    content: bytes | None = _as_owner("logo_leniently", _named(layers), spec.resource_dir)
    return content


def look(tree: Tree, *, env: Mapping[str, str], user: str, cwd: str) -> Found:
    """Do what find() does, in an open tree."""
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
    paths = (near.program(tree, name) for name in SHELLS)
    return tuple(path for path in paths if path is not None)


def look_leniently(layers: list[Named], env: dict[str, str], user: str, cwd: str) -> dict[str, Any]:
    """Do what find() does, and return builtin types for another process.

    What cannot be read for lack of permission counts as absent: a container could not
    use it either.
    """
    with Tree(_opened(layers), lenient=True) as tree:
        found = look(tree, env=env, user=user, cwd=cwd)
    return asdict(replace(found, kernelspecs=tuple(replace(spec, env=dict(spec.env)) for spec in found.kernelspecs)))


def logo_leniently(layers: list[Named], resource_dir: str) -> bytes | None:
    """Do what logo() does; what cannot be read counts as absent."""
    with Tree(_opened(layers), lenient=True) as tree:
        return kernelspecs.logo(tree, KernelSpec(name="", argv=(), resource_dir=resource_dir))


def _named(layers: Sequence[Layer]) -> list[Named]:
    return [(layer.current_path(), layer.identity) if isinstance(layer, HostPath) else (str(layer), None) for layer in layers]


def _opened(layers: Sequence[Named]) -> list[HostPath]:
    """Open the layers in another process. Raises OSError.

    A directory of the host must still be the one that was opened before.
    """
    opened = []
    for path, identity in layers:
        opened.append(hostpath.opened(path))
        if identity not in (None, opened[-1].identity):
            raise OSError(ESTALE, f"{path} is another directory now")
    return opened


def _as_owner(function: str, *arguments: object) -> Any:
    """Call a function of this module as root of a user namespace with all user ids.

    It is called in this process if the user has no other ids.
    """
    if not subids.is_rootless() or subids.delegation().helpers is None:
        return globals()[function](*arguments)
    return ast.literal_eval(user_namespace.run(_PROGRAM.format(parent=_PACKAGE_PARENT, function=function, arguments=arguments)).decode())


def _from_json(values: dict[str, Any]) -> Found:
    return Found(
        kernelspecs=tuple(KernelSpec(**{**spec, "env": MappingProxyType(spec["env"])}) for spec in values["kernelspecs"]),
        pythons=tuple(Python(**python) for python in values["pythons"]),
        shells=tuple(values["shells"]),
        left_out=tuple(LeftOut(**left) for left in values["left_out"]),
    )
