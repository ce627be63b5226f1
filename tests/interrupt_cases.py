"""Where a command of cellhold can stand still: each case makes that place, for tests/system/test_interrupts.py."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

from cellhold.image import tags
from liar import Answer
from standing import IMAGE, PATIENCE_SECONDS, Case, asked
from tars import Tar

if TYPE_CHECKING:
    from liar import Asked
    from standing import At


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
