"""A set of packages and its layer.

Found, or made once for everybody who wants the same.

HOME/packages/
    OWNER.lock      what a notebook's packages were resolved to last (uv.lock): it gets
                    the same versions next year
    making-KEY      exists and is held while a set is resolved and its layer is made
HOME/builds/KEY     which layer a set has, as of a step of a build: `cellhold builder
                    prune` forgets it, and what no notebook uses then goes
HOME/layers/CHAIN/  the layer. `tree/uv.lock` is what it was made of

KEY is of the requirements, the Python, the index and the lock; CHAIN of the wheels'
hashes and the Python. The notebook's lock becomes part of KEY, so a set is stored under
that one, too, once it is resolved.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellhold.linux import hostpath
from cellhold.spec.digest import Digest
from cellhold.store import durable, locks
from cellhold.store.builds import Taken
from cellhold.store.layers import LayerFacts
from cellhold.store.scratch import scratch
from cellhold_kernel.images.packages import index as indexes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cellhold.store.home import Home
    from cellhold_kernel.images.packages.lock import Wheel
    from cellhold_kernel.images.packages.resolving import Resolved
    from cellhold_kernel.images.packages.target import PythonTarget
    from cellhold_kernel.settings.requirements import PackageSet

FORM = 1  # of a layer: another one where its content is made in another way
LOCK = "uv.lock"  # in a layer
_LARGEST_LOCK = 16 << 20
_LOOK_SECONDS = 0.05
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class PackageLayer:
    """A layer that is here. path: of its tree. chain: what it is called in the store."""

    chain: Digest
    path: Path


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A set for a certain Python.

    owner: the notebook; "" for nobody whose versions are kept.
    """

    packages: PackageSet
    target: PythonTarget
    owner: str = ""

    def index(self) -> str:
        """Return the configured index. Raises InvalidSpec."""
        return indexes.configured(self.packages.index)


def find(wanted: Wanted, home: Home) -> PackageLayer | None:
    """Return the layer of a set, None where it is not here.

    Called at each start of a notebook: it reads some small files.
    """
    preferred = None if wanted.packages.is_upgrade else _lock_of(wanted, home)
    taken = home.builds.get(_key(wanted, preferred))
    if taken is None or taken.chain_id is None or not home.layers.has(taken.chain_id):
        return None
    return PackageLayer(chain=taken.chain_id, path=home.layers.tree(taken.chain_id))


def make(wanted: Wanted, home: Home, tell: Callable[..., object]) -> PackageLayer:
    """Have the layer of a set here. Raises InvalidSpec, CellholdError, SetupFailed.

    tell: called with doing=TEXT, and with done=BYTES, total=BYTES while wheels come.
    """
    with home.written(), home.used():
        (home.root / "packages").mkdir(mode=0o700, exist_ok=True)
        preferred = None if wanted.packages.is_upgrade else _lock_of(wanted, home)
        with _alone(_key(wanted, preferred), home, tell):
            if not wanted.packages.is_upgrade and (known := find(wanted, home)) is not None:
                return known
            with scratch(home.root) as place:
                resolved = _resolve(wanted, place, tell, preferred=preferred)
                layer = _layer(resolved, wanted, home, place, tell)
            _remember(wanted, resolved.lock, layer, home, preferred=preferred)
            return layer


def versions(layer: Path) -> list[tuple[str, str]]:
    """Return (name, version) of each package of a layer.

    What its own files say, which we wrote.
    """
    found = []
    for info in sorted(layer.glob("lib/python3.*/site-packages/*.dist-info")):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        found.append((name.replace("_", "-").lower(), version))
    return sorted(found)


def requested_names(layer: Path) -> list[str]:
    """Return the names that a layer was asked for, without those that came with them."""
    import tomllib  # noqa: PLC0415  # for who looks at it

    manifest = tomllib.loads(lock_text(layer)).get("manifest", {})
    return sorted({str(one["name"]) for one in manifest.get("requirements", [])})


def lock_text(layer: Path) -> str:
    """Return the uv.lock that a layer was made of. Raises OSError."""
    return (layer / LOCK).read_text()


def _key(wanted: Wanted, preferred: str | None) -> str:
    packages = wanted.packages
    of = [
        "packages",
        FORM,
        [one.text for one in packages.wanted],
        packages.exclude_newer,
        _digest(packages.lock),
        _digest(preferred),
        wanted.index(),
        wanted.target.key(),
    ]
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()


