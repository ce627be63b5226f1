"""A container of its own for a cell (%%run): its output is the cell's.

    python -m cellhold_kernel.jobs.run        the spec, the lines and what to do as JSON
                                              on standard input

is the process that has the container, and reports in lines of JSON. Killed, it takes
the container with it. What the container used stands below the output.
"""

from __future__ import annotations

import html
import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from cellhold import helper
from cellhold.errors import CellholdError
from cellhold.spec import units
from cellhold.spec.outcome import Why
from cellhold.spec.units import doubled
from cellhold_kernel.jobs.job import ProcessJob
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from cellhold.spec.spec import Spec
    from cellhold_kernel.gate.granted import GrantedRun

OUTPUT_MOST = 8 << 20  # bytes of a cell's output: the rest is left out, and told
_PIECE = 8192
_STREAMS = {1: "stdout", 2: "stderr"}


class RunFailed(CellholdError):
    """The container's program ended with another status than 0."""


class Run(ProcessJob):
    """One run. Its output is published as it comes; how it ended is shown in the end."""

    interrupted_message = "the container was removed"
    variables = helper.REGISTRIES  # for an image that is not here yet
    shows_progress = False

    def __init__(self, granted: GrantedRun) -> None:
        """Start it."""
        from cellhold.store import spec_codec  # noqa: PLC0415  # for this alone

        self._image = granted.spec.image
        self._ended: dict[str, Any] | None = None
        self._pieces: list[tuple[str, dict[str, Any]]] = []
        job = {
            "spec": spec_codec.to_json(granted.spec),
            "lines": granted.lines,
            "pull": granted.pull,
            "detached": granted.detached,
            "removes_itself": granted.removes_itself,
            "claim": None if granted.claim is None else granted.claim.write(),
            "rootfs": None if granted.spec.rootfs is None else granted.spec.rootfs.fileno(),
        }
        keep = () if granted.spec.rootfs is None else (granted.spec.rootfs.fileno(),)
        super().__init__("cellhold_kernel.jobs.run", [], given=json.dumps(job).encode(), keep=keep)

    def _note(self, said: dict[str, Any]) -> None:
        if "data" in said:
            self._pieces.append(("stream", {"name": _STREAMS[said["stream"]], "text": str(said["data"])}))
        elif "status" in said:
            self._ended = said

    def take_outputs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what it has written since the last call, as messages."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def drain(self) -> bool:
        """Take in its output as a ProcessJob does.

        Raises RunFailed for another status than 0, as %%bash does.
        """
        goes_on = super().drain()
        if not goes_on and self._ended is not None and self._ended["status"]:
            ended = self._ended
            at_limit = ended["why"] == Why.MEMORY and ended["limit"]
            hint = f"%%run --memory {doubled(int(ended['limit']))} raises the limit" if at_limit else None
            raise RunFailed(f"the container {escape(str(ended['sentence']))}", hint=hint)
        return goes_on

    def text(self) -> str:
        """Return how it ended, and what it used."""
        if self._ended is None:
            return f"running in {escape(self._image)} for {self.seconds:.0f} s"
        if self._ended["status"] is None:
            name = escape(str(self._ended["name"]), most=80)
            return f"container {name} runs: cellhold logs {name} shows what it writes, cellhold rm -f {name} removes it"
        return f"{escape(str(self._ended['sentence']))} · {self._used(self._ended)}"

    def _used(self, ended: dict[str, Any]) -> str:
        used = [f"{float(ended['seconds']):.2f} s"]
        if ended["cpu"] is not None:
            used.append(f"{float(ended['cpu']):.2f} s of processor")
        if ended["peak"] is not None:
            limit = f" of {units.size(int(ended['limit']))}" if ended["limit"] else ""
            used.append(f"memory at most {units.size(int(ended['peak']))}{limit}")
        return " · ".join(used)

    def html(self) -> str:
        """Return the same for a browser."""
        good = self._ended is not None and self._ended["status"] in (0, None)
        mark = "" if good else ' style="color:var(--jp-error-color1, #b00020)"'
        return f"<div{mark}>{html.escape(self.text())}</div>"


