"""Pulling an image from a registry on loopback until it can be run, against podman, and skopeo with umoci. Run by `make bench`, as root.

Two layers, about 110 MB compressed and 340 MB of files, half of them text, made here. Each contestant begins with an empty store
("cold"), or with one that has all layers but a small one ("warm"). The disk is synced before each, as a pull that has just ended leaves
the kernel work to do for the next one.

At last a container of that image is started beside one of an image with the small layer alone: nothing may depend on the image's size.

A warm pull of podman's takes as long as a Python needs to import urllib3, which is why that is a contestant, too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import images.layout
import peers as engines
import registry
from bench import measure
from cellhold import Container, Spec
from cellhold.image.pulling import pull
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.store.home import Home

ROUNDS = 5
COLD, WARM = 0.6, 0.3
STARTS, SAME = 30, 1.25  # a container's start varies more than that from one minute to the next
_TREES = ("/usr/lib/python3", "/usr/lib/x86_64-linux-gnu", "/usr/share/doc", "/usr/lib/gcc")
_LARGE_BYTES = 340 << 20
_RESULT = "import json, resource; print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
_PULL = "import sys; from cellhold.image.pulling import pull; pull(sys.argv[1]); " + _RESULT


def large(place: Path) -> images.layout.Image:
    """An image of one layer with this machine's own files, as much as there is up to 340 MB."""
    tree = place / "tree"
    tree.mkdir()
    left = _LARGE_BYTES
    for top in map(Path, _TREES):
        for file in sorted(path for path in top.rglob("*") if path.is_file() and not path.is_symlink()):
            if (left := left - file.stat().st_size) < 0:
                break
            target = tree / str(file)[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
    image = images.layout.start(place)
    add(image, tree)
    return image


def small(place: Path) -> Path:
    """What the small layer holds."""
    (place / "small").mkdir()
    (place / "small/note").write_text("on top\n")
    shutil.copy2("/bin/busybox", place / "small/busybox")
    return place / "small"


def add(image: images.layout.Image, tree: Path) -> None:
    """A layer of that tree, which is removed."""
    images.layout.add_layer(image, images.layout.archive(tree, tree.with_suffix(".tar")), instruction=f"COPY {tree.name} /")
    shutil.rmtree(tree)
    tree.with_suffix(".tar").unlink()


class Contest:
    """The contestants' pulls of one image, each into stores of its own below `place`."""

    def __init__(self, place: Path, reference: str, base: str) -> None:
        """reference: the image; base: the same without its small layer."""
        self.place, self.reference, self.base = place, reference, base
        self.peak_kilobytes = 0

    def ours(self, *, warm: bool) -> Callable[[], float]:
        """`cellhold pull`, as a program."""
        return self._timed(lambda store: self._pull(store, self.base), self._pull_measured, warm=warm)

    def podmans(self, *, warm: bool) -> Callable[[], float]:
        """`podman pull`."""
        return self._timed(lambda store: self._podman(store, self.base), lambda store: self._podman(store, self.reference), warm=warm)

    def skopeo_and_umoci(self) -> Callable[[], float]:
        """`skopeo copy` into a layout, and `umoci unpack` of that."""

        def run(store: Path) -> None:
            theirs = engines.at(store)
            theirs.skopeo_copy(f"docker://{self.reference}", f"oci:{store}/layout:1", "--src-tls-verify=false")
            theirs.umoci_unpack(store / "layout", "1", store / "bundle")

        return self._timed(lambda _store: None, run, warm=False)

    def _timed(self, prepare: Callable[[Path], object], work: Callable[[Path], object], *, warm: bool) -> Callable[[], float]:
        def once() -> float:
            with tempfile.TemporaryDirectory(dir=self.place, ignore_cleanup_errors=True) as name:
                store = Path(name)
                if warm:
                    prepare(store)
                os.sync()
                return measure.timed(lambda: work(store))()

        return once

    def _pull(self, store: Path, reference: str) -> str:
        environment = {**os.environ, "CELLHOLD_HOME": str(store / "home")}
        return subprocess.run([sys.executable, "-c", _PULL, reference], env=environment, check=True, capture_output=True, text=True).stdout

    def _pull_measured(self, store: Path) -> None:
        self.peak_kilobytes = max(self.peak_kilobytes, json.loads(self._pull(store, self.reference)))

    @staticmethod
    def _podman(store: Path, reference: str) -> None:
        engines.at(store).podman_pull(reference)


def start(reference: str, home: Home) -> Callable[[], float]:
    """A container of the image, from its making until it is gone."""

    def run() -> None:
        with Container.create(Spec(image=reference, args=("/busybox", "true")), home=home) as container:
            container.start()
            container.wait()

    return measure.timed(run)


def _import() -> None:
    subprocess.run([sys.executable, "-c", "import urllib3"], check=True)


def main(rounds: int) -> None:
    """Make the image, serve it, and let them pull."""
    with ExitStack() as closing:
        place = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="chbench", dir="/var/tmp", ignore_cleanup_errors=True)))
        image, pusher = large(place), engines.at(place / "pusher")
        served = closing.enter_context(registry.serve(place))
        base = pusher.push(image, served.reference("large:base"))
        add(image, small(place))
        (place / "little").mkdir()
        little = images.layout.start(place / "little")
        add(little, small(place))
        contest = Contest(place, pusher.push(image, served.reference("large:1")), base)
        cold = {
            "cellhold": contest.ours(warm=False),
            "podman": contest.podmans(warm=False),
            "skopeo + umoci": contest.skopeo_and_umoci(),
        }
        warm = {"cellhold": contest.ours(warm=True), "podman": contest.podmans(warm=True), "import urllib3": measure.timed(_import)}
        results = measure.interleaved(cold, rounds, warm_up=1)
        pairs = [("cellhold", "podman", COLD), ("cellhold", "skopeo + umoci", COLD)]
        measure.show("pull, nothing present", results, pairs, peak_memory_MB_of_the_pulling_process=contest.peak_kilobytes >> 10)
        pairs = [("cellhold", "podman", WARM), ("import urllib3", "podman", WARM)]
        measure.show("pull, all but a small layer present", measure.interleaved(warm, rounds, warm_up=1), pairs)
        home = open_home(place / "home")
        small_one = pusher.push(little, served.reference("little:1"))
        for reference in (contest.reference, small_one):
            pull(reference, home=home)
        starts = {"340 MB": start(contest.reference, home), "2 MB": start(small_one, home)}
        measure.show("a container of an image of", measure.interleaved(starts, STARTS), [("340 MB", "2 MB", SAME)])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
