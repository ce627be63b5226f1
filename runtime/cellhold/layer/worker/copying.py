"""Copy files of one tree into another, as a tar that is a layer on top of it.

This is COPY of a Dockerfile; nothing is written to either tree. The sources are a stack
of layers (COPY --from), read in the confined child, or the build's context, read by the
builder. The destination is a stack of layers as well: its directories are kept, and its
links to directories followed, so that `COPY rootfs /` does not turn /bin from a link
into a directory. `sum` is a digest of all that was read except its times: what a
build's cache is looked up by.
"""

from __future__ import annotations

import hashlib
import stat

from cellhold.errors import ImageRefused
from cellhold.layer.worker import confinement, merged, writer
from cellhold.layer.worker.names import quote
from cellhold.layer.worker.output import Output
from cellhold.layer.worker.packing import Packing
from cellhold.layer.worker.questions import resolved_spot

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from cellhold.layer.worker.job import Job
    from cellhold.layer.worker.merged import Merged
    from cellhold.layer.worker.output import Sink
    from cellhold.layer.worker.report import Report

_DIRECTORY = b"5"
_NEW_MODE = 0o755


class Nothing:
    """A discarded tar: only its sum is needed."""

    def write(self, data: bytes) -> None:
        """Discard the data."""


def run(job: Job, trees: list[int], report: Report) -> None:
    """Perform COPY --from.

    Reports "done", the digest of the tar, its length, its entries, what was left out,
    and the sum.
    """
    options = job["options"]
    count = int(options["sources"])
    output = None if options["says"] == "sum" else Output(0, str(options["compression"]))
    confinement.no_more_processes()
    copying = Copying(
        output or Nothing(),
        trees[count:],
        depth=job["bounds"]["depth"],
        newest=int(options["mtime_limit_seconds"]),
        now=int(options["now"]),
        owner=(int(options["uid"]), int(options["gid"])) if int(options["uid"]) >= 0 else None,
        mode=int(options["mode"]) if int(options["mode"]) >= 0 else None,
    )
    for source, destination in job["copies"]:
        copying.add(trees[:count], source, destination)
    if output is None:
        report.say("done", "", "0", str(copying.entries), str(copying.left_out), copying.sum.hexdigest())
        return
    output.write(writer.END)
    output.close()
    report.say("done", output.hash.hexdigest(), str(output.count), str(copying.entries), str(copying.left_out), copying.sum.hexdigest())


