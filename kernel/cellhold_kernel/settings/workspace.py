"""The notebook's folder in the container: mounted at /workspace, where cells run.

    mount=ro    through an overlay: cells can write there, and nothing of it reaches
                the host (the default)
    mount=new   as ro, and what cells make goes out when the cell ends; what was there
                before is not changed (cellhold_kernel/files)
    mount=rw    the folder itself; new files belong to the user who runs Jupyter
    mount=none  not mounted

The folder is a descriptor (folder.py), and so is everything it is compared with: what
is checked is what is mounted. Credentials stay outside. If the folder is a home
directory, or contains one, each name in that home that begins with a dot is hidden
(.ssh, .aws, .config, .local with Jupyter's tokens ...), and so is the kernel's
connection file wherever it is. A folder that lies in something that is hidden elsewhere
is not mounted at all. With mount=rw, what the host's own Python runs is read-only.
"""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, InvalidSpec
from cellhold.linux import hostpath
from cellhold.spec.spec import Mount
from cellhold.store.home import open_home
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.ancestry import Moved, upwards
from cellhold_kernel.settings.covers import Covers, Secret
from cellhold_kernel.settings.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cellhold.linux.hostpath import HostPath, Identity

TARGET = "/workspace"
WAYS = ("none", "ro", "new", "rw")  # in order: each allows more than the one before
_MACHINE = "/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /run /sbin /srv /sys /usr /var".split()
_WHOLLY = "/boot /dev /etc /proc /sys".split()  # with everything below them, except
_EXCEPT = ("/dev/shm",)  # noqa: S108  # a directory in memory that every user can write to
_SHOWN = 300


class Workspace:
    """A notebook's folder, and the files that cells must not see in it."""

    def __init__(self, folder: Folder | Path | None, *secrets: Path, programs: Iterable[Path] = ()) -> None:
        """Open everything that the folder is compared with, once.

        folder: a path is opened now; None: it was removed. secrets: files or
        directories to hide, wherever they are. programs: directories of what the host
        runs, besides those of its Python.
        """
        self.folder = _folder(folder)
        self._name = str(folder or "the notebook's folder") if self.folder is None else self.folder.opened.name
        self._secrets = list(filter(None, map(_secret, secrets)))
        owners = _home_of(self.folder.opened.status.st_uid) if self.folder is not None else ()
        self._homes = _opened({os.path.expanduser("~"), *owners})
        self._homes += () if self.folder is None else _homes_near(self.folder.opened)
        self._store: HostPath | None = None
        self._programs = _opened({sys.prefix, sys.exec_prefix, sys.base_prefix, *map(str, programs)})
        self._modules = _opened(filter(os.path.isabs, sys.path))

    def descriptor(self) -> int:
        """Return the folder's descriptor, for a child process; the folder keeps it.

        Raises CellholdError if the folder was removed.
        """
        if self.folder is None or self.folder.opened.is_gone:
            raise CellholdError(f"cannot use {escape(self._name, most=_SHOWN)}: it is not there any more")
        return self.folder.descriptor

    def mounts(self, way: str | None) -> tuple[Mount, ...]:
        """Return the mounts for one of WAYS.

        way: None if the notebook set none: mount=ro if that is possible, else no mount.
        Raises InvalidSpec for a way that was requested and is not possible.
        """
        if way == "none":
            return ()
        try:
            return (self._mount(is_writable=way == "rw", goes_out=way == "new"),)
        except _NotShown as reason:
            if way is None:
                return ()
            raise InvalidSpec(
                f"cannot use mount={way}: {escape(self._name, most=_SHOWN)} {reason}",
                hint="keep notebooks in a folder of their own, or mount=none",
            ) from None

    def protected(self) -> frozenset[Identity]:
        """Return the directories of the host's programs and modules.

        With mount=new nothing of a container goes into them.
        """
        own = None if self.folder is None else self.folder.opened.identity
        return frozenset(one.identity for one in (*self._programs, *self._modules) if one.identity != own)

    def _mount(self, *, is_writable: bool, goes_out: bool = False) -> Mount:
        """Return the mount of the folder. Raises _NotShown."""
        if self.folder is None or self.folder.opened.is_gone:
            raise _NotShown("is not there any more")
        opened = self.folder.opened
        self._store = self._store or hostpath.opened(open_home().root)
        try:
            self._check_location(opened)
            covers = Covers(opened, with_mounts=is_writable)
            for secret in self._hidden():
                covers.hide(secret)
            self._check_store(covers)
            if is_writable:
                self._protect(opened, covers)
            if goes_out and opened.identity in {program.identity for program in self._programs}:
                raise _NotShown("is where the host's own Python lives: cells could add to what runs outside")
        except Moved as error:
            raise _NotShown(f"cannot be distinguished from what is in it: {escape(str(error), most=_SHOWN)}") from error
        except OSError as error:
            raise _NotShown(f"cannot be examined: {error.strerror}") from error
        return Mount(
            kind="bind" if is_writable else "overlay",
            source=opened.current_path(),
            target=TARGET,
            hidden=tuple(sorted(covers.hidden)),
            fixed=covers.listed(),
            opened=opened,
        )

    def _check_location(self, opened: HostPath) -> None:
        """Raise _NotShown for a folder of the system, the store or what is hidden."""
        whole, machine, free = map(_identities, (_WHOLLY, _MACHINE, _EXCEPT))
        homes = {home.identity for home in self._homes}
        if opened.identity in machine:
            raise _NotShown("is a part of the machine, not a notebook's folder")
        is_free = False
        name = ""  # of the directory one step below
        for here in upwards(opened):
            is_free = is_free or here.identity in free
            if here.identity in whole and not is_free:
                raise _NotShown("is a part of the machine, not a notebook's folder")
            if self._store is not None and here.identity == self._store.identity:
                raise _NotShown("lies in Cellhold's own store")
            if here.identity in homes and name.startswith("."):
                raise _NotShown(f"lies in {escape(name, most=_SHOWN)} of a home directory, which is hidden from cells")
            name = here.current_path().rpartition("/")[2]

    def _check_store(self, covers: Covers) -> None:
        """Raise _NotShown if the store would be visible."""
        assert self._store is not None  # noqa: S101  # for mypy
        for path in covers.paths_of(self._store):
            if not any(f"{path}/".startswith(f"{hidden}/") for hidden in covers.hidden):
                raise _NotShown("holds Cellhold's own store")

    def _protect(self, opened: HostPath, covers: Covers) -> None:
        """Make what the host runs read-only. Raises _NotShown.

        Whoever can write there controls the next host kernel.
        """
        for program in self._programs:
            if program.identity == opened.identity:
                raise _NotShown("is where the host's own Python lives: cells could change what runs outside")
            covers.protect(program)
        for directory in self._modules:
            if directory.identity != opened.identity:  # app.py ensures that nothing is imported from the folder itself
                covers.protect(directory)

    def _hidden(self) -> Iterator[Secret]:
        yield from self._secrets
        for home in self._homes:
            with suppress(PermissionError):  # we cannot read it, so the container cannot either
                yield Secret(home, tuple(name for name in _names(home) if name.startswith(".")))


