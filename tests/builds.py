"""Dockerfiles of tests/images/dockerfiles, built by us and by buildah.

Each has a directory: a Dockerfile, which begins with ARG BASE ("base.example/image"
stands for the base where no variable can); perhaps context.sh, run in a copy of the
directory, as root, to make what a checkout cannot hold (owners, hard links, archives);
files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellhold.build.builder import build
from cellhold.build.context import Context
from cellhold.build.options import Options
from cellhold.build.progress import Began, Ended
from cellhold.image import layer_queries
from cellhold.image.pulling import pull
from cellhold.layer.worker import merged, packing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellhold.build.progress import Event
    from cellhold.image.stored import StoredImage
    from cellhold.layer.worker.merged import Merged
    from cellhold.store.home import Home
    from peers import Peers

DOCKERFILES = Path(__file__).parent / "images/dockerfiles"
_STAND_IN = "base.example/image"
_MAKE_LAYERS = ("RUN", "COPY", "ADD")
_THEIR_STEP = re.compile(r"(?:\[\d+/\d+\] )?STEP \d+/\d+: (.*)")


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image; for each RUN, COPY and ADD its words and whether it was cached."""

    image: StoredImage
    steps: tuple[tuple[str, bool], ...] = field(default=())

    @property
    def config(self) -> dict[str, Any]:
        """The whole config, as JSON."""
        known: dict[str, Any] = json.loads(self.image.config.raw)
        return known

    @property
    def settings(self) -> dict[str, Any]:
        """The config's object "config", without members that say nothing."""
        return {name: value for name, value in (self.config.get("config") or {}).items() if value not in (None, "", [], {}, False)}

    @property
    def cached(self) -> list[bool]:
        """Whether each step came from the cache."""
        return [cached for _words, cached in self.steps]


def prepare(name: str, into: Path, base: str) -> Path:
    """Prepare a context of the tests in the new directory `into`."""
    shutil.copytree(DOCKERFILES / name, into, symlinks=True)
    for path in (into, *into.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # whatever the checkout's umask was
    script = into / "context.sh"
    if script.exists():
        text = script.read_text(encoding="utf-8")
        script.unlink()
        subprocess.run(["sh", "-ec", text], cwd=into, check=True)
    dockerfile = into / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text(encoding="utf-8").replace(_STAND_IN, base), encoding="utf-8")
    return into


def ours(context: Path, home: Home, args: Mapping[str, str], *, target: str | None = None, **options: Any) -> Built:
    """Have it built by us."""
    steps: list[tuple[str, bool]] = []
    began: list[str] = []

    def tell(event: Event) -> None:
        if isinstance(event, Began):
            began.append(event.text)
        elif isinstance(event, Ended) and began[-1].split()[0] in _MAKE_LAYERS:
            steps.append((began[-1], event.cached))

    path = context / "Dockerfile"
    wanted = Options(build_args=args, target=target, **options)
    image = build(path.read_text(encoding="utf-8"), str(path), Context(context, path), home, wanted, tell=tell)
    return Built(image=image, steps=tuple(steps))


def theirs(  # noqa: PLR0913  # what is built, how, by whom, and where it goes
    context: Path, home: Home, args: Mapping[str, str], peers: Peers, reference: str, *, target: str | None = None
) -> Built:
    """Build with buildah, push to `reference` of a registry, and pull it with us.

    Without buildah's cache: one commit per step takes minutes.
    """
    given = [word for name, value in args.items() for word in ("--build-arg", f"{name}={value}")]
    chosen = () if target is None else ("--target", target)
    said = peers.buildah(
        *("bud", "--layers=false", "--format", "docker", "--isolation", "chroot", "--tls-verify=false", "--tag", reference),
        *given,
        *chosen,
        str(context),
    )
    peers.buildah("push", "--quiet", "--tls-verify=false", "--format", "v2s2", reference, f"docker://{reference}")
    return Built(image=pull(reference, home=home), steps=tuple(_their_steps(said)))


def rebuilt_by_them(context: Path, args: Mapping[str, str], peers: Peers) -> list[bool]:
    """Have it built by buildah once more: which steps came from its cache."""
    given = [word for name, value in args.items() for word in ("--build-arg", f"{name}={value}")]
    said = peers.buildah("bud", "--layers", "--format", "docker", "--isolation", "chroot", "--tls-verify=false", *given, str(context))
    return [cached for _words, cached in _their_steps(said)]


def _their_steps(said: str) -> list[tuple[str, bool]]:
    steps: list[tuple[str, bool]] = []
    now = ""
    for line in said.splitlines():
        if step := _THEIR_STEP.fullmatch(line):
            now = step[1]
            if now.split()[0] in _MAKE_LAYERS:
                steps.append((now, False))
        elif "Using cache" in line and now.split()[0] in _MAKE_LAYERS:
            steps[-1] = (now, True)
    return steps


def tree(image: StoredImage, home: Home) -> dict[str, tuple[Any, ...]]:
    """Return an image's files by path.

    Of each: kind, mode, owner, group, link target or content, attributes, and the names
    that are one file.
    """
    layers = [home.layers.tree(chain) for chain in reversed(image.chain_ids)]
    found: dict[str, tuple[Any, ...]] = {}
    inodes: dict[tuple[int, int], list[str]] = {}
    with layer_queries.opened(layers) as fds, merged.open_stack(fds) as root:
        _look(root, b"", found, inodes)
    for names in inodes.values():
        for name in names if len(names) > 1 else ():
            found[name] = (*found[name], tuple(sorted(names)))
    return found


def _look(here: Merged, above: bytes, found: dict[str, tuple[Any, ...]], inodes: dict[tuple[int, int], list[str]]) -> None:
    for name in here.names():
        facts, directory = here.look(name) or (None, -1)
        assert facts is not None
        path = os.fsdecode(above + name)
        kind = "?pc?d?b?-?l?s???"[facts.st_mode >> 12]
        said: tuple[Any, ...] = (kind, oct(facts.st_mode & 0o7777), facts.st_uid, facts.st_gid)
        if kind == "d":
            with ExitStack() as closing:
                below = here.enter(name)
                assert below is not None
                closing.callback(below.close)
                found[path] = (*said, _attributes(below.fds[0]))
                _look(below, above + name + b"/", found, inodes)
            continue
        if kind == "l":
            found[path] = (*said, os.readlink(name, dir_fd=directory))
        elif kind == "-":
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
            with os.fdopen(fd, "rb") as file:
                content = file.read()
                text = content.decode(errors="replace") if len(content) < 60 else hashlib.sha256(content).hexdigest()[:12]
                found[path] = (*said, text, _attributes(fd))
        else:
            found[path] = said
        inodes.setdefault((facts.st_dev, facts.st_ino), []).append(path)


def _attributes(fd: int) -> dict[str, bytes]:
    """Return attributes without the bytes for whose root the capabilities are."""
    found = {name.decode(): value for name, value in packing.xattrs_of(fd).items()}
    return {name: value[4:20] if name == "security.capability" else value for name, value in found.items()}
