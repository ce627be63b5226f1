"""The notebook's packages, in front of the image's, behind the standard library.

Run by logged.py's START before ipykernel itself, with PACKAGES: the directory where a
layer of them is mounted, or will be. Before each cell it is looked at (one stat(2)): a
layer may come while the kernel runs, or another one over it. It comes after ipykernel
has loaded its own modules, so those are not the notebook's.

What a cell starts finds them, too: PYTHONPATH for modules, PATH for programs.
"""

import importlib
import os
import site
import sys
from typing import TYPE_CHECKING, Any, Dict, List

if TYPE_CHECKING:
    PACKAGES = ""


class Packages:
    """What is mounted there.

    seen: device and inode of the directory that was last found.
    """

    def __init__(self, directory: str) -> None:
        self._site = "%s/lib/python%d.%d/site-packages" % (directory, sys.version_info[0], sys.version_info[1])
        self._bin = directory + "/bin"
        self._seen = None  # type: Any
        self._versions = {}  # type: Dict[str, str]

    def look(self, *_ignored: Any) -> None:
        """Put them in front when they have come, and forget what was not there before."""
        try:
            found = os.stat(self._site)
        except OSError:
            return
        if (found.st_dev, found.st_ino) == self._seen:
            return
        before, self._versions = self._versions, self._installed()
        if self._seen is None:
            self._add()
        else:
            self._tell(before)
        self._seen = (found.st_dev, found.st_ino)
        importlib.invalidate_caches()

    def _add(self) -> None:
        before = list(sys.path)
        site.addsitedir(self._site)  # with its .pth files
        new = [entry for entry in sys.path if entry not in before]
        at = self._first(before)
        sys.path[:] = before[:at] + new + before[at:]
        for name, entry in (("PATH", self._bin), ("PYTHONPATH", self._site)):
            old = os.environ.get(name)
            os.environ[name] = entry if not old else entry + os.pathsep + old

    def _installed(self) -> Dict[str, str]:
        """Distribution -> version of what is mounted there."""
        infos = [name[: -len(".dist-info")].partition("-") for name in os.listdir(self._site) if name.endswith(".dist-info")]
        return {name: version for name, _, version in infos}

    def _tell(self, before: Dict[str, str]) -> None:
        """Say which of those that are loaded are another version now."""
        changed = [name for name, version in self._versions.items() if before.get(name, version) != version and name in sys.modules]
        if changed:
            names = ", ".join("%s %s" % (name, self._versions[name]) for name in sorted(changed))
            sys.stderr.write("packages: %s: an older one is loaded, %%container restart uses it\n" % names)

    def _first(self, path: List[str]) -> int:
        """Where the image's own packages begin."""
        for at, entry in enumerate(path):
            if os.path.basename(entry.rstrip("/")) in ("site-packages", "dist-packages"):
                return at
        return len(path)


def prepare(directory: str) -> None:
    """Look before each cell, and once when the shell is there."""
    from ipykernel.zmqshell import ZMQInteractiveShell

    packages = Packages(directory)
    plain = ZMQInteractiveShell.__init__  # type: Any

    def begin(self: Any, *args: Any, **options: Any) -> None:
        plain(self, *args, **options)
        packages.look()
        self.events.register("pre_execute", packages.look)

    ZMQInteractiveShell.__init__ = begin  # type: ignore[method-assign]


if __name__ == "__main__":
    prepare(PACKAGES)
