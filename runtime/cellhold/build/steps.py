"""The instructions of a stage, performed one at a time.

Each makes the next state of the image, and a layer if it changes files.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from cellhold.build import copying, owners, run_step, settings
from cellhold.build.run_step import Program
from cellhold.build.state import digest
from cellhold.errors import InvalidSpec
from cellhold.image import layer_making, layer_queries
from cellhold.layer.worker import writer
from cellhold.layer.worker.output import compressor
from cellhold.store.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cellhold.build.copying import Origin
    from cellhold.build.instruction import Instruction
    from cellhold.build.options import Options
    from cellhold.build.scope import Scope
    from cellhold.build.stages import Stage
    from cellhold.build.state import State
    from cellhold.image.layer_making import MadeLayer
    from cellhold.layer.copy import Copies, Source
    from cellhold.store.builds import Taken
    from cellhold.store.home import Home

    Done = tuple[State, Taken | None, bool]

_DIRECTORY, _DIRECTORY_MODE = b"5", 0o755


class Surroundings(Protocol):
    """What a step needs of its build; builder.py implements it.

    epoch: SOURCE_DATE_EPOCH, seconds.
    """

    home: Home
    options: Options
    epoch: int | None

    def origin(self, stage: Stage, name: str | None) -> Origin:
        """Return where COPY takes its sources from; name: of --from."""

    def wrote(self, data: bytes) -> None:
        """Report the output of a step's program."""


class Steps:
    """The steps of one stage."""

    def __init__(self, around: Surroundings, stage: Stage, scope: Scope) -> None:
        """Begin with the `scope` of the stage."""
        self._around, self._stage, self._scope = around, stage, scope
        self._home, self._options, self._epoch = around.home, around.options, around.epoch
        self._has_cmd = False

    def perform(self, instruction: Instruction, state: State) -> Done:
        """Perform one instruction.

        Returns the image after it, what the cache has of it, and whether the cache had
        it before. Raises CellholdError, OSError.
        """
        instruction = self._scope.expand(instruction)
        self._scope.take(instruction)
        perform = {"RUN": self._run, "COPY": self._copy, "ADD": self._copy, "WORKDIR": self._workdir}.get(instruction.keyword, self._set)
        return perform(instruction, state)

    def _now(self) -> float:
        return time.time() if self._epoch is None else float(self._epoch)

    def _set(self, instruction: Instruction, state: State) -> Done:
        """Perform an instruction that changes no files."""
        changed = settings.applied(state.settings, instruction, stage_has_cmd=self._has_cmd)
        self._has_cmd = self._has_cmd or instruction.keyword == "CMD"
        words = settings.history(instruction, changed)
        if words is None:
            return replace(state, settings=changed), None, True
        taken = state.taken(None, state.created if self._epoch is None else float(self._epoch))
        key = state.key if instruction.keyword == "ARG" else state.next_key(instruction.keyword, *instruction.words)  # RUN's key has it
        return state.after(key, taken, created_by=words, settings=changed, author=settings.author(instruction)), taken, True

    def _run(self, instruction: Instruction, state: State) -> Done:
        command = settings.run_command(instruction, settings.shell_of(state.settings))
        files = () if command.script is None else ((settings.SCRIPT, command.script, 0o755),)
        script = hashlib.sha256(command.script or b"").hexdigest()
        key = state.next_key("RUN", *command.args, script, "|", *self._scope.run_key, str(self._epoch))
        words = settings.history(instruction, state.settings, run_key=self._scope.run_key) or ""

        def make() -> MadeLayer | None:
            return run_step.run(
                Program(args=command.args, env=self._scope.run_env, files=files),
                state,
                self._home,
                name=self._stage.base,
                options=self._options,
                tell=self._around.wrote,
                mtime_limit_seconds=self._epoch,
            )

        return self._layered(state, key, words, make)

    def _copy(self, instruction: Instruction, state: State) -> Done:
        origin = self._around.origin(self._stage, instruction.flag("from"))
        words = settings.history(instruction, state.settings) or ""
        last: Taken | None = None
        all_cached = True
        with scratch(self._home.root) as place:
            for source, copies in copying.Copying(instruction, origin, state, self._home, place=place, epoch=self._epoch).parts():
                copies = replace(copies, lowers=state.trees(self._home))  # noqa: PLW2901  # the parts before it are there now
                found = self._sum(source, copies, state)
                below = state.diff_ids
                state, last, cached = self._layered(
                    state,
                    state.next_key("COPY", found, str(self._epoch)),
                    words,
                    lambda source=source, copies=copies, found=found, below=below: layer_making.make(  # type: ignore[misc]
                        source.tar(copies, found), self._home, below=below
                    ),
                )
                all_cached = all_cached and cached
        return state, last, all_cached

    def _sum(self, source: Source, copies: Copies, state: State) -> str:
        """Return the sum by which the cache finds a COPY.

        For layers and archives it is remembered, so that no process reads them
        again.
        """
        if source.identity is None or state.on_host or not self._options.cache:
            return source.sum(copies)
        key = digest("sum", source.identity, " ".join(map(str, state.chain_ids)), repr((copies.pairs, copies.owner, copies.mode)))
        found = self._home.builds.sum(key)
        if found is None:
            found = source.sum(copies)
            self._home.builds.put_sum(key, found)
        return found

    def _workdir(self, instruction: Instruction, state: State) -> Done:
        changed = settings.applied(state.settings, instruction, stage_has_cmd=self._has_cmd)
        words = settings.history(instruction, changed) or ""
        path = os.fsencode(posixpath.join("/", str(changed["WorkingDir"])))
        place, missing, is_directory = layer_queries.spot(state.trees(self._home), path)
        if not missing and not is_directory:
            raise InvalidSpec(f"cannot use {os.fsdecode(path)} as a directory: the image has a file there")
        uid, gid = owners.owner(state.text("User") or "0", state.trees(self._home)) if missing else (0, 0)
        key = state.next_key("WORKDIR", os.fsdecode(path), str(self._epoch))

        def make() -> MadeLayer | None:
            return layer_making.make(self._directories(place, missing, (uid, gid)), self._home, below=state.diff_ids) if missing else None

        state, taken, cached = self._layered(replace(state, settings=changed), key, words, make)
        return state, taken, cached

    def _directories(self, place: Sequence[bytes], missing: Sequence[bytes], owner: tuple[int, int]) -> Iterator[bytes]:
        packed = compressor("gzip")
        for count in range(1, len(missing) + 1):
            path = b"/".join((*place, *missing[:count])) + b"/"
            yield packed.compress(writer.entry(path, _DIRECTORY, mode=_DIRECTORY_MODE, uid=owner[0], gid=owner[1], mtime=int(self._now())))
        yield packed.compress(writer.END)
        yield packed.flush()

    def _layered(self, state: State, key: str, words: str, make: Callable[[], MadeLayer | None]) -> Done:
        """Perform a step that may make a layer: reuse it from the cache, or make it."""
        known = self._home.builds.get(key) if self._options.cache else None
        cached = known is not None and self._is_whole(known)
        if known is None or not cached:
            known = state.taken(make(), self._now())
            self._home.builds.put(key, known)
        return state.after(key, known, created_by=words), known, cached

    def _is_whole(self, taken: Taken) -> bool:
        if taken.digest is None or taken.chain_id is None:
            return True
        return self._home.layers.has(taken.chain_id) and self._home.blobs.has(taken.digest)
