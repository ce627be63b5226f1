"""push(): send an image of the store to a registry.

It is sent byte for byte, so that its digest does not change.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cellhold.errors import InvalidSpec
from cellhold.image import stored
from cellhold.image.layer_ingest import AT_ONCE
from cellhold.image.progress import Doing, Progress, nobody
from cellhold.image.reference import Reference
from cellhold.image.registry import Registry, Way
from cellhold.image.side_by_side import SideBySide
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from cellhold.image.descriptor import Descriptor
    from cellhold.image.progress import Tell
    from cellhold.spec.digest import Digest
    from cellhold.store.home import Home

_CAME = {Way.SENT: Doing.PUSHED, Way.MOUNTED: Doing.MOUNTED, Way.WAS_THERE: Doing.EXISTS}


def push(text: str, *, home: Home | None = None, tell: Tell = nobody) -> Digest:
    """Push the image called `text` and return the digest that it has there.

    It goes to the registry in its name. Blobs that are there already are not sent;
    those that another repository of the same registry has are mounted from it.
    Raises ImageNotFound, InvalidSpec, RegistryFailed.
    """
    wanted = Reference.parse(text)
    if wanted.tag is None:
        raise InvalidSpec(f"cannot push {text}: no tag to push it to", hint=f"cellhold tag {text} {wanted.repository}:TAG, and push that")
    home = home or open_home()
    with home.used(), Registry(wanted.registry) as registry:
        found = stored.find(text, home)
        stored.check_whole(found, text)
        known = [Reference.parse(name) for name in (*found.came_as, *found.names)]
        sibling = next((one.repository for one in known if one.registry == wanted.registry and one.repository != wanted.repository), None)

        def send(blob: Descriptor) -> None:
            told = partial(Progress, digest=blob.digest, total_bytes=blob.size_bytes)
            way = registry.push_blob(
                wanted.repository,
                blob,
                partial(home.blobs.open, blob.digest),
                mount_from=sibling,
                tell=lambda done: _say(tell, told(doing=Doing.PUSHING, done_bytes=done)),
            )
            tell(told(doing=_CAME[way], done_bytes=blob.size_bytes))

        work = SideBySide(at_once=AT_ONCE, stop=registry.close)
        for blob in dict.fromkeys((*found.manifest.layers, found.manifest.config)):
            work.add(partial(send, blob))
        work.perform()
        registry.push_manifest(wanted.repository, wanted.tag, found.manifest.raw, found.manifest.media_type)
    return found.digest


def _say(tell: Tell, progress: Progress) -> None:
    tell(progress)
