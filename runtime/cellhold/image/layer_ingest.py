"""The layers of an image, fetched side by side.

Each is hashed, kept and unpacked while it is still coming in, and each only once.
Called by ingest.py. Whoever else wants the same layer, in this process or another,
waits for the one that began.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from cellhold import seccomp
from cellhold.errors import ImageRefused
from cellhold.image import config
from cellhold.image.progress import Doing, Progress
from cellhold.image.side_by_side import Abandoned, SideBySide
from cellhold.layer.unpack import Unpacking
from cellhold.store.layers import LayerFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from cellhold.image.config import Config
    from cellhold.image.descriptor import Descriptor
    from cellhold.image.ingest import Source
    from cellhold.image.manifest import Manifest
    from cellhold.image.progress import Tell
    from cellhold.layer.bounds import Bounds
    from cellhold.layer.unpack import Unpacked
    from cellhold.spec.digest import Digest
    from cellhold.store.blobs import Draft
    from cellhold.store.home import Home

AT_ONCE = 3  # docker's; more hardly help, as each layer takes a processor to unpack
_LOOK_SECONDS = 0.1


def layers(  # noqa: PLR0913  # one value per thing that takes part
    manifest: Manifest, found: Config, source: Source, home: Home, *, bounds: Bounds, tell: Tell
) -> None:
    """Fetch, keep and unpack all layers that are missing.

    Raises ImageRefused, RegistryFailed, OSError: the first error of any layer.
    """
    arrival = _Arrival(source, home, bounds, tell)
    chains = config.chain_ids(found.diff_ids)
    work = SideBySide(at_once=AT_ONCE, stop=arrival.stop)
    coming: list[Future[None]] = []  # in this order: what a layer waits for, those below it, begins before it
    for number, layer in enumerate(manifest.layers):
        tell(Progress(digest=layer.digest, doing=Doing.WAITING, done_bytes=0, total_bytes=layer.size_bytes))
        below = _Below(coming[:], [home.layers.tree(chain) for chain in reversed(chains[:number])])
        parent = chains[number - 1] if number else None
        coming.append(work.add(partial(arrival.layer, layer, chains[number], found.diff_ids[number], parent, below)))
    work.perform()


def filtered(home: Home) -> bytes:
    """Return the system call filter of the processes that unpack.

    It is that of a container without capabilities.
    """
    return seccomp.cached_program(frozenset(), home.seccomp)


def facts(unpacked: Unpacked, diff_id: Digest, parent: Digest | None) -> LayerFacts:
    """Return what the store keeps of an unpacked layer.

    Raises ImageRefused unless it is the layer that the config names.
    """
    if unpacked.diff_id != diff_id:
        raise ImageRefused(
            f"cannot use layer {diff_id}: what was unpacked is {unpacked.diff_id}",
            hint="the image's config and its layers do not belong together: have it pushed again",
        )
    return LayerFacts(
        diff_id=str(diff_id),
        parent=None if parent is None else str(parent),
        size_bytes=unpacked.size_bytes,
        entries=unpacked.entries,
        told=tuple(left_out(unpacked)),
    )


def left_out(unpacked: Unpacked) -> Iterator[str]:
    """Yield a sentence for each difference between the layer on disk and its tar."""
    if unpacked.devices_left_out:
        yield f"{unpacked.devices_left_out} device nodes were left out: a container gets its devices from Cellhold"
    if unpacked.owners_changed:
        yield f"{unpacked.owners_changed} files belong to root, as you have no subordinate ids: `cellhold doctor` reports how to get some"
    if unpacked.xattrs_left_out:
        yield f"{unpacked.xattrs_left_out} extended attributes were left out: of another system, or not possible on this disk"


class _Below:
    """The layers below one: a call waits until they are there.

    It returns their trees, topmost first.
    """

    def __init__(self, coming: Sequence[Future[None]], trees: Sequence[Path]) -> None:
        self._coming, self._trees = coming, trees

    def __call__(self) -> Sequence[Path]:
        for future in self._coming:
            if future.exception() is not None:
                raise Abandoned
        return self._trees


class _Arrival:
    """The state that the layers of one image share while they are fetched."""

    def __init__(self, source: Source, home: Home, bounds: Bounds, tell: Tell) -> None:
        self._stopped = threading.Event()
        self._unpackings: set[Unpacking] = set()
        self._source, self._home, self._bounds, self._tell = source, home, bounds, tell

    def stop(self) -> None:
        """Wake every thread that waits for a layer: there will be no image.

        A thread waits for more of a layer, or until one is unpacked.
        """
        self._stopped.set()
        self._source.stop()
        for unpacking in list(self._unpackings):
            unpacking.stop()

    def layer(self, wanted: Descriptor, chain_id: Digest, diff_id: Digest, parent: Digest | None, below: _Below) -> None:
        with ExitStack() as closing:
            place = closing.enter_context(self._home.layers.draft(chain_id, patience=self._go_on))
            draft = closing.enter_context(self._home.blobs.draft(wanted.digest, wanted.size_bytes, patience=self._go_on))
            if place is None and draft is None:
                self._say(wanted, Doing.EXISTS, wanted.size_bytes)
                return
            unpacking = None if place is None else self._unpacking(place.directory, closing)
            try:
                for chunk in self._read_blob(wanted) if draft is None else self._download(wanted, draft):
                    if unpacking is not None:
                        unpacking.feed(chunk)
                if draft is not None:
                    draft.keep()
            except ImageRefused:
                if draft is not None and not self._stopped.is_set():
                    draft.discard()  # something in what came is wrong: the next try must not continue from it
                raise
            if place is not None and unpacking is not None:
                self._say(wanted, Doing.UNPACKING, wanted.size_bytes)
                place.keep(facts(unpacking.finish(below), diff_id, parent))
            self._say(wanted, Doing.DONE, wanted.size_bytes)

    def _unpacking(self, directory: Path, closing: ExitStack) -> Unpacking:
        made = closing.enter_context(Unpacking(directory, bounds=self._bounds, seccomp=filtered(self._home)))
        self._unpackings.add(made)
        closing.callback(self._unpackings.discard, made)
        return made

    def _download(self, wanted: Descriptor, draft: Draft) -> Iterator[bytes]:
        """Yield what is here of the layer already, then the rest, kept as it comes."""
        for chunk in draft.content():
            self._pass(wanted, Doing.DOWNLOADING, 0)
            yield chunk
        self._pass(wanted, Doing.DOWNLOADING, draft.done_bytes)
        if draft.done_bytes == draft.size_bytes:
            return
        for chunk in self._source.blob(wanted, start_byte=draft.done_bytes):
            draft.write(chunk)
            self._pass(wanted, Doing.DOWNLOADING, draft.done_bytes)
            yield chunk

    def _read_blob(self, wanted: Descriptor) -> Iterator[bytes]:
        done = 0
        with self._home.blobs.open(wanted.digest) as file:
            while chunk := file.read(1 << 20):
                done += len(chunk)
                self._pass(wanted, Doing.UNPACKING, done)
                yield chunk

    def _pass(self, wanted: Descriptor, doing: Doing, done_bytes: int) -> None:
        if self._stopped.is_set():
            raise Abandoned
        self._say(wanted, doing, done_bytes)

    def _say(self, wanted: Descriptor, doing: Doing, done_bytes: int) -> None:
        self._tell(Progress(digest=wanted.digest, doing=doing, done_bytes=done_bytes, total_bytes=wanted.size_bytes))

    def _go_on(self) -> None:
        """Wait a moment for the other process that does it, or raise Abandoned."""
        if self._stopped.wait(_LOOK_SECONDS):
            raise Abandoned
