"""Unprivileged users of this machine for the tests, removed at the end.

They are made with useradd(8), and have what they need to run this checkout.
"""

from __future__ import annotations

import compileall
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import e2b_dockerfile_utils
import isal
import pyroute2
import pyseccomp
import urllib3
import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[1]
RANGE = 65536
_PATIENCE_SECONDS = 120.0
_FIRST_SUBORDINATE = 400_000_000  # below SUB_UID_MAX, where useradd seldom gets to
_SITE_PACKAGES = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
_ENOUGH = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r})"


class Person(NamedTuple):
    """A user.

    Its ids, the first of its subordinate ids (0: it has none), a directory of its own,
    and a Python that it can run.
    """

    name: str
    uid: int
    gid: int
    first: int
    place: Path
    python: str

    @property
    def store(self) -> Path:
        """Where its Cellhold keeps things."""
        return self.place / "home/.local/share/cellhold"

    def containers(self) -> list[str]:
        """Return its containers on disk."""
        return os.listdir(self.store / "containers")

    def processes(self) -> list[int]:
        """Return its living processes, including those of its subordinate ids."""
        return [int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and self._owns(int(pid))]

    def _owns(self, pid: int) -> bool:
        with suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
            uid = int(fields["Uid"].split()[1])
            return fields["State"][0] not in "ZX" and (uid == self.uid or (self.first > 0 and self.first <= uid < self.first + RANGE))
        return False

    def as_it(self) -> dict[str, Any]:
        """Return arguments of subprocess.run for a process of the user."""
        environment = {
            "HOME": str(self.place / "home"),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(self.place / "packages"),
            "CELLHOLD_NETWORK": "none",
            "JUPYTER_TOKEN": "of nobody's business",
        }
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "env": environment, "cwd": self.place}

    def cellhold(self, *words: str) -> list[str]:
        """Return the command line of this checkout's `cellhold`."""
        return [self.python, "-m", "cellhold.cli", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it."""
        return self.run_program(*self.cellhold(*words))

    def run_program(self, *words: str, patience: float = _PATIENCE_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run any program, for no more than `patience` seconds."""
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=patience, **self.as_it())


@contextmanager
def person(suffix: str, *, subordinate: bool) -> Iterator[Person]:
    """Yield a new user, with or without subordinate ids; remove it in the end."""
    name = f"ch{os.getpid()}{suffix}"
    place = Path(tempfile.mkdtemp(prefix="chu", dir="/var/tmp"))
    try:
        _system("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(place / "home"), "--shell", "/bin/sh", name)
        try:
            entry = pwd.getpwnam(name)
            first = _give_range(name) if subordinate else 0
            place.chmod(0o755)
            (place / "home").mkdir(mode=0o700)
            os.chown(place / "home", entry.pw_uid, entry.pw_gid)
            _copy_packages(place / "packages")
            yield Person(name, entry.pw_uid, entry.pw_gid, first, place, _python(entry.pw_uid))
        finally:
            _system("userdel", name)
    finally:
        shutil.rmtree(place)


def _system(*words: str) -> None:
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, (words, ran.stderr)


def _give_range(name: str) -> int:
    first = _FIRST_SUBORDINATE + os.getpid() % 1000 * RANGE
    for table in ("/etc/subuid", "/etc/subgid"):
        Path(table).touch()  # without it usermod knows of no such thing
    _system("usermod", "--add-subuids", f"{first}-{first + RANGE - 1}", "--add-subgids", f"{first}-{first + RANGE - 1}", name)
    return first


def _copy_packages(packages: Path) -> None:
    """Copy this checkout and the packages that the runtime needs.

    Other users may have no access to the originals.

    Compiled: the user may not write there, and each of its commands would compile all
    of it again.
    """
    ignore = shutil.ignore_patterns("*.pyc.*")  # what another session is compiling just now
    shutil.copytree(CHECKOUT / "runtime/cellhold", packages / "cellhold", ignore=ignore)
    shutil.copytree(CHECKOUT / "kernel/cellhold_kernel", packages / "cellhold_kernel", ignore=ignore)
    shutil.copy(str(pyseccomp.__file__), packages)
    for package in (e2b_dockerfile_utils, isal, pyroute2, urllib3, zstandard):
        shutil.copytree(Path(str(package.__file__)).parent, packages / package.__name__, ignore=ignore)
    compileall.compile_dir(packages, quiet=2)  # what was not compiled yet


def _python(uid: int) -> str:
    """Return a Python of our version that the user can run, with its prefix."""
    for candidate in (sys.executable, os.path.realpath(sys.executable), "/usr/bin/python3"):
        with suppress(PermissionError):
            if subprocess.run([candidate, "-I", "-c", _ENOUGH], user=uid, capture_output=True, check=False, cwd="/").returncode == 0:
                return candidate
    raise AssertionError(f"no Python {sys.version_info.major}.{sys.version_info.minor} here that everybody can run")


def virtual_environment(of: Person) -> Person:
    """Return the user with a virtual environment that has the packages of ours.

    The user can write to its interpreter.
    """
    environment = of.place / "venv"
    made = subprocess.run(
        [of.python, "-I", "-m", "venv", "--copies", "--without-pip", str(environment)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    ours = Path(sys.prefix, _SITE_PACKAGES)
    shutil.copytree(ours, environment / _SITE_PACKAGES, copy_function=_link, symlinks=True, dirs_exist_ok=True)
    python = environment / "bin/python"
    os.chown(python, of.uid, of.gid)
    return of._replace(python=str(python))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def furnish(who: Person, busybox_root: Path) -> None:
    """Give it an image in its place, and a directory to share."""
    shutil.copytree(busybox_root, who.place / "image", symlinks=True)
    (who.place / "image").chmod(0o755)
    (who.place / "image/bin/busybox").chmod(0o755)
    for name in ("chown", "grep", "df"):
        (who.place / "image/bin" / name).symlink_to("busybox")
    (who.place / "shared").mkdir()
    os.chown(who.place / "shared", who.uid, who.gid)


def shell(who: Person, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Return the words that run a script in the directory image."""
    return who.run("run", "--rm", *flags, "--rootfs", str(who.place / "image"), "sh", "-c", script)


@contextmanager
def running(who: Person, script: str, stderr: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a container whose program has printed "up"."""
    words = who.cellhold("run", "--rm", "--rootfs", str(who.place / "image"), "sh", "-c", script)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=stderr, **who.as_it()) as caller:
        assert caller.stdout is not None
        try:
            assert caller.stdout.readline() == b"up\n"
            yield caller
        finally:
            caller.kill()


def launcher_of(caller: subprocess.Popen[bytes]) -> int:
    """Return the pid of the launcher that a command has started."""
    return int(Path(f"/proc/{caller.pid}/task/{caller.pid}/children").read_text().split()[0])
