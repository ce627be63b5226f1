"""Images and volumes as objects, for Python and for plain notebooks: what `cellhold images` and `cellhold volume` do, and how it looks.

from cellhold import Detached, Image, Spec, Volume

Image.find("debian:12")                                  # its layers, whose they are, who shares them
box = Detached.create(Spec(image="debian:12", args=("sleep", "100"), name="mine"))
box.start()
box                                                      # its states, the present one lit
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Self

from cellhold.container import display
from cellhold.image import description, stored
from cellhold.rootfs import volumes
from cellhold.spec.units import size
from cellhold.store import record
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellhold.image.stored import StoredImage
    from cellhold.store.home import Home

_LONGEST = 60


class Image:
    """An image of the store. name: one of its names, else its id; id: of its config; size_bytes: of the files in its layers."""

    def __init__(self, found: StoredImage, home: Home) -> None:
        """The one that find() and every() have found."""
        self._found, self._home = found, home
        self.name, self.id = found.name, str(found.id)

    @classmethod
    def find(cls, name: str, home: Home | None = None) -> Self:
        """The image of that name, or whose id begins so. Raises ImageNotFound, InvalidSpec."""
        home = home or open_home()
        return cls(stored.find(name, home), home)

    @classmethod
    def every(cls, home: Home | None = None) -> list[Self]:
        """All of them, the newest first."""
        home = home or open_home()
        return [cls(found, home) for found in stored.every(home)]

    @classmethod
    def pull(cls, name: str, home: Home | None = None) -> Self:
        """Get it from its registry. Raises RegistryFailed, ImageRefused, ImageNotFound."""
        from cellhold.image.pulling import pull  # noqa: PLC0415  # HTTP takes long to load

        home = home or open_home()
        return cls(pull(name, home=home), home)

    @property
    def size_bytes(self) -> int:
        """See above."""
        return description.size_bytes(self._found, self._home)

    def layers(self) -> list[tuple[str, int, int]]:
        """Instruction, bytes, and by how many containers it is used, of each layer, the lowest first."""
        used = [chain for known in record.list_readable(self._home.containers) for chain in known.layers]
        made = description.by_layer(self._found, self._home)
        return [(entry.text, entry.size_bytes, used.count(str(entry.layer))) for entry in made]

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [(text[:_LONGEST], size(count), str(users)) for text, count, users in self.layers()]
        return [("LAYER", "SIZE", "CONTAINERS"), *reversed(rows)]

    def __repr__(self) -> str:
        """Its name and its layers, the topmost first."""
        return f"image {self.name}, {size(self.size_bytes)}\n{display.table_text(self._rows())}"

    def _repr_html_(self) -> str:
        title = escape(f"image {self.name}, {size(self.size_bytes)}")
        return f"<div>{title}</div>{display.table_html(self._rows())}"


class Volume:
    """A volume, made where it is missing. name; path: of its directory on the host, as root or its user sees it."""

    def __init__(self, name: str, home: Home | None = None, *, labels: Mapping[str, str] | None = None) -> None:
        """Raises InvalidSpec for what is no name."""
        self._home = home or open_home()
        self.name = volumes.create(name, self._home, labels=labels).name

    @property
    def path(self) -> Path:
        """See above. Raises VolumeNotFound."""
        return volumes.find(self.name, self._home).data

    def users(self) -> list[str]:
        """The names of the containers that have it."""
        return [known.name for known in volumes.users(self.name, self._home)]

    def remove(self) -> None:
        """Remove it, and what is in it. Raises NotAllowed where a container has it."""
        volumes.remove(self.name, self._home)

    def __repr__(self) -> str:
        """Its name, what it takes, and who has it."""
        users = ", ".join(self.users())
        return (
            f"volume {self.name}, {size(volumes.find(self.name, self._home).used_bytes())}, {f'of {users}' if users else 'nobody has it'}"
        )

    def _repr_html_(self) -> str:
        return f"<div>{escape(repr(self))}</div>"
