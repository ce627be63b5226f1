"""Plain directories that look like /sys/fs/cgroup; no root needed.

The little that the kernel does to them is done here.

    tree = FakeCgroups(tmp_path, "hybrid").install(monkeypatch)
    group = cgroups.create("a", limits, **tree.where)
    tree.text("memory", "a", "memory.limit_in_bytes")

What is written stays in the files to be read; a group that is made gets its files, one
that is removed loses them, a cgroup.subtree_control passes controllers on,
cgroup.freeze and cgroup.kill do as they say.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from cellhold.cgroups import files

if TYPE_CHECKING:
    import pytest

LAYOUTS = ("v1", "v2", "hybrid")
V1_MOUNTS = ("cpu,cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")  # two together, as most distributions had it
_PSI = "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=5"
V1_FILES = {
    "cpu": {
        "cpu.shares": "1024",
        "cpu.cfs_quota_us": "-1",
        "cpu.cfs_period_us": "100000",
        "cpu.stat": "nr_periods 4\nnr_throttled 2\nthrottled_time 2500000000",
    },
    "cpuacct": {"cpuacct.usage": "1500000000"},
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": ""},
    "memory": {
        "memory.limit_in_bytes": "9223372036854771712",
        "memory.memsw.limit_in_bytes": "9223372036854771712",
        "memory.usage_in_bytes": "50331648",
        "memory.max_usage_in_bytes": "60000000",
        "memory.stat": "cache 7\ntotal_inactive_file 20000000\ntotal_active_file 10000000",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3",
    },
    "devices": {"devices.allow": "", "devices.deny": ""},
    "freezer": {"freezer.state": "THAWED"},
    "blkio": {
        **{f"blkio.throttle.{rate}_device": "" for rate in ("read_bps", "write_bps", "read_iops", "write_iops")},
        "blkio.throttle.io_service_bytes_recursive": "254:0 Read 4096\n254:0 Write 8192\n254:0 Total 12288\nTotal 12288",
    },
    "pids": {"pids.max": "max", "pids.current": "5", "pids.events": "max 2"},
}
V2_BASE = {
    "cgroup.controllers": "",
    "cgroup.subtree_control": "",
    "cgroup.events": "populated 0\nfrozen 0",
    "cgroup.freeze": "0",
    "cgroup.kill": "",
    "cpu.stat": "usage_usec 1500000\nuser_usec 1\nthrottled_usec 2500000",
    **{f"{what}.pressure": _PSI for what in ("cpu", "memory", "io")},
}
V2_FILES = {
    "cpu": {"cpu.max": "max 100000", "cpu.weight": "100"},
    "cpuset": {"cpuset.cpus": "", "cpuset.cpus.effective": "0-3"},
    "memory": {
        "memory.max": "max",
        "memory.high": "max",
        "memory.swap.max": "max",
        "memory.current": "50331648",
        "memory.peak": "60000000",
        "memory.stat": "file 7\ninactive_file 20000000\nactive_file 10000000",
        "memory.events": "low 0\noom 3\noom_kill 3",
    },
    "io": {"io.max": "", "io.stat": "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2"},
    "pids": {"pids.max": "max", "pids.current": "5", "pids.events": "max 2"},
}


class Where(TypedDict):
    """The arguments that point the package at a fake."""

    root: Path
    mountinfo: Path


class FakeCgroups:
    """A host's cgroup tree of one layout; `controllers`: what v2's root offers."""

    def __init__(self, folder: Path, layout: str, *, controllers: str = "cpuset cpu io memory pids") -> None:
        self.root = folder / "cgroup"
        self.unified = {"v1": None, "v2": self.root, "hybrid": self.root / "unified"}[layout]
        self.layout = layout
        offered = controllers if layout == "v2" else "hugetlb"
        self.mounts: dict[Path, str] = {} if layout == "v2" else {self.root / option: option for option in V1_MOUNTS}
        for mount, option in self.mounts.items():
            mount.mkdir(parents=True)
            for name in option.split(","):
                self._fill(mount, {"cgroup.procs": "", "tasks": "", **V1_FILES[name]})
            if option == "cpuset":
                self._fill(mount, {"cpuset.cpus": "0-3", "cpuset.mems": "0"})
        if self.unified:
            self.unified.mkdir(parents=True, exist_ok=True)
            self._fill(self.unified, {"cgroup.procs": "", "cgroup.controllers": offered, "cgroup.subtree_control": ""})
            self._fill(self.unified, {"cpuset.cpus.effective": "0-3"})
        lines = [f"31 23 0:28 / {mount} rw - cgroup cgroup rw,{option}" for mount, option in self.mounts.items()]
        if self.unified:
            lines.append(f"41 31 0:38 / {self.unified} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate")
        self.mountinfo = folder / "mountinfo"
        self.mountinfo.write_text("\n".join(["22 1 254:0 / / rw - ext4 /dev/vda rw", *lines, ""]))

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeCgroups:
        """Be the kernel for the package until the test ends."""
        real = files.write
        monkeypatch.setattr(files, "mkdir", self._mkdir)
        monkeypatch.setattr(files, "rmdir", self._rmdir)
        monkeypatch.setattr(files, "write", lambda path, *values: self._write(Path(path), real, values))
        return self

    @property
    def where(self) -> Where:
        return {"root": self.root, "mountinfo": self.mountinfo}

    def directory(self, controller: str, name: str) -> Path:
        """Return the directory of `controller` for the group `name` in this layout."""
        for mount, option in self.mounts.items():
            if controller in option.replace("blkio", "io").split(","):
                return mount / "cellhold" / name
        assert self.unified is not None
        return self.unified / "cellhold" / name

    def text(self, controller: str, name: str, file: str) -> str:
        return (self.directory(controller, name) / file).read_text().strip()

    def groups(self) -> list[str]:
        """Return all groups of containers, in any hierarchy."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("cellhold/*") if path.is_dir())

    def _fill(self, directory: Path, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            (directory / name).write_text(f"{text}\n" if text else "")

    def _mkdir(self, directory: str) -> None:
        made = Path(directory)
        made.mkdir()
        if self.unified in made.parents and not any(mount in made.parents for mount in self.mounts):
            self._fill(made, {"cgroup.procs": "", **V2_BASE})
            self._pass_on(made.parent)
            return
        option = next(option for mount, option in self.mounts.items() if mount in made.parents)
        for name in option.split(","):
            self._fill(made, {"cgroup.procs": "", "tasks": "", **V1_FILES[name]})

    def _rmdir(self, directory: str) -> None:
        gone = Path(directory)
        if gone.is_dir() and ((gone / "cgroup.procs").read_text().strip() or any(path.is_dir() for path in gone.iterdir())):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), directory)
        for path in gone.iterdir() if gone.is_dir() else ():
            path.unlink()
        gone.rmdir()

    def _write(self, path: Path, real: object, values: tuple[str, ...]) -> None:
        assert callable(real)
        if path.name == "cgroup.subtree_control":
            old = path.read_text().split()
            values = (" ".join([*old, *(value[1:] for value in values)]),)
        real(str(path), *values)
        if path.name == "cgroup.subtree_control":
            self._pass_on(path.parent)
        elif path.name == "cgroup.freeze":
            self._fill(path.parent, {"cgroup.events": f"populated 0\nfrozen {values[0]}"})
        elif path.name == "cgroup.kill":
            self._fill(path.parent, {"cgroup.procs": ""})

    def _pass_on(self, parent: Path) -> None:
        controllers = (parent / "cgroup.subtree_control").read_text().split()
        for child in (path for path in parent.iterdir() if path.is_dir() and path not in self.mounts):
            self._fill(child, {"cgroup.controllers": " ".join(controllers)})
            for name in controllers:
                self._fill(child, {file: text for file, text in V2_FILES.get(name, {}).items() if not (child / file).exists()})
