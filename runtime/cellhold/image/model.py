"""An image as a container sees it: read-only layers, and how to run them.

Where the layers come from is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.spec.spec import Mount

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellhold.linux.hostpath import HostPath
    from cellhold.spec.digest import Digest
    from cellhold.spec.spec import Health, Spec

    Layer = Path | HostPath

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # docker's


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Directories shown as one overlay at `target`, topmost first.

    layers: paths of our own store, or opened directories of the host.
    """

    target: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True, kw_only=True)
class Image:
    """What a container starts from.

    stacks: the first is the root, the others lie over parts of it.
    python: the interpreter to run a cell kernel with, if it is known.
    entrypoint, args, cwd, user: as in the config of an OCI image (its Entrypoint, Cmd,
        WorkingDir and User).
    volumes: paths that are to be volumes.
    stop_signal: None if the image does not say.
    labels, health: the image's.
    chain_ids: of the unpacked layers of the store that it is made of, topmost first.
    id: the digest (StoredImage.id) of an image in the store.
    """

    name: str
    stacks: tuple[Stack, ...]
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({"PATH": DEFAULT_PATH}))
    cwd: str = "/"
    entrypoint: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    user: str = ""
    volumes: tuple[str, ...] = ()
    stop_signal: int | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    health: Health | None = None
    python: str | None = None
    chain_ids: tuple[Digest, ...] = ()
    id: Digest | None = None

    def completed(self, spec: Spec) -> Spec:
        """Return the spec completed by what it leaves to the image.

        That is the command as docker puts it together, the user and the directory.
        """
        entrypoint = self.entrypoint if spec.entrypoint is None else spec.entrypoint
        args = spec.args or (self.args if spec.entrypoint is None else ())  # docker: another entrypoint makes the image's Cmd void
        user = self.user or "0:0" if spec.user is None else spec.user  # one that is asked for and empty is refused: a variable was not set
        taken = {entry.target.rstrip("/") for entry in spec.mounts}
        more = tuple(Mount(kind="volume", source="", target=path) for path in self.volumes if path.rstrip("/") not in taken)
        return replace(
            spec,
            entrypoint=(),
            args=(*entrypoint, *args),
            user=user,
            cwd=spec.cwd or self.cwd,
            mounts=(*spec.mounts, *more) if spec.image_volumes else spec.mounts,
            directories=() if spec.image_volumes else tuple(entry.target for entry in more),
            stop_signal=spec.stop_signal or self.stop_signal,
            health=spec.health or self.health,
            labels={**self.labels, **spec.labels},
        )
