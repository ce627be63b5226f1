"""Detached containers: one more program in one that runs, against `crun exec`; and a hundred at once. Run by `make bench`, as root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench import measure, peers
from bench.container import LIMITS, remove_v1_groups
from boxes import cellhold, environment
from cellhold.container.detached import Detached
from cellhold.linux import mount, process
from cellhold.spec.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, MANY = 40, 100
AGAINST_CRUN, MOST_RESIDENT, MOST_LISTING = 1.5, 6.0, 0.3
OURS, THEIRS = "cellhold exec, a library call", "crun exec"
_TITLES = ("cellhold-monito", "cellhold-init")
_NAME = "cellhold-bench-exec"


def crun(bundle: Path, state: Path, closing: ExitStack) -> Callable[[], None]:
    """`crun exec` of busybox `true` in a container that runs."""
    config = json.loads((bundle / "config.json").read_text(encoding="ascii"))
    config["process"]["args"] = ["/bin/busybox", "sleep", "10000"]
    (bundle / "config.json").write_text(json.dumps(config), encoding="ascii")
    peers.spawn(["crun", f"--root={state}", "run", "--detach", f"--bundle={bundle}", _NAME])
    closing.callback(peers.spawn, ["crun", f"--root={state}", "delete", "--force", _NAME])
    return lambda: peers.spawn(["crun", f"--root={state}", "exec", _NAME, "/bin/true"])


def ours(root: Path, closing: ExitStack) -> Callable[[], None]:
    """The library call: another program, to its end."""
    box = Detached.create(Spec(image=str(root), args=("/bin/busybox", "sleep", "10000"), limits=LIMITS))
    closing.callback(box.remove, force=True)
    box.start()

    def run() -> None:
        with box.exec("/bin/true") as entered:
            if entered.wait() != 0:
                raise SystemExit("cellhold: exec failed")

    return run


def resident() -> float:
    """MiB of memory that all monitors, their keepers and PID 1s take, what they share with others in parts (PSS)."""
    total = 0
    for place in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = (place / "comm").read_text(encoding="ascii").strip() in _TITLES or (place / "cmdline").read_bytes().startswith(
                b"cellhold-"
            )
            if is_ours:
                line = next(line for line in (place / "smaps_rollup").read_text(encoding="ascii").splitlines() if line.startswith("Pss:"))
                total += int(line.split()[1])
        except (OSError, StopIteration):
            continue
    return total / 1024


def listing() -> float:
    """Seconds that `cellhold ps` takes, the best of some."""
    words = cellhold("ps")
    return min(measure.timed(lambda: subprocess.run(words, check=True, capture_output=True, env=environment()))() for _ in range(5))


def hundred(root: Path) -> None:
    """Start, list, stop and remove so many at once, and print what that takes."""
    before, none = resident(), listing()
    begun = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _number: Detached.create(Spec(image=str(root), args=("/bin/busybox", "sleep", "10000"))), range(MANY)))
        list(pool.map(Detached.start, made))
        started = time.perf_counter() - begun
        each, more = (resident() - before) / MANY, listing() - none
        begun = time.perf_counter()
        list(pool.map(lambda box: box.stop(0), made))
        list(pool.map(Detached.remove, made))
        ended = time.perf_counter() - begun
    print(f"\n{MANY} detached containers at once: started in {started:.1f} s, stopped and removed in {ended:.1f} s\n")
    for name, value, most, unit in (
        ("of ours stays for each", each, MOST_RESIDENT, "MiB (PSS)"),
        ("more for `ps`", more, MOST_LISTING, "s"),
    ):
        print(f"  {name}: {value:.2f} {unit}; at most {most:g}: {'holds' if value <= most else 'MISSED'}")


def main(rounds: int) -> None:
    """Measure, and print."""
    if os.geteuid() != 0:
        raise SystemExit("crun's containers need root: sudo make bench")
    process.unshare(process.CLONE_NEWNS)  # whatever is mounted from here on, the machine does not see
    mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
    with ExitStack() as closing:
        peers.hide_unified(closing)
        work = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="chb", dir="/var/tmp")))
        work.chmod(0o755)
        os.environ["CELLHOLD_HOME"] = str(work / "home")
        closing.callback(remove_v1_groups)
        root = peers.make_root(work / "root")
        with ExitStack() as running:
            contestants = {OURS: measure.timed(ours(root, running))}
            if shutil.which("crun"):
                bundle = peers.make_bundle(work / "crun", root, users=True, time=False, group=True)
                contestants[THEIRS] = measure.timed(crun(bundle, work / "state", running))
            results = measure.interleaved(contestants, rounds)
        measure.show("exec", results, [(OURS, THEIRS, AGAINST_CRUN)] if THEIRS in results else [])
        hundred(root)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
