"""Images and volumes as objects, for Python programs and plain notebooks.

They do what `cellhold images` and `cellhold volume` do, and show themselves.

from cellhold import Detached, Image, Spec, Volume

Image.find("debian:12")          # its layers, their owners, who shares them
box = Detached.create(Spec(image="debian:12", args=("sleep", "100"), name="mine"))
box.start()
box                              # its states, the present one lit
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
    """An image of the store.

    name: one of its names, else its id; id: of its config; size_bytes: of the files in
    its layers.
    """

    def __init__(self, found: StoredImage, home: Home) -> None:
        """Use what find() and every() have found."""
        self._found, self._home = found, home
        self.name, self.id = found.name, str(found.id)

    @classmethod
    def find(cls, name: str, home: Home | None = None) -> Self:
        """Return the image of that name, or whose id begins with it.

        Raises ImageNotFound, InvalidSpec.
        """
        home = home or open_home()
        return cls(stored.find(name, home), home)

    @classmethod
    def every(cls, home: Home | None = None) -> list[Self]:
        """Return all images, newest first."""
        home = home or open_home()
        return [cls(found, home) for found in stored.every(home)]

    @classmethod
    def pull(cls, name: str, home: Home | None = None) -> Self:
        """Pull it from its registry.

        Raises RegistryFailed, ImageRefused, ImageNotFound.
        """
        from cellhold.image.pulling import pull  # noqa: PLC0415  # HTTP takes long to load

        home = home or open_home()
        return cls(pull(name, home=home), home)

    @property
    def size_bytes(self) -> int:
        """The size of the files in its layers, in bytes."""
        return description.size_bytes(self._found, self._home)

    def layers(self) -> list[tuple[str, int, int]]:
        """Return instruction, bytes and number of using containers of each layer.

        The lowest first.
        """
        used = [chain for known in record.list_readable(self._home.containers) for chain in known.layers]
        made = description.by_layer(self._found, self._home)
        return [(entry.text, entry.size_bytes, used.count(str(entry.layer))) for entry in made]

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [(text[:_LONGEST], size(count), str(users)) for text, count, users in self.layers()]
        return [("LAYER", "SIZE", "CONTAINERS"), *reversed(rows)]

    def __repr__(self) -> str:
        """Format its name and its layers, the topmost first."""
        return f"image {self.name}, {size(self.size_bytes)}\n{display.table_text(self._rows())}"

    def _repr_html_(self) -> str:
        title = escape(f"image {self.name}, {size(self.size_bytes)}")
        return f"<div>{title}</div>{display.table_html(self._rows())}"


class Volume:
    """A volume, made if it is missing.

    name; path: of its directory on the host, as root or its user sees it.
    """

    def __init__(self, name: str, home: Home | None = None, *, labels: Mapping[str, str] | None = None) -> None:
        """Find or make the volume. Raises InvalidSpec for an invalid name."""
        self._home = home or open_home()
        self.name = volumes.create(name, self._home, labels=labels).name

    @property
    def path(self) -> Path:
        """The directory on the host. Raises VolumeNotFound."""
        return volumes.find(self.name, self._home).data

    def users(self) -> list[str]:
        """Return the names of the containers that use it."""
        return [known.name for known in volumes.users(self.name, self._home)]

    def remove(self) -> None:
        """Remove the volume and its content. Raises NotAllowed if a container uses it."""
        volumes.remove(self.name, self._home)

    def __repr__(self) -> str:
        """Format its name, its size, and who uses it."""
        users = ", ".join(self.users())
        return (
            f"volume {self.name}, {size(volumes.find(self.name, self._home).used_bytes())}, {f'of {users}' if users else 'nobody has it'}"
        )

    def _repr_html_(self) -> str:
        return f"<div>{escape(repr(self))}</div>"
