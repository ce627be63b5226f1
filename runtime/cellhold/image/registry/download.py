"""A blob as a stream that resumes with the next byte after a cut connection.

RFC 9110, 14.2. It resumes from the next endpoint if need be. The caller verifies the
bytes, as it may have the first ones from an earlier time: store/blobs.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cellhold.errors import ImageRefused, RegistryFailed
from cellhold.image.fields import quote
from cellhold.image.registry import reading
from cellhold.image.registry.request import Request
from cellhold.image.registry.session import pull_scopes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from urllib3 import BaseHTTPResponse

    from cellhold.image.descriptor import Descriptor
    from cellhold.image.registry.session import Session

_OK, _PARTIAL = 200, 206
_PROGRESS_BYTES = 1 << 20  # a cut after that much is a first one again
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)


def stream(sessions: Sequence[Session], repository: str, descriptor: Descriptor, start_byte: int = 0) -> Iterator[bytes]:
    """Yield the blob from `start_byte` on, from the first session that has it.

    Raises RegistryFailed, and ImageRefused for a wrong length.
    """
    at = start_byte
    for session in sessions:
        try:
            for data in _insist(session, repository, descriptor, at):
                at += len(data)
                yield data
        except (RegistryFailed, ImageRefused):
            if session is sessions[-1]:
                raise
        else:
            return


def _insist(session: Session, repository: str, descriptor: Descriptor, start_byte: int) -> Iterator[bytes]:
    """Yield the blob from `start_byte` on, from one session."""
    at, cuts, patience = start_byte, 0, session.patience
    while at < descriptor.size_bytes:
        begun = at
        try:
            for data in _once(session, repository, descriptor, at):
                at += len(data)
                yield data
        except reading.Cut as cut:
            if at == descriptor.size_bytes:
                return
            cuts = 1 if at - begun >= _PROGRESS_BYTES else cuts + 1
            if cuts >= patience.tries or session.stopped.wait(patience.pause(cuts)):
                came = f"{at} of {descriptor.size_bytes} bytes came"
                raise RegistryFailed(f"cannot get the blob {descriptor.digest} at {session.endpoint.name}: {cut}, {came}") from cut


def _once(session: Session, repository: str, descriptor: Descriptor, at: int) -> Iterator[bytes]:
    """Perform one request. Raises Cut if the body ends too early."""
    request = Request(
        method="GET",
        url=session.url(repository, f"blobs/{descriptor.digest}"),
        aim=f"get the blob {descriptor.digest}",
        scopes=pull_scopes(repository),
        expected=(_OK, _PARTIAL) if at else (_OK,),
        headers={"Range": f"bytes={at}-"} if at else {},
    )
    with session.ask(request) as response:
        known = _has_range(response, descriptor, at)
        _check_length(response, descriptor, at if known else 0)
        left, skipped = descriptor.size_bytes - at, 0 if known else at
        for piece in reading.pieces(response, session.patience):
            data = piece[skipped:] if skipped else piece
            skipped -= len(piece) - len(data)
            left -= len(data)
            if left < 0:
                response.close()
                raise ImageRefused(f"cannot use the blob {descriptor.digest}: it goes on after {descriptor.size_bytes} bytes")
            if data:
                yield data
    if left:
        raise reading.Cut("the answer ended early")


def _has_range(response: BaseHTTPResponse, descriptor: Descriptor, at: int) -> bool:
    """Return whether the body begins at `at`.

    False for a server that does not support ranges and sends everything.
    """
    if response.status != _PARTIAL:
        return at == 0
    said = response.headers.get("Content-Range", "")
    match = _RANGE.fullmatch(said)
    if match is None or int(match[1]) != at:
        raise RegistryFailed(f"cannot get the blob {descriptor.digest} from byte {at} on: the answer has the range {quote(said)}")
    return True


def _check_length(response: BaseHTTPResponse, descriptor: Descriptor, at: int) -> None:
    length = response.headers.get("Content-Length")
    if length is not None and length != str(descriptor.size_bytes - at):
        raise ImageRefused(
            f"cannot use the blob {descriptor.digest}: the registry has {quote(length)} bytes of it from byte {at} on, "
            f"its descriptor says {descriptor.size_bytes - at}"
        )
