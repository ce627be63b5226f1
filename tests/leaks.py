"""What a test left behind: snapshots of all that Cellhold makes, and differences.

    before = leaks.take()
    ...
    for sentence in leaks.left_over(before): ...

Kinds: processes, mounts, control groups below */cellhold/, network namespaces, network
devices, descriptors of this process, loop devices, directories of the store. A kind is
one function that names what there is now; the names are sentences' ends, so that the
report needs no second look.

What belongs to another user of Cellhold on the same machine is not looked at: an open
notebook, another session of tests. Our processes descend from this one, or have this
session's CELLHOLD_HOME, as every launcher and every PID 1 of a container keeps it. A
group without processes belongs to the store that its container's directory lies in, a
network device to the one whose networks it is named after. Each session says in a file
beside its store where the stores of its tests lie (`announced`).
"""

from __future__ import annotations

import gc
import os
import re
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

Snapshot = dict[str, frozenset[str]]

PATIENCE_SECONDS = 1.5  # the kernel takes network namespaces and cgroups apart after their last process has been waited for
_MOST_BUSY = 20.0  # times: a machine that others use
_INTERVAL_SECONDS = 0.02
_GROUP = "/cellhold/"
_STORES = Path("/var/tmp")  # where the stores of sessions lie (conftest.py)
_ANNOUNCEMENT = ".tests"
_DEEPEST = 8
_MOUNTS = "/proc/self/mountinfo"
# What another process of this session makes in /var/tmp lies below a directory of this
# name (test_fuse_overlay.py).
_OF_ANOTHER_WORKER = re.compile(rf"/popen-(?!{os.environ.get('PYTEST_XDIST_WORKER', '/')}/)gw\d+/")
_NETWORK_DEVICE = re.compile(r"ch[0-9a-f]{4}-[0-9a-f]{8}|cv[0-9a-f]{12}")
_REAPERS = ("systemd", "init", "tini", "dumb-init")  # who an orphan goes to, besides process 1


def take(*, ignore: Collection[int] = ()) -> Snapshot:
    """Take a snapshot of all that exists now.

    ignore: ids of processes that may stay (the library's resident launcher).
    """
    table = Processes(ignore)
    return {kind: look(table) for kind, look in KINDS.items()}


def left_over(before: Snapshot, *, ignore: Collection[int] = (), patience: float = PATIENCE_SECONDS) -> list[str]:
    """Return one sentence for each thing that exists now and did not `before`.

    patience: seconds to wait for it to go, on a machine with a processor for each
    process that wants one; proportionally more on a busier one. Only what each look
    sees counts: what another session has just removed can seem ours for once, between
    two of the files that say whose it is.
    """
    deadline = time.monotonic() + patience * min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0), _MOST_BUSY)
    lasting = _look(before, ignore)
    while lasting:
        is_last = time.monotonic() > deadline
        gc.collect()  # what only a cycle of garbage holds open is not left behind
        time.sleep(_INTERVAL_SECONDS)
        found = _look(before, ignore)
        lasting = {name: found[name] for name in lasting if name in found}
        if is_last:
            break
    return list(lasting.values())


def _look(before: Snapshot, ignore: Collection[int]) -> dict[str, str]:
    """Return the sentences by what they are about.

    A process is named by its id alone: its name changes when it becomes a zombie.
    """
    sentences = _difference(before, take(ignore=ignore))
    return {sentence.partition(" (")[0] if sentence.startswith("process ") else sentence: sentence for sentence in sentences}


def _difference(before: Snapshot, now: Snapshot) -> Iterator[str]:
    for kind, names in now.items():
        if kind == "descriptor" and len(names) <= len(before[kind]):
            continue  # one that was closed and opened anew has another target, but is no more than before
        for name in sorted(names - before[kind]):
            yield f"{kind} {name}"


# ---------------------------------------------------------------------------- processes


