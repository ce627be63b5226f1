"""build(): make an image from a Dockerfile and its context.

It goes stage by stage, step by step; what was done before is not repeated. A step that
fails leaves only the steps before it, in the cache. The Dockerfile is read by
dockerfile.py and stages.py, and the progress is shown by whoever receives the events.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from cellhold.build import copying, dockerfile, settings, stages
from cellhold.build.lexer import Budget
from cellhold.build.progress import Began, Ended, Warned, Wrote, nobody
from cellhold.build.scope import Scope
from cellhold.build.state import State
from cellhold.build.steps import Steps
from cellhold.errors import BuildFailed, CellholdError, InvalidSpec
from cellhold.image import ingest, stored
from cellhold.image.fields import quote
from cellhold.image.progress import nobody as nobody_pulls
from cellhold.image.reference import new_name
from cellhold.spec.image_names import is_oci

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cellhold.build.context import Context
    from cellhold.build.dockerfile import Dockerfile
    from cellhold.build.instruction import Instruction
    from cellhold.build.options import Options
    from cellhold.build.progress import Tell
    from cellhold.build.stages import Plan, Stage
    from cellhold.image.platform import Platform
    from cellhold.image.progress import Tell as TellPull
    from cellhold.image.stored import StoredImage
    from cellhold.store.builds import Taken
    from cellhold.store.home import Home

_HOST = "host"
_MOST_VARIABLES = 1_000_000  # each stage has those of the stage that it is built on
EPOCH = "SOURCE_DATE_EPOCH"
_LATEST = 253402300799  # the end of the year 9999, the last that a config can say


def build(  # noqa: PLR0913  # what is built, of what, where, how, and the receivers of events
    text: str, name: str, context: Context, home: Home, options: Options, *, tell: Tell = nobody, tell_pull: TellPull = nobody_pulls
) -> StoredImage:
    """Build the image of the Dockerfile that reads `text`, called `name` in errors.

    Raises InvalidSpec with the line, BuildFailed with a program's status,
    ImageNotFound, RegistryFailed, SetupFailed ...
    """
    names = [new_name(one, aim=f"build {one}", owner=options.owner) for one in options.names]
    with ingest.making(home):
        made = _Build(
            stages.plan(dockerfile.read(text, name), options.build_args, options.platform, options.target), context, home, options
        )
        made.tell, made.tell_pull = tell, tell_pull
        state = made.perform()
        if options.labels:
            labels = {**(state.settings.get("Labels") or {}), **options.labels}
            state = replace(state, settings={**state.settings, "Labels": labels})
        return state.arrived(home, names=names)


class _Build:
    """One build."""

    def __init__(self, plan: Plan, context: Context, home: Home, options: Options) -> None:
        self.tell: Tell = nobody
        self.tell_pull: TellPull = nobody_pulls
        self.home, self.options, self.epoch = home, options, _epoch(options.build_args)
        self._plan, self._context = plan, context
        self._states: dict[int, State] = {}
        self._args: dict[int, dict[str, str | None]] = {}
        self._variables = 0
        self._triggers: list[Instruction] = []
        self._images: dict[str, State] = {}
        self._budget = Budget()
        self._number = 0
        self._total = sum(1 + len(stage.instructions) for stage in plan.stages)

    def perform(self) -> State:
        """Perform all stages; return the state of the last one."""
        for stage in self._plan.stages:
            self._states[stage.number] = self._stage(stage)
        for name in self._plan.unused_build_args(self.options.build_args, self._triggers):
            if name != EPOCH:
                self.tell(Warned(text=f"--build-arg {name} is not used: no ARG {name} in the Dockerfile"))
        return self._states[self._plan.target.number]

    def _stage(self, stage: Stage) -> State:
        shown = stage.name or str(stage.number) if len(self._plan.stages) > 1 else ""
        began = self._begin(shown, stage.instruction)
        state = self._base(stage)
        texts = state.settings.get("OnBuild") or ()
        triggers = dockerfile.triggers(texts, f"ONBUILD of {stage.base}") if texts else None
        state = replace(state, settings=settings.inherited(state.settings))
        self._end(began, cached=True, layer=None)
        scope = Scope(
            stage=stage,
            base_env=state.env,
            build_args=self.options.build_args,
            platform=self.options.platform,
            inherited_args={} if stage.base_stage is None else self._args[stage.base_stage],
            escape=self._plan.dockerfile.escape,
            budget=self._budget,
        )
        steps = Steps(self, stage, scope)
        if triggers is not None:
            self._triggers += triggers.instructions
            self._total += len(triggers.instructions)
            state = self._perform(steps, triggers, triggers.instructions, state, shown)
        state = self._perform(steps, self._plan.dockerfile, stage.instructions, state, shown)
        self._args[stage.number] = scope.args
        self._variables += len(scope.args) + len(scope.env)
        if self._variables > _MOST_VARIABLES:
            raise InvalidSpec(f"cannot build: its stages have more than {_MOST_VARIABLES} variables in all")
        return state

    def _perform(self, steps: Steps, source: Dockerfile, instructions: Iterable[Instruction], state: State, shown: str) -> State:
        for instruction in instructions:
            began = self._begin(shown, instruction)
            try:
                state, taken, cached = steps.perform(instruction, state)
            except BuildFailed as error:
                said = source.refused(instruction, str(error))
                raise BuildFailed(str(said), status=error.status, last=error.last, hint=error.hint) from error
            except CellholdError as error:
                if str(error).startswith("cannot use line"):
                    raise
                raise source.refused(instruction, str(error), error.hint) from error
            except BrokenPipeError:
                raise  # the receiver of events has gone
            except OSError as error:
                raise source.refused(instruction, _reason(error)) from error
            self._end(began, cached=cached, layer=taken)
        return state

    def _base(self, stage: Stage) -> State:
        if stage.base_stage is not None:
            return self._states[stage.base_stage]
        if stage.base == stages.SCRATCH:
            return State.from_base(None, stage.platform or self.options.platform)
        try:
            if stage.base == _HOST:
                self.options.resolve(_HOST)
                return State.of_host(self.home)
            return self.image(stage.base, stage.platform)
        except CellholdError as error:
            raise stage.instruction.refused(str(error), error.hint) from error

    def image(self, name: str, platform: Platform | None = None) -> State:
        """Return an image to build on, or to copy from; pull it if it is not here."""
        if not is_oci(name):
            raise InvalidSpec(f"cannot build on {name}: it is not an OCI image", hint="`cellhold images` lists the images in the store")
        name = self.options.resolve(name)
        key = f"{name} {platform}"
        if key not in self._images:
            self._images[key] = State.from_base(self._find_image(name, platform or self.options.platform), self.options.platform)
        return self._images[key]

    def _find_image(self, name: str, platform: Platform) -> StoredImage:
        if not self.options.pull and stored.has(name, self.home):
            return stored.find(name, self.home)
        from cellhold.image.pulling import pull  # noqa: PLC0415  # HTTP takes long to load: most builds do without

        return pull(name, home=self.home, platform=platform, tell=self.tell_pull)

    def _begin(self, shown: str, instruction: Instruction) -> tuple[int, float]:
        self._number += 1
        self.tell(Began(number=self._number, total=self._total, stage=shown, text=instruction.text))
        return self._number, time.monotonic()

    def _end(self, began: tuple[int, float], *, cached: bool, layer: Taken | None) -> None:
        number, start = began
        size = layer.size_bytes if layer is not None and layer.digest is not None else None
        self.tell(Ended(number=number, cached=cached, seconds=time.monotonic() - start, layer_bytes=size))

    def origin(self, stage: Stage, name: str | None) -> copying.Origin:
        """Return where COPY takes its sources from; name: of --from."""
        if name is None:
            return copying.of_context(self._context)
        if name in stage.copies_from:
            return copying.of_image(self._states[stage.copies_from[name]], f"stage {name}", self.home)
        return copying.of_image(self.image(name), f"image {name}", self.home)

    def wrote(self, data: bytes) -> None:
        """Report the output of a step's program."""
        self.tell(Wrote(number=self._number, data=data))


def _reason(error: OSError) -> str:
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return f"{quote(name)}: {error.strerror}" if name else error.strerror or str(error)


def _epoch(build_args: Mapping[str, str]) -> int | None:
    """Return SOURCE_DATE_EPOCH, given as a build argument; None if it is not set.

    Source: reproducible-builds.org/specs/source-date-epoch. Raises InvalidSpec.
    """
    text = build_args.get(EPOCH)
    if text is None or not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(_LATEST)) or int(text) > _LATEST:
        raise InvalidSpec(f"cannot use {EPOCH}={text[:100]}: not a number of seconds")
    return int(text)