def main() -> int:
    """The process."""
    job = json.load(sys.stdin)
    try:
        _write(**(_detached(job) if job["detached"] else _own(job)))
    except CellholdError as error:
        _write(error=type(error).__name__, sentence=str(error), hint=error.hint)
        return 1
    return 0


def _spec(job: dict[str, Any]) -> Spec:
    from dataclasses import replace  # noqa: PLC0415  # as above

    from cellhold.cli import transfer  # noqa: PLC0415
    from cellhold.linux.hostpath import HostPath  # noqa: PLC0415
    from cellhold.store import spec_codec  # noqa: PLC0415

    spec = spec_codec.from_json(job["spec"])
    if job["rootfs"] is not None:
        spec = replace(spec, rootfs=HostPath(job["rootfs"], spec.image))
    transfer.pull_for_run(spec.image, job["pull"])
    return spec


def _admitted(job: dict[str, Any]) -> AbstractContextManager[Spec]:
    """Return a context in which the container may be made, once its image is here."""
    from cellhold_kernel.gate import admission  # noqa: PLC0415  # as above
    from cellhold_kernel.gate.claim import Claim  # noqa: PLC0415

    return admission.admitted(_spec(job), None if job["claim"] is None else Claim(**job["claim"]))


def _detached(job: dict[str, Any]) -> dict[str, Any]:
    from cellhold.container.detached import Detached  # noqa: PLC0415  # as above

    with _admitted(job) as spec:
        box = Detached.create(spec, auto_remove=job["removes_itself"])
    box.start()
    return {"status": None, "name": box.name, "id": box.id}


def _own(job: dict[str, Any]) -> dict[str, Any]:
    from cellhold.container.container import Container  # noqa: PLC0415  # as above

    with ExitStack() as closing:
        with _admitted(job) as spec:
            box = closing.enter_context(Container.create(spec))
        _copy(box, job["lines"])
        outcome = box.wait()
        return {
            "status": outcome.status,
            "sentence": outcome.sentence(),
            "why": outcome.why,
            "seconds": outcome.seconds,
            "cpu": outcome.cpu_seconds,
            "peak": outcome.memory_peak_bytes,
            "limit": outcome.memory_limit_bytes,
        }


def _copy(box: Any, lines: str) -> None:
    """Start it on the lines, and report what it writes until it ends."""
    import os  # noqa: PLC0415  # as above
    import select  # noqa: PLC0415
    from codecs import getincrementaldecoder  # noqa: PLC0415

    stdin = os.memfd_create("lines", os.MFD_CLOEXEC)
    os.write(stdin, lines.encode())
    pipes = {1: os.pipe2(os.O_CLOEXEC), 2: os.pipe2(os.O_CLOEXEC)}
    reading = os.open(f"/proc/self/fd/{stdin}", os.O_RDONLY | os.O_CLOEXEC)  # which it cannot write to
    try:
        box.start(stdin=reading, stdout=pipes[1][1], stderr=pipes[2][1])
    finally:
        for fd in (stdin, reading, pipes[1][1], pipes[2][1]):
            os.close(fd)
    open_ones = {pipes[number][0]: (number, getincrementaldecoder("utf-8")("replace")) for number in pipes}
    left = OUTPUT_MOST
    while open_ones:
        poll = select.poll()
        for fd in open_ones:
            poll.register(fd, select.POLLIN)
        for fd, _events in poll.poll():
            number, decoder = open_ones[fd]
            piece = os.read(fd, _PIECE)
            if left >= 0 and (text := decoder.decode(piece[:left], not piece)):
                _write(stream=number, data=text)
            if 0 <= left < len(piece):
                _write(stream=2, data=f"\ncellhold: more than {units.size(OUTPUT_MOST)} of output: the rest is left out\n")
            left -= len(piece)
            if not piece:
                os.close(fd)
                del open_ones[fd]


def _write(**members: Any) -> None:
    print(json.dumps(members), flush=True)  # noqa: T201  # what a program reads


if __name__ == "__main__":
    sys.exit(main())
