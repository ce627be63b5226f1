"""A layer that a test unpacks: where to, and what comes of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cellhold.errors import ImageRefused
from cellhold.layer.unpack import Unpacking
from cellhold.store import tree
from tars import Tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cellhold.layer.unpack import Unpacked


@pytest.fixture
def layer() -> Iterator[Path]:
    """An empty directory for a layer, on a disk."""
    path = Path(subprocess.check_output(["mktemp", "-d", "/var/tmp/chlayerXXXXXX"], text=True).strip())
    yield path / "tree"
    tree.remove(path)


def unpack(into: Path, data: bytes | Tar, parents: Callable[[], Sequence[Path]] = tuple, **options: Any) -> Unpacked:
    """The layer in a directory of this name, which is made."""
    into.mkdir(mode=0o755)
    with Unpacking(into, **options) as unpacking:
        unpacking.feed(data.content() if isinstance(data, Tar) else data)
        return unpacking.finish(parents)


def refused(into: Path, data: bytes | Tar, **options: Any) -> str:
    """The sentence with which it is refused."""
    with pytest.raises(ImageRefused) as error:
        unpack(into, data, **options)
    return str(error.value)
