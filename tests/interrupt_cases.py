"""Where a command of cellhold can stand still: each case makes that place, for tests/system/test_interrupts.py."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.container.detached import Detached
from cellhold.image import mediatypes, tags, writing
from cellhold.image.descriptor import Descriptor
from cellhold.image.platform import Platform
from cellhold.spec.digest import Digest
from cellhold.spec.spec import Spec
from liar import Answer, Liar
from tars import Tar

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from cellhold.store.home import Home
    from liar import Asked

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


# ------------------------------------------------------------------------------------------------------------- registries


def connecting(at: At) -> Case:
    """A host that does not answer: its queue of connections is full, and what comes more is dropped."""
    listening = at.closing.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(3):
        waiting = at.closing.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(listening.getsockname())
    return Case(["pull", "-q", f"127.0.0.1:{listening.getsockname()[1]}/x:1"])


SILENT_RESOLVER = """
import fcntl, os, socket, struct, sys
control = socket.socket()
request = bytearray(struct.pack("16sH22x", b"lo", 0))
fcntl.ioctl(control, 0x8913, request)  # SIOCGIFFLAGS
struct.pack_into("H", request, 16, struct.unpack_from("H", request, 16)[0] | 1)
fcntl.ioctl(control, 0x8914, request)  # SIOCSIFFLAGS: up
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))
os.set_inheritable(silent.fileno(), True)
os.execv(sys.argv[1], sys.argv[1:])
"""


def resolving(at: At) -> Case:
    """A name server that does not answer, in a network namespace of its own."""
    (at.place / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    (at.place / "nsswitch.conf").write_text("hosts: dns\n")
    (at.place / "run.py").write_text(SILENT_RESOLVER)
    mounts = "&& ".join(f"mount --bind {at.place}/{name} /etc/{name} " for name in ("resolv.conf", "nsswitch.conf"))
    script = f'{mounts} && exec {sys.executable} -I {at.place}/run.py "$@"'
    before = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", script, "sh"]
    return Case(["pull", "-q", "registry.example/x:1"], before=before)


def shaking_hands(at: At) -> Case:
    """A server that takes the connection, and says nothing of TLS."""
    listening = at.server()
    host = f"127.0.0.1:{listening.getsockname()[1]}"
    (at.place / "cellhold").mkdir()
    (at.place / "cellhold/registries.toml").write_text(f'[registry."{host}"]\ninsecure = false\n')
    return Case(["pull", "-q", f"{host}/x:1"], at.accepted(listening), env={"XDG_CONFIG_HOME": str(at.place)})


def waiting_for_an_answer(at: At) -> Case:
    """A server that takes the request, and says nothing."""
    listening = at.server()
    return Case(["pull", "-q", f"127.0.0.1:{listening.getsockname()[1]}/x:1"], at.accepted(listening))


def in_the_middle_of_layers(at: At) -> Case:
    """More layers than come at once, each of which stops on its way."""
    liar = at.liar()
    at.image_of(liar, 4)
    return Case(["pull", "-q", f"{liar.host}/x:1"], asked(liar, "/blobs/", 4))


def before_the_next_try(at: At) -> Case:
    """A server that asks for a minute."""
    liar = at.liar()
    liar.says("GET", "/v2/x/manifests/1", Answer(status=503, headers={"Retry-After": "60"}))
    return Case(["pull", "-q", f"{liar.host}/x:1"], asked(liar, "/manifests/", 1))


def fetching_a_token(at: At) -> Case:
    """A token server that says nothing."""
    liar, listening = at.liar(), at.server()
    realm = f'Bearer realm="http://127.0.0.1:{listening.getsockname()[1]}/token",service="x"'
    liar.says("GET", "/v2/x/manifests/1", Answer(status=401, headers={"WWW-Authenticate": realm}))
    return Case(["pull", "-q", f"{liar.host}/x:1"], at.accepted(listening))


def helper(at: At, *words: str) -> Case:
    """A credential helper that waits for somebody."""
    (at.place / "config.json").write_text('{"credsStore": "slow"}')
    program = at.place / "docker-credential-slow"
    program.write_text(f"#!/bin/sh\ntouch {at.place}/asked\nexec sleep 1000\n")
    program.chmod(0o755)
    env = {"DOCKER_CONFIG": str(at.place), "PATH": f"{at.place}:{os.environ['PATH']}"}
    return Case(list(words), (at.place / "asked").exists, env=env)


def asking_a_helper(at: At) -> Case:
    liar = at.liar()
    liar.says("GET", "/v2/x/manifests/1", Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}))
    return helper(at, "pull", "-q", f"{liar.host}/x:1")


def asking_a_helper_for_a_push(at: At) -> Case:
    """Where several threads ask, and one of them gets to the helper."""
    liar = at.liar()
    tags.tag(IMAGE, f"{liar.host}/small:1", at.home)
    found = at.home.blobs.all()
    for digest in found:
        refused = Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        liar.says("HEAD", f"/v2/small/blobs/{digest}", refused)
    return helper(at, "push", "-q", f"{liar.host}/small:1")


def pushing(at: At) -> Case:
    """A server that takes the request, and says nothing."""
    listening = at.server()
    host = f"127.0.0.1:{listening.getsockname()[1]}"
    tags.tag(IMAGE, f"{host}/small:1", at.home)
    return Case(["push", "-q", f"{host}/small:1"], at.accepted(listening))


def pushing_what_nobody_reads(at: At) -> Case:
    """A server that lets an upload begin, and does not read it."""
    liar, listening = at.liar(), at.server()
    tags.tag(IMAGE, f"{liar.host}/small:1", at.home)
    place = f"http://127.0.0.1:{listening.getsockname()[1]}/upload"
    liar.says("POST", "/v2/small/blobs/uploads/", Answer(status=202, headers={"Location": place}))
    return Case(["push", "-q", f"{liar.host}/small:1"], at.accepted(listening))


def pushing_without_an_answer(at: At) -> Case:
    """A server that takes all, and does not say what came of it."""
    liar = at.liar()
    tags.tag(IMAGE, f"{liar.host}/small:1", at.home)
    liar.says("POST", "/v2/small/blobs/uploads/", Answer(status=202, headers={"Location": "/upload"}))

    def never(_asked: Asked) -> Answer:
        at.over.wait(PATIENCE_SECONDS)
        return Answer(status=500)

    liar.says("PUT", "/upload", never)
    return Case(["push", "-q", f"{liar.host}/small:1"], asked(liar, "/upload", 2, "PUT"))


# ----------------------------------------------------------------------------------------------------------------- builds


def running(at: At) -> Case:
    """RUN of a program that does not end."""
    return Case(["build", at.context(f'FROM {IMAGE}\nRUN ["/bin/sleep", "1000"]\n')], at.has_container)


def telling_nobody(at: At) -> Case:
    """RUN of a program that says more than anybody reads."""
    where = at.context(f"FROM {IMAGE}\nRUN while :; do echo 0123456789012345678901234567890123456789; done\n")
    return Case(["build", "--progress", "json", where], at.has_container, stdout=at.pipe()[1])


def pulling_a_base(at: At) -> Case:
    """A base that stops on its way."""
    liar = at.liar()
    at.image_of(liar, 1)
    return Case(["build", at.context(f"FROM {liar.host}/x:1\n")], asked(liar, "/blobs/", 2))


def copying_much(at: At) -> Case:
    """COPY of a file that takes minutes, although it takes no space."""
    where = at.context(f"FROM {IMAGE}\nCOPY big /\n")
    with open(f"{where}/big", "wb") as file:
        file.truncate(100 << 30)
    return Case(["build", where], at.has_scratch)


def unpacking_much(at: At) -> Case:
    """ADD of an archive that takes long to read, although it is short."""
    where = at.context(f"FROM {IMAGE}\nADD big.tar /\n")
    with open(f"{where}/big.tar", "wb") as file:
        file.write(Tar().raw(b"big", size=b"%011o\0" % (8 << 30 - 1)).content()[:512])
        file.truncate(8 << 30)
    return Case(["build", where], at.has_scratch)


def reading_the_dockerfile(at: At) -> Case:
    """A Dockerfile that somebody is still writing."""
    return Case(["build", "-f", "-", str(at.place)], stdin=at.pipe()[0])


# ------------------------------------------------------------------------------------------------------------------ files


def loading_from_a_fifo(at: At) -> Case:
    """A FIFO that nobody writes to."""
    os.mkfifo(at.place / "fifo")
    return Case(["load", "-i", str(at.place / "fifo")])


def stopping(at: At, *words: str) -> Case:
    """An archive on standard input that stops half-way."""
    reader, writer = at.pipe()
    os.write(writer, Tar().add("file", bytes(10_000)).content()[:4096])
    return Case(list(words), stdin=reader)


def loading_from_a_pipe(at: At) -> Case:
    return stopping(at, "load")


def importing_from_a_pipe(at: At) -> Case:
    return stopping(at, "import", "-")


def saving_to_a_pipe(at: At) -> Case:
    """A pipe that nobody reads."""
    return Case(["save", IMAGE], stdout=at.pipe()[1])


def saving_to_a_fifo(at: At) -> Case:
    """A FIFO that nobody opens."""
    os.mkfifo(at.place / "fifo")
    return Case(["save", "-o", str(at.place / "fifo"), IMAGE])


def exporting_to_a_pipe(at: At) -> Case:
    """A pipe that nobody reads."""
    return Case(["export", at.container().id], stdout=at.pipe()[1])


# ------------------------------------------------------------------------------------------------------ what only waits


def waiting(at: At) -> Case:
    return Case(["wait", at.container().id])


def following_logs(at: At) -> Case:
    return Case(["logs", "-f", at.container().id])


def following_events(at: At) -> Case:
    at.container()
    return Case(["events"])


def following_use(at: At) -> Case:
    return Case(["stats", at.container().id])


CASES = [
    connecting,
    resolving,
    shaking_hands,
    waiting_for_an_answer,
    in_the_middle_of_layers,
    before_the_next_try,
    fetching_a_token,
    asking_a_helper,
    asking_a_helper_for_a_push,
    pushing,
    pushing_what_nobody_reads,
    pushing_without_an_answer,
    running,
    telling_nobody,
    pulling_a_base,
    copying_much,
    unpacking_much,
    reading_the_dockerfile,
    loading_from_a_fifo,
    loading_from_a_pipe,
    importing_from_a_pipe,
    saving_to_a_pipe,
    saving_to_a_fifo,
    exporting_to_a_pipe,
    waiting,
    following_logs,
    following_events,
    following_use,
]