def _digest(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _lock_of(wanted: Wanted, home: Home) -> str | None:
    """Return what the notebook's packages were resolved to last.

    Its metadata's lock counts instead, where it has one.
    """
    if not wanted.owner or wanted.packages.lock is not None:
        return None
    try:
        return hostpath.read(home.root / "packages" / f"{wanted.owner}.lock", _LARGEST_LOCK).decode()
    except (OSError, UnicodeDecodeError):
        return None


@contextmanager
def _alone(key: str, home: Home, tell: Callable[..., object]) -> Iterator[None]:
    """Hold the lock on the making of a set; who waits says so."""
    path = home.root / "packages" / f"making-{key[:16]}"
    told = False

    def patience() -> None:
        nonlocal told
        if not told:
            tell(doing="another notebook has the same packages made")
        told = True
        time.sleep(_LOOK_SECONDS)

    with locks.held(path, locks.file(path), patience=patience):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is held: whoever waits sees that it is gone, and makes another


def _resolve(wanted: Wanted, place: Path, tell: Callable[..., object], *, preferred: str | None) -> Resolved:
    from cellhold_kernel.images.packages import lock, resolving  # noqa: PLC0415  # what a start with the set here does without

    packages, index = wanted.packages, wanted.index()
    tell(doing=f"resolving {_names(packages)} at {indexes.without_login(index)}")
    pins = None if packages.lock is None else lock.pins(packages.lock)
    newer = packages.exclude_newer or (None if pins is None else pins.exclude_newer)
    empty = place / "resolving"
    empty.mkdir(mode=0o700)
    return resolving.resolve(
        packages.wanted,
        wanted.target,
        empty,
        index=index,
        exclude_newer=newer,
        pins=pins,
        preferred=preferred,
    )


def _names(packages: PackageSet) -> str:
    names = [one.text for one in packages.wanted]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")  # noqa: PLR2004


def _layer(resolved: Resolved, wanted: Wanted, home: Home, place: Path, tell: Callable[..., object]) -> PackageLayer:
    chain = _chain(resolved.wheels, wanted.target)
    with home.layers.draft(chain, patience=lambda: time.sleep(_LOOK_SECONDS)) as draft:
        if draft is not None:
            size_bytes, files = _unpack(resolved, wanted, draft.directory, place, tell)
            draft.keep(LayerFacts(diff_id=str(chain), parent=None, size_bytes=size_bytes, entries=files))
    home.layers.settle([chain])
    return PackageLayer(chain=chain, path=home.layers.tree(chain))


def _chain(wheels: Sequence[Wheel], target: PythonTarget) -> Digest:
    of = ["packages", FORM, target.key(), sorted((wheel.name, wheel.version, wheel.sha256) for wheel in wheels)]
    return Digest("sha256", hashlib.sha256(json.dumps(of).encode()).hexdigest())


def _unpack(resolved: Resolved, wanted: Wanted, directory: Path, place: Path, tell: Callable[..., object]) -> tuple[int, int]:
    """Fetch the wheels and unpack each as it comes; return bytes and files."""
    from cellhold_kernel.images.packages import fetching, wheel  # noqa: PLC0415  # as above

    most = wanted.packages.most_bytes
    room = wheel.Room(bytes_left=most, most_bytes=most)
    total, done = sum(one.size_bytes or 0 for one in resolved.wheels), 0

    def count(received: int) -> None:
        nonlocal done
        done += received  # of several threads: a picture of progress need not be exact
        tell(done=done, total=total)

    tell(doing=f"fetching {len(resolved.wheels)} wheels for {wanted.target}")
    files = place / "wheels"
    files.mkdir(mode=0o700)
    layer = os.open(directory, _DIRECTORY)
    try:
        with fetching.fetching(resolved.wheels, files, index=wanted.index(), most_bytes=most, tell=count) as arriving:
            for one, path in arriving:
                wheel.unpack(path, one, layer, wanted.target, room)
                path.unlink()
        (directory / LOCK).write_text(resolved.lock)
        (directory / LOCK).chmod(0o644)
    finally:
        os.close(layer)
    return room.written_bytes, room.files


def _remember(wanted: Wanted, lock: str, layer: PackageLayer, home: Home, *, preferred: str | None) -> None:
    """Store which layer the set has.

    For this notebook from now on; for all others if no lock of its own had a part in
    it.
    """
    taken = Taken(created=time.time(), chain_id=layer.chain)
    keys = {_key(wanted, None)} if preferred is None else set()
    if wanted.owner and wanted.packages.lock is None:
        durable.write(home.root / "packages" / f"{wanted.owner}.lock", lock.encode())
        keys.add(_key(wanted, lock))
    for key in keys:
        home.builds.put(key, taken)
