"""The `host` image: this machine's own programs, read-only. No download is needed.

Shown: /usr and /opt, /bin, /sbin and /lib* (links or directories), the running Python's
prefixes, and the part of /etc that programs need. Everything else is absent because it
was never put in: homes, /root, secrets and accounts of /etc, /run and its sockets, the
data in /var, mounted disks. A skeleton directory holds the copies and the empty mount
points; the big trees are layers of their own, so that they are writable in the
container and stay untouched on the machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.errors import NotSupported
from cellhold.image.model import DEFAULT_PATH, Image, Stack
from cellhold.linux import hostpath
from cellhold.store import durable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.linux.hostpath import HostPath
    from cellhold.store.home import Home

_TREES = ("/usr", "/opt")
_MAYBE_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_DIRECTORIES = ("dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "usr", "var/cache", "var/lib", "var/log")
_STICKY = ("tmp", "var/tmp")
# What programs read to run at all: the loader, names, locale, time, certificates,
# terminals, fonts, language defaults.
_ETC = (
    "alternatives bash.bashrc bindresvport.blacklist ca-certificates ca-certificates.conf debian_version default/locale environment.d "
    "fonts gai.conf host.conf inputrc issue java* ld.so.cache ld.so.conf ld.so.conf.d locale.alias locale.conf locale.gen localtime "
    "lsb-release magic magic.mime matplotlibrc mime.types networks nsswitch.conf os-release perl profile protocols python3* R rpc "
    "services skel ssl/certs ssl/openssl.cnf terminfo timezone xattr.conf"
).split()
_HUMAN_ID = 1000
_NOBODY = 65534


def image(home: Home) -> Image:
    """Return the image as this machine is now.

    The skeleton is made again when the parts of /etc have changed.
    """
    prefixes = python_prefixes()
    env = {"PATH": f"{sys.prefix}/bin:{DEFAULT_PATH}", "LANG": "C.UTF-8"}
    stacks = [Stack(target="/", layers=(skeleton(home),))]
    stacks += [Stack(target=tree, layers=(_held(tree) if tree in prefixes else hostpath.opened(tree),)) for tree in _trees()]
    return Image(name="host", stacks=tuple(stacks), env=MappingProxyType(env), cwd="/root", args=("bash",), python=sys.executable)


def skeleton(home: Home) -> Path:
    """Return what lies below the big trees, as this machine is now.

    It is made again when the parts of /etc have changed.
    """
    trees = _trees()
    key = fingerprint(trees)
    made = home.images / f"host-{key}"
    if not made.exists():
        with home.locked():
            if not made.exists():
                build(made, trees)
    return made


def _trees() -> list[str]:
    """Return the paths that are shown unchanged."""
    return [*(tree for tree in (*_TREES, *_MAYBE_LINKS) if Path(tree).is_dir() and not Path(tree).is_symlink()), *python_prefixes()]


def hold_prefixes() -> None:
    """Open the directories where this Python lives, for as long as it runs.

    A notebook's cells may be able to write above them. Calling it twice is harmless.
    """
    for prefix in python_prefixes():
        _held(prefix)


@cache
def _held(prefix: str) -> HostPath:
    return hostpath.opened(prefix)


def python_prefixes() -> list[str]:
    """Return where the running Python lives, unless the trees show it already.

    Raises NotSupported when that is a whole home or the whole machine: showing it would
    show what must not be seen.
    """
    prefixes: list[str] = []
    for prefix in dict.fromkeys((sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix)):
        path = Path(prefix)
        if path in (Path("/"), Path("/root"), Path("/home"), Path("/var"), Path("/etc")) or path.parent == Path("/home"):
            raise NotSupported(
                f"cannot show this Python in the host image: its prefix {prefix} holds more than a Python",
                hint="run Cellhold from a virtual environment",
            )
        if not any(path.is_relative_to(tree) for tree in (*_TREES, *prefixes)):
            prefixes.append(prefix)
    return prefixes


def etc_entries() -> Iterator[Path]:
    """Yield the allow-listed files and directories of /etc that exist here."""
    for pattern in _ETC:
        yield from sorted(Path("/etc").glob(pattern))


def fingerprint(trees: list[str]) -> str:
    """Return a text that changes when an allow-listed file changes.

    So it does for a directory below one. It takes about a hundred calls of lstat(2).
    """
    digest = hashlib.sha256(repr(trees).encode())
    accounts = (Path("/etc/passwd"), Path("/etc/group"))
    for entry in (*etc_entries(), *accounts):
        places = [entry, *(Path(root) for root, _dirs, _files in os.walk(entry))] if entry.is_dir() and not entry.is_symlink() else [entry]
        for place in places:
            status = place.lstat()
            digest.update(f"{place}\0{status.st_mtime_ns}\0{status.st_size}\0{status.st_ino}\0".encode())
    return digest.hexdigest()[:16]


def build(skeleton: Path, trees: list[str]) -> None:
    """Make the skeleton beside its place and rename it.

    So no process sees half of one; older skeletons stay for those who use them.
    """
    with durable.appearing(skeleton) as new:
        _furnish(new, trees)
        durable.sync_filesystem(new)  # else a power cut would leave a skeleton of empty files, and it would be believed


def _furnish(new: Path, trees: list[str]) -> None:
    for name in _DIRECTORIES:
        (new / name).mkdir(mode=0o755, parents=True)
    for name in _STICKY:
        (new / name).mkdir()
        (new / name).chmod(0o1777)
    (new / "root").chmod(0o700)
    (new / "var/run").symlink_to("/run")
    for name in _MAYBE_LINKS:
        if Path(name).is_symlink():
            (new / name[1:]).symlink_to(Path(name).readlink())
    for tree in trees:
        (new / tree[1:]).mkdir(mode=0o755, parents=True, exist_ok=True)
        if Path(tree).is_relative_to("/root"):
            (new / "root").chmod(0o711)  # so that other users of the container reach the Python below it
    for entry in etc_entries():
        copy(entry, new / str(entry)[1:])
    write_accounts(new / "etc")
    new.chmod(0o755)


def copy(source: Path, destination: Path) -> None:
    """Copy what every user of the machine may read: no keys, no sockets.

    path: a file, a link (copied as a link), or a directory.
    """
    if not should_copy(source):
        return
    destination.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not source.is_dir() or source.is_symlink():
        shutil.copy2(source, destination, follow_symlinks=False)
        return
    destination.mkdir(exist_ok=True)
    for entry in source.iterdir():
        copy(entry, destination / entry.name)
    shutil.copystat(source, destination)


def should_copy(path: Path) -> bool:
    """Return whether to copy that path."""
    mode = path.lstat().st_mode
    return stat.S_ISLNK(mode) or (bool(mode & 0o004) and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)))


def write_accounts(etc: Path) -> None:
    """Write passwd and group with the machine's system accounts.

    People, and who is in which group, stay out.
    """
    for name, id_column in (("passwd", 2), ("group", 2)):
        rows = (line.split(":") for line in Path("/etc", name).read_text(encoding="utf-8", errors="replace").splitlines())
        system = [
            row for row in rows if len(row) > id_column and row[2].isdecimal() and (int(row[2]) < _HUMAN_ID or int(row[2]) == _NOBODY)
        ]
        if name == "group":
            system = [[*row[:3], ""] for row in system]
        (etc / name).write_text("".join(":".join(row) + "\n" for row in system), encoding="utf-8")