class Processes:
    """The process table as it is now, read once for all kinds."""

    def __init__(self, ignore: Collection[int] = ()) -> None:
        lines = {int(pid): line for pid in _entries("/proc") if pid.isdigit() and (line := _read(f"/proc/{pid}/stat"))}
        self.parents = {pid: int(_fields(line)[1]) for pid, line in lines.items()}
        self._reapers = {pid for pid, line in lines.items() if line[line.index("(") + 1 : line.rindex(")")] in _REAPERS}
        self._ours: dict[int, bool] = {}
        self.ours = [pid for pid in self.parents if pid not in ignore and self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        """Return whether a process descends from this one, or an ancestor has our home.

        Each process is examined once.
        """
        if (known := self._ours.get(pid)) is not None:
            return known
        self._ours[pid] = False  # the table is no single moment's: what seems to be its own ancestor ends here
        parent = self.parents.get(pid, 0)
        is_line = parent > 1 and parent not in self._reapers
        self._ours[pid] = parent == os.getpid() or _has_our_home(pid) or (is_line and self._is_ours(parent))
        return self._ours[pid]


def _entries(directory: str) -> list[str]:
    return os.listdir(directory)  # names, not paths: 2 ms less for each test


def _read(path: str) -> str:
    with suppress(OSError), open(path, "rb", buffering=0) as file:
        return file.read().decode(errors="replace")
    return ""


def _fields(line: str) -> list[str]:
    """Return the fields of /proc/PID/stat after the name; none without a process."""
    return line.rpartition(") ")[2].split()


def _has_our_home(pid: int) -> bool:
    home = os.environ.get("CELLHOLD_HOME")
    return home is not None and f"\0CELLHOLD_HOME={home}\0" in f"\0{_read(f'/proc/{pid}/environ')}\0"


def processes(table: Processes) -> frozenset[str]:
    """Yield each process of ours, including zombies: "123 (sleep 9)"."""
    return frozenset(filter(None, map(_named, table.ours)))


def _named(pid: int) -> str:
    stat = _fields(_read(f"/proc/{pid}/stat"))
    words = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() or _read(f"/proc/{pid}/comm").strip()
    return f"{pid} ({words[:100]}{', a zombie' if stat[0] == 'Z' else ''}, started at tick {stat[19]})" if stat else ""


# ----------------------------------------------------------- what processes are made of


def mounts(_table: Processes) -> frozenset[str]:
    """Yield each mount of this mount namespace: "/mnt (tmpfs, mount 312)".

    Without those of tests that run beside these.
    """
    others = tuple(f"{place}/" for place in _other_places())
    parts = ((left.split(), right.split()) for left, _, right in (line.partition(" - ") for line in _read(_MOUNTS).splitlines()))
    ours = ((left, right) for left, right in parts if not f"{left[4]}/".startswith(others) and not _OF_ANOTHER_WORKER.search(left[4]))
    return frozenset(f"{left[4]} ({right[0]}, mount {left[0]})" for left, right in ours)


def control_groups(table: Processes) -> frozenset[str]:
    """Yield each group below a group named cellhold, in every hierarchy.

    Without those of other users' containers.
    """
    return frozenset(str(group) for group in _groups() if not _is_foreign(group, table))


def _groups() -> Iterator[Path]:
    for line in _read(_MOUNTS).splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup"):
            for folder, names, _files in os.walk(left.split()[4]):
                if _GROUP in f"{folder}/" and not folder.endswith("/cellhold"):
                    yield Path(folder)
                elif folder.count("/") > _DEEPEST:  # other managers' trees can have thousands of groups
                    names.clear()


def _is_foreign(group: Path, table: Processes) -> bool:
    if group.name.startswith("test-"):  # of test_cgroups.py, with its process's id
        return group.name != f"test-{os.getpid()}"
    members = [int(pid) for pid in _read(f"{group}/cgroup.procs").split()]
    if members:
        return not set(members) & set(table.ours)
    return any((store / "containers" / group.name).exists() for store in _other_stores())


def _other_stores() -> Iterator[Path]:
    """Return the machine's own store, and those of other test sessions.

    A container's directory goes after its group.
    """
    yield Path("/var/lib/cellhold")
    yield from (path for path in _STORES.glob("ch*") if path.is_dir() and str(path) != os.environ.get("CELLHOLD_HOME"))
    for place in _other_places():
        yield from place.glob("*/store")


def _other_places() -> Iterator[Path]:
    """Return the stores of other sessions, and the directories of their tests."""
    for announcement in _STORES.glob(f"ch*{_ANNOUNCEMENT}"):
        if str(announcement) != f"{os.environ.get('CELLHOLD_HOME')}{_ANNOUNCEMENT}":
            yield Path(str(announcement).removesuffix(_ANNOUNCEMENT))
            if tests := _read(str(announcement)):
                yield Path(tests)


@contextmanager
def announced(tests: Path) -> Iterator[None]:
    """Tell other sessions on this machine where this one's stores are.

    tests: the directory of its tests' own ones.
    """
    announcement = Path(f"{os.environ['CELLHOLD_HOME']}{_ANNOUNCEMENT}")
    announcement.write_text(str(tests))
    yield
    announcement.unlink()


def network_namespaces(table: Processes) -> frozenset[str]:
    """Yield each network namespace that we keep: "net:[4026532]".

    By a process of ours, a descriptor of this process, or a mount.
    """
    links = [f"/proc/{pid}/ns/net" for pid in table.ours]
    links += [f"/proc/self/fd/{number}" for number in _entries("/proc/self/fd")]
    names = {_target(link) for link in links}
    names |= {f"{line.split()[3]}" for line in _read(_MOUNTS).splitlines() if " - nsfs " in line}
    return frozenset(name for name in names if name.startswith("net:")) - {_target("/proc/self/ns/net")}


def descriptors(_table: Processes) -> frozenset[str]:
    """Yield each open descriptor of this process: "7 (/tmp/x)"."""
    found = {number: _target(f"/proc/self/fd/{number}") for number in _entries("/proc/self/fd")}
    return frozenset(f"{number} ({target})" for number, target in found.items() if target)  # no target: listdir's own


def _target(link: str) -> str:
    with suppress(OSError):
        return os.readlink(link)
    return ""


def loop_devices(_table: Processes) -> frozenset[str]:
    """Yield each loop device of this session's store: "loop0 (/.../disk.img)"."""
    home = os.environ.get("CELLHOLD_HOME", "/nonexistent")
    found = ((path.parents[1].name, _read(str(path)).strip()) for path in Path("/sys/block").glob("loop*/loop/backing_file"))
    return frozenset(f"{name} ({file})" for name, file in found if file.startswith(home))


def network_devices(_table: Processes) -> frozenset[str]:
    """Yield each bridge and veth in this thread's network namespace.

    Without those of other stores.
    """
    names = (line.partition(":")[0].strip() for line in _read("/proc/thread-self/net/dev").splitlines())
    ours = frozenset(name for name in names if _NETWORK_DEVICE.fullmatch(name))
    return ours - frozenset(_foreign_devices(ours)) if ours else ours


def _foreign_devices(names: Collection[str]) -> Iterator[str]:
    from cellhold.network import networks  # noqa: PLC0415  # where there is a device at all
    from cellhold.network.model import device_name  # noqa: PLC0415
    from cellhold.store.home import Home  # noqa: PLC0415

    for store in _other_stores():
        prefix = f"ch{networks.key(Home(store))}-"
        yield from (name for name in names if name.startswith(prefix))
        for network in _names(store / "networks"):
            yield from (device_name(container, network) for container in _names(store / "containers"))


def _names(directory: Path) -> list[str]:
    with suppress(OSError):
        return _entries(str(directory))
    return []


def directories(_table: Processes) -> frozenset[str]:
    """Yield each container's directory and claim on ids in this session's store."""
    home = os.environ.get("CELLHOLD_HOME")
    parts = ("containers", "ids") if home else ()
    return frozenset(str(path) for part in parts for path in Path(str(home), part).glob("*"))


KINDS: dict[str, Callable[[Processes], frozenset[str]]] = {
    "process": processes,
    "mount": mounts,
    "cgroup": control_groups,
    "network namespace": network_namespaces,
    "descriptor": descriptors,
    "network device": network_devices,
    "loop device": loop_devices,
    "directory": directories,
}
