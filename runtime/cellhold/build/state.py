"""An unfinished image: layers, config and history; and the key of all its steps.

It is a value: each step makes a new one.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from cellhold.build.settings import SCRATCH
from cellhold.build.variables import Variables
from cellhold.errors import InvalidSpec
from cellhold.image import config, host, ingest, stored, writing
from cellhold.image.config import History
from cellhold.image.descriptor import Descriptor
from cellhold.image.model import DEFAULT_PATH, Image
from cellhold.image.platform import Platform
from cellhold.store.builds import Taken

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cellhold.image.layer_making import MadeLayer
    from cellhold.image.stored import StoredImage
    from cellhold.spec.digest import Digest
    from cellhold.store.home import Home

_PACKAGE_LISTS = ("/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite", "/lib/apk/db/installed", "/var/lib/pacman/local")
_FORMAT = "1"  # of the keys: another one when a step comes to mean something else


@dataclass(frozen=True, kw_only=True)
class State:
    """The image after a step.

    base: None for FROM scratch.
    settings: the "config" object of the image's config, in Docker's words.
    history: what was added to the base's.
    created: of the last layer, seconds since the epoch.
    key: of all steps so far, with what they depended on.
    """

    base: StoredImage | None
    platform: Platform
    on_host: bool = False
    layers: tuple[Descriptor, ...] = ()
    diff_ids: tuple[Digest, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    author: str | None = None
    history: tuple[History, ...] = ()
    history_bytes: int = 0
    created: float = 0.0
    key: str = ""

    @classmethod
    def from_base(cls, base: StoredImage | None, platform: Platform) -> Self:
        """Return the state that a stage begins with: FROM an image, or from scratch."""
        if base is None:
            return cls(base=None, platform=platform, settings=SCRATCH, key=digest(_FORMAT, "scratch", str(platform)))
        document = json.loads(base.config.raw)
        return cls(
            base=base,
            platform=base.config.platform,
            on_host=base.on_host,
            layers=base.manifest.layers,
            diff_ids=base.config.diff_ids,
            settings=_read(document.get("config") or {}),
            author=base.config.author,
            created=base.config.created.timestamp() if base.config.created else 0.0,
            key=digest(_FORMAT, str(base.id), *(["host"] if base.on_host else [])),
        )

    @classmethod
    def of_host(cls, home: Home) -> Self:
        """Return the state after FROM host: this machine's own files as they are now."""
        found = host.image(home)
        variables = Variables(f"{name}={value}" for name, value in found.env.items())
        settings = {"Env": variables, "WorkingDir": found.cwd, "Cmd": list(found.args)}
        return cls(
            base=None,
            platform=Platform.host(),
            on_host=True,
            settings=settings,
            key=digest(_FORMAT, "host", str(found.stacks), _installed()),
        )

    @property
    def chain_ids(self) -> tuple[Digest, ...]:
        """The chain ids of its layers, lowest first."""
        return config.chain_ids(self.diff_ids)

    @property
    def env(self) -> dict[str, str]:
        """The environment of programs that run in it."""
        return {**Variables.from_config(self.settings.get("Env")).by_name}

    def text(self, name: str) -> str:
        """Return a setting that is a text: "User", "WorkingDir"."""
        return str(self.settings.get(name) or "")

    def trees(self, home: Home) -> tuple[Path, ...]:
        """Return what the root is made of.

        These are the directories of its layers, topmost first, and for FROM host what
        is below them.
        """
        return (*self._layer_trees(home), *((host.skeleton(home),) if self.on_host else ()))

    def _layer_trees(self, home: Home) -> tuple[Path, ...]:
        return tuple(home.layers.tree(chain) for chain in reversed(self.chain_ids))

    def next_key(self, *words: str) -> str:
        """Return the key of a step on top, which depends on `words`."""
        return digest(self.key, *words)

    def after(
        self, key: str, taken: Taken, *, created_by: str, settings: Mapping[str, Any] | None = None, author: str | None = None
    ) -> Self:
        """Return the state with a step on top."""
        entry = History(
            created=datetime.fromtimestamp(taken.created, UTC),
            created_by=created_by,
            author=author,
            empty_layer=taken.digest is None,
        )
        history_bytes = self.history_bytes + len(created_by)
        if history_bytes > config.MOST_BYTES:  # each RUN's has all arguments, so that they would be written down again and again
            raise InvalidSpec(f"cannot keep the history of the image: it has more than {config.MOST_BYTES} characters")
        grown = replace(
            self,
            settings=self.settings if settings is None else settings,
            author=author or self.author,
            history=(*self.history, entry),
            history_bytes=history_bytes,
            created=taken.created,
            key=key,
        )
        if taken.digest is None or taken.diff_id is None:
            return grown
        layer = Descriptor(media_type=taken.media_type, digest=taken.digest, size_bytes=taken.size_bytes)
        return replace(grown, layers=(*self.layers, layer), diff_ids=(*self.diff_ids, taken.diff_id))

    def taken(self, layer: MadeLayer | None, created: float) -> Taken:
        """Return what the cache keeps of a step on top that has made `layer`."""
        if layer is None:
            return Taken(created=created)
        return Taken(
            created=created,
            chain_id=config.chain_ids((*self.diff_ids, layer.diff_id))[-1],
            diff_id=layer.diff_id,
            digest=layer.descriptor.digest,
            size_bytes=layer.descriptor.size_bytes,
            media_type=layer.descriptor.media_type,
        )

    def image(self, home: Home, name: str) -> Image:
        """Return the image as a container sees it."""
        return Image(
            name=name,
            stacks=stored.stacks(self._layer_trees(home), home, on_host=self.on_host),
            env=MappingProxyType({"PATH": DEFAULT_PATH, **self.env}),
            cwd="/" + self.text("WorkingDir").lstrip("/"),
            user=self.text("User"),
            chain_ids=self.chain_ids[::-1],
        )

    def arrived(self, home: Home, *, names: Iterable[str], derived: tuple[str, Digest] | None = None) -> StoredImage:
        """Store the image under these full names, and return it.

        derived: as of ingest.arrive().
        """
        now = datetime.fromtimestamp(self.created, UTC)
        if self.base is not None:
            dropped = dict.fromkeys(json.loads(self.base.config.raw).get("config") or {})
            made = writing.changed_config(
                self.base.config,
                diff_ids=self.diff_ids,
                history=self.history,
                created=now,
                settings={**dropped, **self.settings},
                author=self.author,
                on_host=self.on_host,
            )
        else:
            made = writing.new_config(
                self.platform,
                diff_ids=self.diff_ids,
                history=self.history,
                created=now,
                settings=self.settings,
                author=self.author,
                on_host=self.on_host,
            )
        home.blobs.put(made.raw)
        described = writing.config_descriptor(made)
        base = None if self.base is None else self.base.manifest
        manifest = writing.new_manifest(described, self.layers) if base is None else writing.changed_manifest(base, described, self.layers)
        ingest.arrive(manifest, ingest.Nowhere(), home, names=names, on_host=self.on_host, derived=derived)
        return stored.read(manifest.digest, home, home.names.read())


def _read(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "Env": Variables.from_config(settings["Env"])} if settings.get("Env") else settings


def _installed() -> str:
    """Return a text that changes when packages of this machine change.

    What else is changed by hand is not noticed.
    """
    for path in _PACKAGE_LISTS:
        with suppress(OSError):
            facts = os.stat(path)
            return f"{facts.st_mtime_ns} {facts.st_size}"
    return ""


def digest(*words: str) -> str:
    """Return the key of these words: no two lists of words have the same."""
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()
