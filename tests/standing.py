"""Where a command stands still, for interrupt_cases.py: what a case has to make that place, and how it is seen."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.container.detached import Detached
from cellhold.image import mediatypes, writing
from cellhold.image.descriptor import Descriptor
from cellhold.image.platform import Platform
from cellhold.spec.digest import Digest
from cellhold.spec.spec import Spec
from liar import Answer, Liar

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from cellhold.store.home import Home

PATIENCE_SECONDS = 60.0
_LOOKS, _LOOK_TICKS = 10, 5  # in half a second
LAYER = os.urandom(1 << 20)  # compressed, as far as anybody gets with it
IMAGE = "small:1"


@dataclass
class Case:
    """words: of the command. stands: whether it is there by now; None: it sleeps there. env, and stdin, stdout as of subprocess.Popen."""

    words: list[str]
    stands: Callable[[], object] | None = None
    env: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    stdin: int = subprocess.DEVNULL
    stdout: int = subprocess.DEVNULL


@dataclass
class At:
    """Where a case is made. place: a directory of its own; closing: what is to be closed after it; over: set then."""

    home: Home
    place: Path
    closing: ExitStack
    over: threading.Event

    def server(self) -> socket.socket:
        """One that takes connections."""
        listening = self.closing.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.settimeout(PATIENCE_SECONDS)
        return listening

    def accepted(self, listening: socket.socket) -> Callable[[], bool]:
        """Somebody has connected; the connection stays."""

        def has_come() -> bool:
            self.closing.enter_context(listening.accept()[0])
            return True

        return has_come

    def liar(self) -> Liar:
        """A registry."""
        return self.closing.enter_context(Liar())

    def pipe(self) -> tuple[int, int]:
        """One whose ends stay open."""
        ends = os.pipe()
        for end in ends:
            self.closing.callback(os.close, end)
        return ends

    def container(self) -> Detached:
        """One that runs and says nothing."""
        box = Detached.create(Spec(image=IMAGE, args=("/bin/sleep", "1000")), home=self.home)
        self.closing.callback(box.remove, force=True)
        box.start()
        return box

    def context(self, dockerfile: str) -> str:
        """A directory to build."""
        made = self.place / "context"
        made.mkdir()
        (made / "Dockerfile").write_text(dockerfile)
        return str(made)

    def has_container(self) -> bool:
        """Whether a step of a build has come so far."""
        return any(self.home.containers.glob("*/own.json"))

    def has_scratch(self) -> bool:
        """Whether a build has begun to write."""
        scratch = self.home.root / "scratch"
        return scratch.exists() and any(scratch.iterdir())

    def stalls(self) -> Iterator[bytes]:
        """A body that stops after half of it."""
        yield LAYER[: len(LAYER) // 2]
        self.over.wait(PATIENCE_SECONDS)

    def image_of(self, liar: Liar, layers: int) -> None:
        """Let the registry have an image of so many layers, which stop half-way."""
        found = [
            Descriptor(media_type=mediatypes.LAYER_GZIP, digest=Digest.of(LAYER + bytes([number])), size_bytes=len(LAYER) + 1)
            for number in range(layers)
        ]
        rootfs = {"type": "layers", "diff_ids": [str(one.digest) for one in found]}
        config = json.dumps({"os": "linux", "architecture": Platform.host().architecture, "rootfs": rootfs}).encode()
        described = Descriptor(media_type=mediatypes.CONFIG, digest=Digest.of(config), size_bytes=len(config))
        manifest = writing.new_manifest(described, found)
        said = Answer(body=manifest.raw, headers={"Content-Type": manifest.media_type})
        liar.says("GET", "/v2/x/manifests/1", said)
        liar.says("GET", f"/v2/x/blobs/{described.digest}", Answer(body=config))
        for one in found:
            liar.says("GET", f"/v2/x/blobs/{one.digest}", Answer(pieces=self.stalls))


def stands_still(pid: int) -> bool:
    """Whether it is where it waits, however long that took: it sleeps, but for a look now and then."""
    looks = []
    for _ in range(_LOOKS):
        time.sleep(0.05)
        looks.append(_state(pid))
    (_, first), (_, last) = looks[0], looks[-1]
    return sum(state == "S" for state, _ in looks) >= _LOOKS - 2 and last - first <= _LOOK_TICKS


def _state(pid: int) -> tuple[str, int]:
    """Its state as in proc(5), and the processor time that it has had, in ticks of 10 ms."""
    state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return state, int(fields[10]) + int(fields[11])


def asked(liar: Liar, part: str, count: int, method: str = "GET") -> Callable[[], bool]:
    return lambda: sum(part in path for path in liar.paths(method)) >= count