class Copying(Packing):
    """Copies on their way into a tar.

    lowers: the destination's layers, topmost first.
    owner: of the copies (None: unchanged), and of the directories that are made for
        them (None: root's).
    mode: instead of theirs, of files and directories alike.
    newest: no time is later (-1: any).
    now: the time of directories that are made.
    is_left_out: called with a path below the source's root; returns whether that and
        all below it is left out.
    may_return: whether something below it may be included after all.
    """

    def __init__(  # noqa: PLR0913  # what a copy depends on
        self,
        output: Sink,
        lowers: list[int],
        *,
        depth: int,
        newest: int,
        now: int,
        owner: tuple[int, int] | None,
        mode: int | None,
        is_left_out: Callable[[bytes], bool] = lambda _path: False,
        may_return: Callable[[bytes], bool] = lambda _path: False,
    ) -> None:
        """Write to `output`."""
        super().__init__(output, depth=depth, whole=True, newest=newest)
        self.sum = hashlib.sha256()
        self._lowers = lowers
        self._now = now
        self._owner = owner
        self._mode = mode
        self._is_left_out, self._may_return = is_left_out, may_return
        self._made: set[bytes] = set()  # directories that the tar has
        self._waiting: list[tuple[Merged, bytes]] = []  # directories that are left out, unless something below them is not

    def add(self, layers: list[int], source: bytes, destination: bytes) -> None:
        """Copy what is at `source` (no link on the way to it) to `destination`.

        A file becomes a file; of a directory, its content is copied. Raises
        ImageRefused if one is a directory and the other exists and is not.
        """
        *way, name = source.split(b"/") if source else [b""]
        place, missing, is_directory = resolved_spot(self._lowers, destination)
        with _opened(layers, way, source) as above:
            found = above.look(name) if name else None
            if name and found is None:
                raise ImageRefused(f"{quote(source)} is not there any more")
            if found is not None and not stat.S_ISDIR(found[0].st_mode):
                if is_directory and not missing:
                    raise ImageRefused(f"{quote(destination)} is a directory, and {quote(source)} is not")
                self._make_parents(place, missing[:-1])
                self._add(above, b"/".join((*place, *missing)), name)
                return
            root = above.enter(name) if name else merged.open_stack(layers)
        if root is None:
            raise ImageRefused(f"{quote(source)} is not there any more")
        with root:
            if not is_directory and not missing:
                raise ImageRefused(f"{quote(destination)} is not a directory, and {quote(source)} is one")
            self._make_parents(place, missing[:-1])
            names = [*place, *missing]
            if missing:
                self._make(root, b"/".join(names))
            with _entered(self._lowers, names) as below:
                self._add_contents(root, source, names, below)

    def _make_parents(self, place: list[bytes], missing: list[bytes]) -> None:
        for count in range(1, len(missing) + 1):
            path = b"/".join((*place, *missing[:count]))
            if path not in self._made:
                self._made.add(path)
                self._put(path + b"/", _DIRECTORY, mode=_NEW_MODE, owner=self._owner or (0, 0), mtime=self._now)

    def _make(self, source: Merged, path: bytes) -> None:
        """Make a directory like the source's; one that an earlier source made is kept."""
        if path not in self._made:
            self._made.add(path)
            self._add_directory(path + b"/", source)

    def _make_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for source, path in waiting:
            self._make(source, path)

    def _add_contents(self, source: Merged, read: bytes, names: list[bytes], below: Merged | None) -> None:
        """Copy what is in a directory into the one called `names`.

        below: what is there already.
        """
        if len(names) > self._depth:
            raise ImageRefused(f"{quote(read)} lies more than {self._depth} directories deep")
        for name in source.all_names():
            path = read + b"/" + name if read else name
            left_out = self._is_left_out(path)
            found = source.look(name)
            if found is None or (left_out and not (stat.S_ISDIR(found[0].st_mode) and self._may_return(path))):
                continue
            there = below.look(name) if below is not None else None
            if stat.S_ISDIR(found[0].st_mode):
                self._add_below(source, name, path, names, there, below, left_out=left_out)
                continue
            if there is not None and stat.S_ISDIR(there[0].st_mode):
                raise ImageRefused(f"{quote(b'/'.join((*names, name)))} is a directory, and {quote(path)} is not")
            self._make_waiting()
            self._add(source, b"/".join((*names, name)), name)

    def _add_below(  # noqa: PLR0913, PLR0917  # both sides of one name
        self,
        source: Merged,
        name: bytes,
        path: bytes,
        names: list[bytes],
        there: tuple[os.stat_result, int] | None,
        below: Merged | None,
        *,
        left_out: bool,
    ) -> None:
        """Copy a directory that lies in another."""
        target, follows = [*names, name], False
        if there is not None and stat.S_ISLNK(there[0].st_mode):
            place, missing, is_directory = resolved_spot(self._lowers, b"/".join(target))
            if missing or not is_directory:
                raise ImageRefused(f"{quote(b'/'.join(target))} is a link, and not to a directory as {quote(path)} is")
            target, follows = place, True
        elif there is not None and not stat.S_ISDIR(there[0].st_mode):
            raise ImageRefused(f"{quote(b'/'.join(target))} is not a directory, and {quote(path)} is one")
        inner = source.enter(name)
        if inner is None:
            return  # gone since it was looked at
        with inner:
            if not follows:
                self._waiting.append((inner, b"/".join(target)))
                if not left_out:
                    self._make_waiting()
            opened = _entered(self._lowers, target) if follows or below is None else _Optional(below.enter(name))
            with opened as next_below:
                self._add_contents(inner, path, target, next_below)
            self._waiting = [one for one in self._waiting if one[0] is not inner]

    def _write(  # noqa: PLR0913  # the fields of a header
        self,
        path: bytes,
        kind: bytes,
        facts: os.stat_result,
        *,
        size: int = 0,
        target: bytes = b"",
        xattrs: dict[bytes, bytes] | None = None,
    ) -> None:
        is_link = stat.S_ISLNK(facts.st_mode)
        mode = stat.S_IMODE(facts.st_mode) if self._mode is None or is_link else self._mode
        owner = self._owner or (facts.st_uid, facts.st_gid)
        self._put(path, kind, mode=mode, owner=owner, mtime=facts.st_mtime_ns // 10**9, size=size, target=target, xattrs=xattrs)

    def _put(  # noqa: PLR0913  # the fields of a header
        self,
        path: bytes,
        kind: bytes,
        *,
        mode: int,
        owner: tuple[int, int],
        mtime: int,
        size: int = 0,
        target: bytes = b"",
        xattrs: dict[bytes, bytes] | None = None,
    ) -> None:
        def entry(time: int) -> bytes:
            return writer.entry(path, kind, mode=mode, uid=owner[0], gid=owner[1], size=size, mtime=time, target=target, xattrs=xattrs)

        self.entries += 1
        self.sum.update(entry(0))
        self._output.write(entry(mtime if self._newest < 0 else min(mtime, self._newest)))

    def _content(self, data: bytes) -> None:
        self.sum.update(data)
        super()._content(data)


class _Optional:
    """A directory that may not be there, as a context manager."""

    def __init__(self, directory: Merged | None) -> None:
        self._directory = directory

    def __enter__(self) -> Merged | None:
        return self._directory

    def __exit__(self, *_error: object) -> None:
        if self._directory is not None:
            self._directory.close()


def _entered(layers: list[int], names: list[bytes]) -> _Optional:
    return _Optional(merged.entered(layers, names))


def _opened(layers: list[int], names: list[bytes], path: bytes) -> Merged:
    found = merged.entered(layers, names)
    if found is None:
        raise ImageRefused(f"{quote(path)} is not there any more")
    return found
