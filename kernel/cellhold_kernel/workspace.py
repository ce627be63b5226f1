"""The notebook's folder in the container: at /workspace, where its cells run.

    mount=ro    seen through an overlay: cells can write there, and nothing of it reaches the host (the default)
    mount=rw    the folder itself; files made belong to the user who runs Jupyter
    mount=none  not there

What tells who somebody is stays outside. Where the folder is a home, or lies above one, each name in that home that begins with a dot
is covered (.ssh, .aws, .config, .local with Jupyter's tokens ...), and so is the kernel's connection file wherever it lies.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec
from cellhold.spec import Mount
from cellhold.store.home import default_root

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = "/workspace"
WAYS = ("none", "ro", "rw")  # each allows more than the one before
_MACHINE = frozenset(map(Path, "/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /run /sbin /srv /sys /usr /var".split()))


class Workspace:
    """A notebook's folder, and the files that must not be seen in it."""

    def __init__(self, folder: Path, *secrets: Path) -> None:
        """folder: an absolute path; secrets: files or directories, wherever they lie."""
        self.folder = folder.resolve()
        self._secrets = [secret.resolve() for secret in secrets]
        self._descriptor: int | None = None

    def descriptor(self) -> int:
        """The folder, opened: its holder's for as long as this object is there."""
        if self._descriptor is None:
            self._descriptor = os.open(self.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._descriptor

    def mounts(self, way: str | None) -> tuple[Mount, ...]:
        """The mounts that show it in that way; None: nobody said anything, so mount=ro as far as it can be had.

        Raises InvalidSpec for a way that was asked for and cannot be had.
        """
        if way == "none":
            return ()
        hidden = tuple(sorted({str(path.relative_to(self.folder)) for path in self._hidden()}))
        if reason := self._why_not(hidden):
            if way is None:
                return ()
            raise InvalidSpec(
                f"cannot use mount={way}: {self.folder} {reason}", hint="keep notebooks in a folder of their own, or mount=none"
            )
        return (Mount(kind="bind" if way == "rw" else "overlay", source=str(self.folder), target=TARGET, hidden=hidden),)

    def _why_not(self, hidden: tuple[str, ...]) -> str | None:
        if not self.folder.is_dir():
            return "is not there any more"
        if self.folder in _MACHINE:
            return "is a part of the machine, not a notebook's folder"
        store = default_root().resolve()
        if store.is_relative_to(self.folder) and not any(store.is_relative_to(self.folder / path) for path in hidden):
            return "holds Cellhold's own store"
        return None

    def _hidden(self) -> Iterator[Path]:
        for secret in self._secrets:
            if secret.is_relative_to(self.folder) and secret != self.folder:
                yield secret
        for home in self._homes():
            if home.is_relative_to(self.folder):
                with suppress(OSError):  # not ours to read: nor the container's
                    yield from (entry for entry in home.iterdir() if entry.name.startswith("."))

    def _homes(self) -> set[Path]:
        """The user's home, and that of the folder's owner: root may run a notebook of somebody's."""
        homes = {Path(os.path.expanduser("~")).resolve()}
        with suppress(OSError, KeyError):
            homes.add(Path(pwd.getpwuid(self.folder.stat().st_uid).pw_dir).resolve())
        return homes - {Path("/")}
