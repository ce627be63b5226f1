"""A container from a library call to the last of it cleared away, against crun, runc and bubblewrap. Run by `make bench`, as root.

What runs is busybox `true`, with 512 MiB of memory, 256 processes, one processor, the default capabilities and filter.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from bench import measure, peers
from cellhold.cgroups import Join
from cellhold.container import launcher
from cellhold.container.container import Container
from cellhold.linux import mount, process
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Spec
from cellhold.spec.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.cgroups import View

ROUNDS = 60
AGAINST_CRUN = 0.6
OURS, THEIRS = "cellhold", "crun run"
OURS_BARE, THEIRS_BARE = "cellhold, no cgroups", "crun --cgroup-manager=disabled"
LIMITS = Limits(memory_bytes=512 << 20, pids=256, cpus=1.0)


class NoGroup:
    """Stands in for a control group, to see what a container costs without one."""

    def join(self) -> Join:
        """Nothing to enter."""
        return Join()

    def views(self) -> tuple[View, ...]:
        """Nothing to show."""
        return ()

    def usage(self) -> Usage:
        """Nothing was counted."""
        return Usage()

    def describe(self) -> tuple[str, ...]:
        """Nothing was written."""
        return ()

    def update(self, limits: Limits) -> None:
        """Nothing to set."""

    def freeze(self) -> None:
        """Nothing to stop."""

    def thaw(self) -> None:
        """Nothing to let go."""

    def is_frozen(self) -> bool:
        """Nothing is."""
        return False

    def kill(self) -> None:
        """Nothing to end."""

    def remove(self) -> None:
        """Nothing to remove."""


def ours(root: Path, *, storage: str = "disk") -> Callable[[], None]:
    """The library call: create, start, wait, remove."""
    spec = Spec(image=str(root), args=("/bin/true",), limits=LIMITS, storage=storage)

    def run() -> None:
        with Container.create(spec) as box:
            box.start()
            outcome = box.wait()
        if outcome.status != 0:
            raise SystemExit(f"cellhold: {outcome.sentence()}")

    return run


def without_groups(run: Callable[[], None]) -> Callable[[], None]:
    """The same without control groups."""

    def bare() -> None:
        with mock.patch("cellhold.cgroups.create", return_value=NoGroup()):
            run()

    return bare


def contestants(root: Path, work: Path) -> dict[str, Callable[[], None]]:
    """Everybody who is installed here, by name."""
    found: dict[str, Callable[[], None]] = {
        "(spawn of the program alone)": lambda: peers.spawn([str(root / "bin/busybox"), "true"]),
        OURS: ours(root),
        "cellhold, --storage tmpfs": ours(root, storage="tmpfs"),
        OURS_BARE: without_groups(ours(root)),
    }
    if shutil.which("crun"):
        bundle = peers.make_bundle(work / "crun", root, users=True, time=True, group=True)
        host_ids = peers.make_bundle(work / "crun-host-ids", root, users=False, time=False, group=True)
        bare = peers.make_bundle(work / "crun-bare", root, users=True, time=True, group=False)
        found[THEIRS] = peers.runtime("crun", bundle, work / "state")
        found["crun run, no user namespace"] = peers.runtime("crun", host_ids, work / "state")
        found[THEIRS_BARE] = peers.runtime("crun", bare, work / "state", "--cgroup-manager=disabled")
    if shutil.which("runc"):
        bundle = peers.make_bundle(work / "runc", root, users=True, time=False, group=True)
        found["runc run"] = peers.runtime("runc", bundle, work / "state-runc")
    if bwrap := shutil.which("bwrap"):
        found["bwrap"] = peers.bubblewrap(bwrap, root)
    return found


def main(rounds: int) -> None:
    """Measure all, print, clear up."""
    if os.geteuid() != 0:
        raise SystemExit("containers need root in this version: sudo make bench")
    process.unshare(process.CLONE_NEWNS)  # whatever is mounted from here on, the machine does not see
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
    with ExitStack() as closing:
        peers.hide_unified(closing)
        work = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="chb", dir="/var/tmp")))
        work.chmod(0o755)  # the peers' root is a stranger here, and has to walk through it
        os.environ["CELLHOLD_HOME"] = str(work / "home")
        closing.callback(remove_v1_groups)
        closing.callback(launcher.shutdown)
        everybody = contestants(peers.make_root(work / "root"), work)
        results = measure.interleaved({name: measure.timed(run) for name, run in everybody.items()}, rounds)
    pairs = [(OURS, THEIRS, AGAINST_CRUN), (OURS_BARE, THEIRS_BARE, AGAINST_CRUN)]
    measure.show("container", results, [pair for pair in pairs if pair[1] in results])


def remove_v1_groups() -> None:
    """What the peers have left of their groups."""
    for top in Path("/sys/fs/cgroup").glob(f"*{peers.GROUP}"):
        peers.remove_groups(top)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
