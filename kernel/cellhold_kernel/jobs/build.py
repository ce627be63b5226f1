"""A build that a cell waits for (%%dockerfile).

    python -m cellhold_kernel.jobs.build    what was granted as JSON on standard input

is the process that builds, and reports progress as `cellhold build --progress json`
does. It sees of the notebook's folder what a container is shown, and takes no image
that the policy does not allow. In the notebook a step's output folds away when the step
is done.
"""

from __future__ import annotations

import html
import json
import os
import sys
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellhold import helper
from cellhold.spec import units
from cellhold_kernel.jobs.job import ProcessJob
from cellhold_kernel.jobs.pull import Rows
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.image.stored import StoredImage
    from cellhold_kernel.gate.granted import GrantedBuild
    from cellhold_kernel.jobs.build_context import BuildContext

_KEPT_LINES = 200  # of a step's output, in HTML
_SHOWN_LINES = 8  # as text, of the step that is at work
_LINE_MOST = 300


@dataclass
class _Step:
    """One step. ending: what came of it, None while it is at work."""

    title: str
    ending: str | None = None
    lines: deque[str] = field(default_factory=lambda: deque([""], maxlen=_KEPT_LINES))

    def wrote(self, text: str) -> None:
        """Add some of its output."""
        first, *more = text.split("\n")
        self.lines[-1] = escape(self.lines[-1] + first.rpartition("\r")[2], most=_LINE_MOST)
        self.lines.extend(escape(line.removesuffix("\r").rpartition("\r")[2], most=_LINE_MOST) for line in more)


class Build(ProcessJob):
    """One build. name: of the image."""

    interrupted_message = "the image was not built"
    variables = (*helper.REGISTRIES, "SOURCE_DATE_EPOCH")

    def __init__(self, granted: GrantedBuild, context: BuildContext) -> None:
        """Start it."""
        from cellhold.store import spec_codec  # noqa: PLC0415  # for this alone

        self.name = granted.asked
        self.id = ""
        self._steps: list[_Step] = []
        self._warnings: list[str] = []
        self._layers = Rows()
        job = {
            **{name: value for name, value in vars(granted).items() if name not in ("folder", "asked")},
            "claim": None if granted.claim is None else granted.claim.write(),
            "images": granted.images.write(),
            "build_args": dict(granted.build_args),
            "labels": dict(granted.labels),
            "limits": spec_codec.limits_to_json(granted.limits),
            "context": context.descriptor,
            "hidden": context.hidden,
        }
        keep = () if context.descriptor is None else (context.descriptor,)
        super().__init__("cellhold_kernel.jobs.build", [], given=json.dumps(job).encode(), keep=keep)

    def _note(self, said: dict[str, Any]) -> None:
        event = said.get("event")
        if event == "began":
            stage = f"{said['stage']} " if said["stage"] else ""
            self._steps.append(
                _Step(f"[{stage}{int(said['number'])}/{int(said['total'])}] {escape(' '.join(str(said['text']).split()), most=160)}")
            )
        elif event == "wrote":
            self._steps[-1].wrote(str(said["data"]))
        elif event == "ended":
            size = said["layer_bytes"]
            layer = "" if size is None else f", layer of {units.size(int(size))}"
            self._steps[-1].ending = ("cached" if said["cached"] else f"{float(said['seconds']):.1f} s") + layer
        elif event == "warned":
            self._warnings.append(escape(str(said["text"])))
        elif event == "built":
            self.id = escape(str(said["id"]), most=80)
        elif "digest" in said:
            self._layers.note(said)

    def text(self) -> str:
        """Return how far it is: a line per step, and the last output of the one at work."""
        return "\n".join([*self._lines(), *self._layers.lines(), *(f"warning: {text}" for text in self._warnings), self._summary()])

    def _lines(self) -> Iterator[str]:
        for step in self._steps:
            yield f"{step.title}  {self._ending(step)}"
            if step.ending is None:
                yield from (f"    {line}" for line in list(step.lines)[-_SHOWN_LINES:] if line)

    def html(self) -> str:
        """Return the same, with the output of each step behind its line."""
        steps = "".join(self._folded(step) for step in self._steps)
        warnings = "".join(f"<div>warning: {html.escape(text)}</div>" for text in self._warnings)
        return f"{steps}{self._layers.table()}{warnings}<div>{html.escape(self._summary())}</div>"

    def _ending(self, step: _Step) -> str:
        return step.ending or ("..." if self.is_going_on else "failed")

    def _folded(self, step: _Step) -> str:
        output = html.escape("\n".join(step.lines).strip("\n"))
        line = f"<code>{html.escape(step.title)}</code> {html.escape(self._ending(step))}"
        if not output:
            return f"<div>{line}</div>"
        return f"<details{'' if step.ending else ' open'}><summary>{line}</summary><pre>{output}</pre></details>"

    def _summary(self) -> str:
        if self.is_going_on:
            return f"building {escape(self.name)} for {self.seconds:.0f} s"
        if not self.id:
            return f"{escape(self.name)} was not built"
        cached = sum((step.ending or "").startswith("cached") for step in self._steps)
        return f"built {escape(self.name)} in {self.seconds:.1f} s, {cached} of {len(self._steps)} steps from the cache: {self.id}"


def main() -> int:
    """The process."""
    from cellhold.errors import BuildFailed, CellholdError  # noqa: PLC0415  # what the host kernel does without

    job = json.load(sys.stdin)
    try:
        image = _built(job)
    except CellholdError as error:
        failed = {"last": error.last, "status": error.status} if isinstance(error, BuildFailed) else {}
        _say(error=type(error).__name__, sentence=str(error), hint=error.hint, **failed)
        return 1
    _say(event="built", id=str(image.id))
    return 0


def _built(job: dict[str, Any]) -> StoredImage:
    from cellhold.build.builder import build  # noqa: PLC0415  # as above
    from cellhold.build.context import Context  # noqa: PLC0415
    from cellhold.build.options import Options  # noqa: PLC0415
    from cellhold.cli import bars, steps  # noqa: PLC0415
    from cellhold.image.platform import Platform  # noqa: PLC0415
    from cellhold.store import spec_codec  # noqa: PLC0415
    from cellhold.store.home import open_home  # noqa: PLC0415
    from cellhold_kernel.gate import admission  # noqa: PLC0415
    from cellhold_kernel.gate.claim import Claim  # noqa: PLC0415
    from cellhold_kernel.gate.images import Images  # noqa: PLC0415

    claim = None if job["claim"] is None else Claim(**job["claim"])
    images, folder = Images.read(job["images"]), None
    if job["context"] is not None:
        os.fchdir(job["context"])  # the folder that is held, whatever its name leads to by now
        folder = Path()
    options = Options(
        names=(job["name"],),
        build_args=job["build_args"],
        target=job["target"],
        platform=Platform.parse(job["platform"]) if job["platform"] else Platform.host(),
        cache=job["cache"],
        pull=job["pull"],
        limits=spec_codec.limits_from_json(job["limits"]),
        labels=job["labels"],
        resolve=images.resolve,
        owner=images.owner,
        admit=partial(admission.admitted, claim=claim),
    )
    with bars.display("json", sys.stdout) as tell_pull, steps.display("json", sys.stdout) as tell:
        return build(
            job["dockerfile"],
            "Dockerfile",
            Context(folder, hidden=job["hidden"]),
            open_home(),
            options,
            tell=tell,
            tell_pull=tell_pull,
        )


def _say(**members: Any) -> None:
    print(json.dumps(members), flush=True)  # noqa: T201  # what a program reads


if __name__ == "__main__":
    sys.exit(main())
