"""Where Cellhold keeps things: one directory, private to its owner.

HOME/                 CELLHOLD_HOME, else /var/lib/cellhold as root,
                      else ~/.local/share/cellhold
    containers/ID/    one container: locked (flock on the directory) by whoever runs it
        record.json   what a kept container is and what became of it; own.json for
                      any other (store/record.py)
        storage/      its writable layer (cellhold/storage)
        log           the output of a kept container (init/log.py); log.1, log.2: older
    volumes/NAME/     a volume (rootfs/volumes.py)
    networks/NAME/    a network, and who is on it (network/networks.py)
    events            what happened to containers (store/journal.py)
    ids/NUMBER        a claim on a range of subordinate ids; holds the container's id
                      (store/ids.py)
    images/NAME-KEY/  what an image other than an OCI image needs on disk; `host` keeps
                      its skeleton here
    images.json       the OCI images and their names (store/names.py)
    blobs/            manifests, configs and layers as received (store/blobs.py)
    layers/CHAIN/     the unpacked layers (store/layers.py)
    layers/init/      empty mount points, below every container's writable layer and
                      above its image
    builds/KEY        the result of a build step (store/builds.py)
    packages/         what notebooks' packages were resolved to (the Jupyter kernel's)
    use.lock          held, shared, by whoever uses layers and blobs that nothing on
                      disk refers to yet (store/garbage.py)
    templates/        empty file-system images for size-limited layers
    seccomp/          compiled filters
    picture/          matplotlib's files, for the picture of a panel
    kernels/ID/       where a notebook's host kernel and its container meet
    files/OWNER       the files that a notebook has made in its folder; OWNER.left: what
                      it had written when it was killed (store/leavings.py)
    scratch/ID/       work in progress (store/scratch.py)
    counting-ID       exists and is held while the containers of a notebook are counted
                      and one more is made

.new-NAME and .removing-NAME are half made and half removed (store/durable.py); what
cannot be read is neither (store/table.py).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.errors import NotSupported, SetupFailed
from cellhold.store import durable, locks, subids
from cellhold.store.blobs import Blobs
from cellhold.store.builds import Builds
from cellhold.store.layers import Layers
from cellhold.store.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNTING = "counting-"
_PARTS = ("containers", "ids", "images", "blobs", "layers", "templates", "seccomp", "volumes", "networks")
_LAYER_DIRECTORIES = ("dev", "etc", "proc", "sys")
_LAYER_FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf")


@dataclass(frozen=True)
class Home:
    """The store's directory."""

    root: Path

    @property
    def containers(self) -> Path:
        """The directory of all containers."""
        return self.root / "containers"

    @property
    def volumes(self) -> Path:
        """The directory of all volumes."""
        return self.root / "volumes"

    @property
    def networks(self) -> Path:
        """The directory of all networks."""
        return self.root / "networks"

    @property
    def ids(self) -> Path:
        """The directory of claims on ranges of subordinate ids."""
        return self.root / "ids"

    @property
    def images(self) -> Path:
        """The directory of what images other than OCI images need on disk."""
        return self.root / "images"

    @property
    def templates(self) -> Path:
        """The directory of empty file-system images."""
        return self.root / "templates"

    @property
    def seccomp(self) -> Path:
        """The directory of compiled filters."""
        return self.root / "seccomp"

    @property
    def blobs(self) -> Blobs:
        """The blobs of this store."""
        return Blobs(self.root / "blobs")

    @property
    def layers(self) -> Layers:
        """The unpacked layers of this store."""
        return Layers(self.root / "layers")

    @property
    def names(self) -> Names:
        """The table of images and their names."""
        return Names(self.root)

    @property
    def builds(self) -> Builds:
        """The build cache."""
        return Builds(self.root / "builds")

    def container(self, container_id: str) -> Path:
        """Return the directory of one container."""
        return self.root / "containers" / container_id

    def init_layer(self) -> Path:
        """Return the layer of empty mount points; make it on first use."""
        layer = self.root / "layers" / "init"
        if not layer.exists():
            with self.locked():
                if not layer.exists():
                    with durable.appearing(layer) as draft:
                        for name in _LAYER_DIRECTORIES:
                            (draft / name).mkdir(mode=0o755)
                        for name in _LAYER_FILES:
                            (draft / name).touch(mode=0o644)
                        draft.chmod(0o755)
        return layer

    @contextmanager
    def written(self) -> Iterator[None]:
        """Raise SetupFailed, with a hint, instead of OSError of a full or read-only disk."""
        try:
            yield
        except OSError as error:
            if error.errno not in durable.UNWRITABLE:
                raise
            raise SetupFailed(
                f"cannot write to the store {self.root}: {os.strerror(error.errno)}",
                step="store.write",
                errno=error.errno,
                hint=f"{durable.UNWRITABLE[error.errno]}, or set CELLHOLD_HOME to a directory on another one",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store's one lock, for rare work that only one process may do."""
        path = self.root / "lock"
        with locks.held(path, locks.file(path)):
            yield

    @contextmanager
    def counted(self, owner: str, patience: Callable[[], object]) -> Iterator[None]:
        """Hold the lock on what a notebook has, by its id. Raises SetupFailed.

        patience: as of locks.held().
        """
        path = self.root / f"{COUNTING}{owner}"
        with self.written(), locks.held(path, locks.file(path), patience=patience):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)  # while it is held: whoever waits sees that it is gone, and makes another

    @contextmanager
    def networks_locked(self) -> Iterator[None]:
        """Hold the lock on networks, leases and the rules made of them."""
        path = self.networks / ".lock"
        with locks.held(path, locks.file(path)):
            yield

    @contextmanager
    def used(self, *, alone: bool = False) -> Iterator[None]:
        """Keep garbage collection away; `alone`: be the one that collects.

        Raises BlockingIOError if `alone` and another process makes use of the store.
        """
        path = self.root / "use.lock"
        with locks.held(path, locks.file(path), shared=not alone, wait=not alone):
            yield


def open_home(root: Path | None = None) -> Home:
    """Open the store at `root`; make it if it is missing.

    root: None means default_root(). Raises NotSupported if it cannot be made, or
    belongs to another user.
    """
    path = root or default_root()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
        if status.st_uid != os.geteuid():
            raise NotSupported(
                f"cannot use the store {path}: it belongs to uid {status.st_uid}", hint="set CELLHOLD_HOME to a directory of yours"
            )
        for part in _PARTS:
            (path / part).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise NotSupported(
            f"cannot make the store {path}: {error.strerror}", hint="set CELLHOLD_HOME to a directory you can write to"
        ) from error
    return Home(path)


def default_root() -> Path:
    """Return CELLHOLD_HOME, or the default directory of this user.

    That is /var/lib/cellhold as root, else XDG_DATA_HOME/cellhold.

    A root user who is confined makes containers as ordinary users do, with other owners
    on disk: in a store of its own.
    """
    if configured := os.environ.get("CELLHOLD_HOME"):
        return Path(configured).absolute()  # the caller may change its directory
    if not subids.is_rootless():
        return Path("/var/lib/cellhold")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "cellhold"
