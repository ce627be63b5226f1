"""Unpack one layer: a program of the inner half.

Compressed bytes come on descriptor 0; the directory is the root of the file system.
"""

from __future__ import annotations

import os

from cellhold.layer.worker import confinement, hardlinks
from cellhold.layer.worker.directory_tree import DIRECTORY
from cellhold.layer.worker.extractor import Extractor
from cellhold.layer.worker.stream import Stream
from cellhold.layer.worker.tar import Reader

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from cellhold.layer.worker.job import Job
    from cellhold.layer.worker.report import Report


def run(job: Job, trees: list[int], report: Report) -> None:
    """Do it and say "done"; raises ImageRefused, OSError."""
    for fd in trees:
        os.close(fd)
    stream = Stream(0, job["bounds"])
    confinement.no_more_processes()
    extractor = Extractor(os.open("/", DIRECTORY), stream, ids=int(job["options"]["ids"]), most=job["bounds"]["entries"])
    for entry in Reader(stream, job["bounds"]).entries():
        extractor.add(entry)
    hardlinks.finish(extractor, lowers(report) if hardlinks.needs_lowers(extractor) else [])
    counts = extractor.counts
    numbers = (stream.count, counts.entries, counts.whiteouts, counts.opaques, counts.devices, counts.owners, counts.xattrs)
    report.say("done", stream.hash.hexdigest(), stream.compression, *map(str, numbers))


def lowers(report: Report) -> list[int]:
    """Request the layers below, and wait until they are there."""
    report.say("needs")
    return [os.open(".", DIRECTORY, dir_fd=fd) for fd in report.descriptors()]
