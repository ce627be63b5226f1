"""Builds: one in which nothing has changed, against buildah's; and what a RUN of one line costs, against a container and a commit of it.

Run by `make bench`, as root. The context has 300 files, 12 MB, the Dockerfile an instruction of each common kind. Both have built it
before; buildah keeps its layers (`bud --layers`) and runs steps by chroot, which is its fastest way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import images.busybox
import peers as engines
import registry
from bench import measure
from cellhold import Container, Spec
from cellhold.build.builder import build
from cellhold.build.context import Context
from cellhold.build.options import Options
from cellhold.container import commit
from cellhold.image.pulling import pull
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from peers import Peers

ROUNDS = 15
REBUILD, STEP = 0.5, 1.1
_FILES, _FILE_BYTES = 300, 40_000
_NUMBERS = count()
_DOCKERFILE = """\
FROM {base}
ENV A=1 B=2
WORKDIR /work
COPY files /files
COPY files/1 files/2 /some/
RUN echo one > /one
RUN mkdir /made && echo two > /made/two
LABEL a=b
CMD ["/bin/true"]
"""


def context(place: Path, base: str) -> Path:
    """A directory to build."""
    (place / "context/files").mkdir(parents=True)
    for number in range(_FILES):
        (place / f"context/files/{number}").write_bytes(os.urandom(_FILE_BYTES))
    (place / "context/Dockerfile").write_text(_DOCKERFILE.format(base=base), encoding="ascii")
    return place / "context"


def ours(directory: Path) -> None:
    """`cellhold build`, as a program."""
    command = [sys.executable, "-m", "cellhold.cli", "build", "-q", "-t", "bench:1", str(directory)]
    subprocess.run(command, check=True, capture_output=True)


def theirs(directory: Path, peers: Peers) -> None:
    """`buildah bud`, as a program."""
    peers.buildah("bud", "--quiet", "--layers", "--isolation", "chroot", "--tls-verify=false", "--tag", "bench:1", str(directory))


def step(base: str, directory: Path) -> None:
    """A Dockerfile with a RUN that nobody has seen before."""
    text = f"FROM {base}\nRUN echo {next(_NUMBERS)} > /file\n"
    build(text, "Dockerfile", Context(directory), open_home(), Options())


def container_and_commit(base: str) -> None:
    """The same by hand."""
    with Container.create(Spec(image=base, args=("/bin/sh", "-c", f"echo {next(_NUMBERS)} > /file"))) as box:
        box.start()
        box.wait()
        commit.commit(box.id, None, open_home(), pause=False)


def main(rounds: int) -> None:
    """Make the context, build it once, and let them build it again."""
    with ExitStack() as closing:
        place = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="chbench", dir="/var/tmp", ignore_cleanup_errors=True)))
        os.environ["CELLHOLD_HOME"] = str(place / "home")
        peers, served = engines.at(place / "peers"), closing.enter_context(registry.serve(place))
        base = peers.push(images.busybox.image(), served.reference("busybox:1"))
        pull(base)
        directory = context(place, base)
        contestants = {
            "cellhold build": measure.timed(lambda: ours(directory)),
            "buildah bud": measure.timed(lambda: theirs(directory, peers)),
        }
        results = measure.interleaved(contestants, rounds, warm_up=2)
        measure.show("a build in which nothing has changed", results, [("cellhold build", "buildah bud", REBUILD)])
        contestants = {
            "RUN of one line": measure.timed(lambda: step(base, directory)),
            "container, commit": measure.timed(lambda: container_and_commit(base)),
        }
        results = measure.interleaved(contestants, rounds, warm_up=2)
        measure.show("a step", results, [("RUN of one line", "container, commit", STEP)])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
