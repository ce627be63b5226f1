"""Where Cellhold keeps things. One directory, private to its owner:

HOME/                     CELLHOLD_HOME, else /var/lib/cellhold as root, else ~/.local/share/cellhold
    containers/ID/        one container: locked (flock on the directory) by whoever runs it
        record.json       what it is and what became of it (store/record.py)
        storage/          its writable layer (storage.py)
    ids/NUMBER            a claim on a range of subordinate ids: the file's text is the container's id (store/ids.py)
    images/NAME-KEY/      what an image needs on disk; `host` keeps its skeleton here
    layers/init/          empty mount points, below every container's writable layer, above its image
    templates/            empty file-system images for size-limited layers
    seccomp/              compiled filters
    kernels/ID/           where a notebook's host kernel and its container meet (cellhold_kernel/meeting.py)
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.errors import NotSupported, SetupFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARTS = ("containers", "ids", "images", "layers", "templates", "seccomp")
_UNWRITABLE = {
    errno.ENOSPC: "free space on its disk",
    errno.EDQUOT: "delete files of yours on its disk",
    errno.EROFS: "mount its disk read-write",
}
_LAYER_DIRECTORIES = ("dev", "etc", "proc", "sys")
_LAYER_FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf")


@dataclass(frozen=True)
class Home:
    """The store's directory."""

    root: Path

    @property
    def containers(self) -> Path:
        """See above."""
        return self.root / "containers"

    @property
    def ids(self) -> Path:
        """See above."""
        return self.root / "ids"

    @property
    def images(self) -> Path:
        """See above."""
        return self.root / "images"

    @property
    def templates(self) -> Path:
        """See above."""
        return self.root / "templates"

    @property
    def seccomp(self) -> Path:
        """See above."""
        return self.root / "seccomp"

    def container(self, container_id: str) -> Path:
        """The directory of one container."""
        return self.root / "containers" / container_id

    def init_layer(self) -> Path:
        """The layer of empty mount points, made on first use."""
        layer = self.root / "layers" / "init"
        if not layer.exists():
            with self.locked():
                for name in _LAYER_DIRECTORIES:
                    (layer / name).mkdir(mode=0o755, parents=True, exist_ok=True)
                for name in _LAYER_FILES:
                    (layer / name).touch(mode=0o644)
                layer.chmod(0o755)
        return layer

    @contextmanager
    def written(self) -> Iterator[None]:
        """Raise SetupFailed, which says what helps, in place of the OSError of a disk that is full or read-only."""
        try:
            yield
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            raise SetupFailed(
                f"cannot write to the store {self.root}: {os.strerror(error.errno)}",
                step="store.write",
                errno=error.errno,
                hint=f"{_UNWRITABLE[error.errno]}, or set CELLHOLD_HOME to a directory on another one",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store's one lock: for rare work that two processes must not do twice."""
        fd = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def open_home(root: Path | None = None) -> Home:
    """The store at `root` (default: see above), made if missing.

    Raises NotSupported if it cannot be made, or belongs to somebody else.
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
    """CELLHOLD_HOME, else /var/lib/cellhold as root, else XDG_DATA_HOME/cellhold."""
    if configured := os.environ.get("CELLHOLD_HOME"):
        return Path(configured).absolute()  # the caller may change its directory
    if os.geteuid() == 0:
        return Path("/var/lib/cellhold")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "cellhold"