def _folder(folder: Folder | Path | None) -> Folder | None:
    """Return the folder, opened if it is a path; None if it does not exist."""
    if isinstance(folder, Path):
        with suppress(FileNotFoundError):
            return Folder.at(folder)
        return None
    return folder


class _NotShown(Exception):
    """Why a folder is not mounted, as the end of a sentence."""


def _names(directory: HostPath) -> list[str]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def _secret(path: Path) -> Secret | None:
    """Return the secret at a path, or None if its directory does not exist."""
    real = path.resolve()
    try:
        return Secret(hostpath.opened(real.parent), (real.name,))
    except OSError:
        return None


def _home_of(uid: int) -> Iterator[str]:
    """Yield the home directory of an account, if there is one.

    It is the folder's owner: root may run another user's notebook.
    """
    with suppress(KeyError):
        yield pwd.getpwuid(uid).pw_dir


def _homes_near(folder: HostPath) -> Iterator[HostPath]:
    """Yield the home directories of accounts that contain the folder or lie in it.

    Root can read all of them, and other users those that are not closed.
    """
    with suppress(OSError):
        above = {one.identity for one in upwards(folder)}
        for home in map(_opened, ([path] for path in sorted({entry.pw_dir for entry in pwd.getpwall()}) if os.path.isabs(path))):
            for one in home:
                if one.identity in above or _is_in(one, folder):
                    yield one


def _is_in(directory: HostPath, folder: HostPath) -> bool:
    """Return whether a directory is in the folder, as far as we may read."""
    try:
        return any(above.identity == folder.identity for above in upwards(directory))
    except OSError:
        return False


def _opened(paths: Iterable[str]) -> list[HostPath]:
    """Open those of the directories that exist, except the root."""
    directories = []
    for path in sorted(paths):
        with suppress(OSError):
            directories.append(hostpath.opened(path))
    return [one for one in directories if one.is_directory and one.current_path() != "/"]


def _identities(paths: Iterable[str]) -> set[Identity]:
    return {one.identity for one in (*_opened(paths), *([hostpath.opened("/")] if "/" in paths else []))}
