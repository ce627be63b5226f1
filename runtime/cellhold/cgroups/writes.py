"""A limit as the writes that set it: planned as values, performed, traced.

`--trace` prints them.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from cellhold.cgroups import files, refusals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Write(NamedTuple):
    """One value for one file of a group.

    limit: what the user asked for ("memory=64 MiB"); note: the value, for people.
    """

    controller: str
    file: str
    value: str
    limit: str
    note: str = ""


def perform(writes: Iterable[Write], directories: Mapping[str, str]) -> None:
    """Write all values, in order. Raises InvalidSpec if the kernel refuses one.

    directories: controller -> the group's directory.
    """
    for (controller, file), group in groupby(writes, lambda write: write[:2]):
        batch = tuple(group)
        try:
            files.write(f"{directories[controller]}/{file}", *(write.value for write in batch))
        except OSError as error:
            raise refusals.by_kernel(batch[0].limit, file, batch[0].value, error) from error


def change(writes: Iterable[Write], directories: Mapping[str, str]) -> None:
    """Perform the writes on a living group, all or none.

    After a failure the files written before it get their old values back.
    """
    done: list[tuple[str, str]] = []
    try:
        for write in writes:
            path = f"{directories[write.controller]}/{write.file}"
            old = files.read(path)
            perform((write,), directories)
            if old is not None and ":" not in old:  # a table of devices is not restored by writing it back; these come last
                done.append((path, old))
    except BaseException:
        for path, old in reversed(done):
            with suppress(OSError):
                files.write(path, old)
        raise


def lines(writes: Iterable[Write], places: Mapping[str, str]) -> tuple[str, ...]:
    """Format one line per file.

    places: controller -> how to show the directory ("memory/cellhold/ab12").
    """
    shown = []
    for (controller, file), group in groupby(writes, lambda write: write[:2]):
        values = "; ".join(f"{write.value} ({write.note})" if write.note else write.value for write in group)
        shown.append(f"{places[controller]}/{file} = {values}")
    return tuple(shown)
