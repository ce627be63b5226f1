"""Open the host directories that a notebook was granted by volume= and image=.

If the machine's policy lists directories, the listed one is opened as the administrator
wrote it, and what the notebook asks for below it by openat2(2), without following a
link. That is the check: the descriptor is what is mounted, and the name is not looked
up again. Called by session.py and magics/run.py with what the gate has granted, before
a container is made of it; it may not block for long, and does nothing but open.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.image import directory as images
from cellhold.linux import hostpath
from cellhold.rootfs.sources import open_sources
from cellhold.spec.image_names import is_oci
from cellhold_kernel.gate import listed
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.policy import real

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cellhold.errors import CellholdError
    from cellhold.linux.hostpath import HostPath, Identity
    from cellhold.spec.spec import Mount, Spec
    from cellhold_kernel.gate.granted import GrantedContainer, GrantedRun
    from cellhold_kernel.settings.policy import Policy
    from cellhold_kernel.settings.workspace import Workspace

    Granting = TypeVar("Granting", GrantedContainer, GrantedRun)

_SHOWN = 200
_GLOB = re.compile(r"[*?[]")


def opened(granted: Granting, rules: Policy, workspace: Workspace | None) -> Granting:
    """Return the grant with descriptors in its spec.

    rules: the policy that it was granted by. Raises what hold() raises.
    """
    folder = None if workspace is None or workspace.folder is None else workspace.folder.opened
    return replace(granted, spec=hold(granted.spec, rules, folder))


def hold(spec: Spec, rules: Policy, folder: HostPath | None = None) -> Spec:
    """Return the spec with a descriptor for each directory of the host.

    Descriptors that it has already are kept. folder: the notebook's, where its cells
    may put links. Raises NotAllowed for a directory outside the policy's, InvalidSpec
    for one that does not exist, ImageNotFound.
    """
    writable = _writable(rules, folder)
    mounts = tuple(_volume(entry, rules, writable) for entry in spec.mounts)
    if spec.rootfs is not None or is_oci(spec.image) or spec.image == "host":
        return open_sources(replace(spec, mounts=mounts))
    return open_sources(replace(spec, mounts=mounts, rootfs=_rootfs(spec.image, rules, writable)))


def _writable(rules: Policy, folder: HostPath | None) -> set[Identity]:
    """Return the directories where a notebook may put a link, if known here."""
    writable = set() if folder is None else {folder.identity}
    for path, _, way in (entry.partition(":") for entry in rules.volumes or ()):
        if way == "rw" and os.path.isabs(path):
            with suppress(OSError):  # it does not exist
                writable.add(hostpath.opened(path).identity)
    return writable


def _volume(entry: Mount, rules: Policy, writable: set[Identity]) -> Mount:
    if entry.kind not in ("bind", "overlay") or entry.opened is not None or rules.volumes is None:
        return entry
    source = str(entry.source)
    entries = (text.partition(":")[::2] for text in rules.volumes)
    directories = [path for path, way in entries if way == "rw" or entry.read_only or entry.kind == "overlay"]
    way = "ro" if entry.read_only else "O" if entry.kind == "overlay" else "rw"
    asked = f"volume={source}:{entry.target}:{way}"
    candidates = [pair for path in directories for pair in _below(source, path)]
    return replace(entry, opened=_open_first(asked, candidates, writable, rules.above(asked, "volumes", rules.volumes)))


def _rootfs(name: str, rules: Policy, writable: set[Identity]) -> HostPath:
    if rules.images is None:
        return images.look_up(name)
    asked = f"image={name}"
    refusal = rules.above(asked, "images", rules.images)
    if ".." in name.split("/"):
        raise refusal
    candidates = [
        pair
        for path in _spellings(name)
        for pattern in rules.images
        if fnmatchcase(path, pattern)
        for pair in _below(path, _fixed_part(pattern))
    ]
    return _open_first(asked, candidates, writable, refusal)


def _fixed_part(pattern: str) -> str:
    """Return the directory of a pattern before its first component with a wildcard.

    The whole pattern if it has none.
    """
    special = _GLOB.search(pattern)
    return pattern if special is None else pattern[: special.start()].rpartition("/")[0] or "/"


def _spellings(path: str) -> Iterable[str]:
    """Return the path as it was written, and with its links resolved.

    Either is opened without following a link.
    """
    return dict.fromkeys((os.path.abspath(path), real(path)))


def _below(path: str, directory: str) -> Iterator[tuple[str, str]]:
    """Yield (listed directory, path below it) for each spelling that matches."""
    for above in _spellings(directory):
        for below in _spellings(path):
            if f"{below}/".startswith(f"{above.rstrip('/')}/"):
                yield directory, below[len(above.rstrip("/")) + 1 :]


def _open_first(asked: str, candidates: Iterable[tuple[str, str]], writable: set[Identity], refusal: NotAllowed) -> HostPath:
    """Open the first of the candidates that can be opened.

    candidates: (listed directory, path below it). Raises `refusal` if there are none,
    else the error of the last one.
    """
    error: CellholdError = refusal
    for directory, below in dict.fromkeys(candidates):
        try:
            return listed.opened(directory, writable).beneath(below)
        except FileNotFoundError as reason:
            error = InvalidSpec(f"cannot use {escape(asked, most=_SHOWN)}: {reason.strerror}")
        except OSError as reason:
            error = NotAllowed(
                f"cannot use {escape(asked, most=_SHOWN)}: {reason.strerror}",
                hint=f"no link is followed below {directory}, nor where notebooks can write: name the directory that it leads to",
            )
    raise error
