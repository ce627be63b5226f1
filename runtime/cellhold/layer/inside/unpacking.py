"""Unpack one layer: the inner half's program. Compressed bytes come on descriptor 0; the directory is the root of the file system."""

from __future__ import annotations

import os

from cellhold.layer.inside import late, walls
from cellhold.layer.inside.nodes import DIRECTORY
from cellhold.layer.inside.place import Place
from cellhold.layer.inside.stream import Stream
from cellhold.layer.inside.tar import Reader

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from cellhold.layer.inside.job import Job
    from cellhold.layer.inside.report import Report


def run(job: Job, trees: list[int], told: Report) -> None:
    """Do it and say "done"; raises ImageRefused, OSError."""
    for fd in trees:
        os.close(fd)
    stream = Stream(0, job["bounds"])
    walls.no_more_processes()
    place = Place(os.open("/", DIRECTORY), stream, ids=int(job["options"]["ids"]), most=job["bounds"]["entries"])
    for entry in Reader(stream, job["bounds"]).entries():
        place.add(entry)
    late.finish(place, lowers(told) if late.needs_lowers(place) else [])
    counts = place.counts
    numbers = (stream.count, counts.entries, counts.whiteouts, counts.opaques, counts.devices, counts.owners, counts.xattrs)
    told.say("done", stream.hash.hexdigest(), stream.compression, *map(str, numbers))


def lowers(told: Report) -> list[int]:
    """Ask for the layers below; this waits until they are there."""
    told.say("needs")
    return [os.open(".", DIRECTORY, dir_fd=fd) for fd in told.descriptors()]
