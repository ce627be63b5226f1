"""An image with a kernel layer on top: made once per image, found by its inputs.

It has no name, which could be given to another image too; `cellhold images` and
`layers` show it by its id.

A process of the host kernel makes it (jobs/kernel_layer.py). The image's own Python
installs the packages; it is untrusted, and the notebook's limits hold for it.
CELLHOLD_WHEELS, a directory with wheels or the URL of an index, is for machines without
the internet, or with an index of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cellhold.build import run_step
from cellhold.build.run_step import Program
from cellhold.build.state import State
from cellhold.errors import BuildFailed, CellholdError, InvalidSpec
from cellhold.image import ingest, stored
from cellhold.image.platform import Platform
from cellhold.spec.spec import Mount
from cellhold.store import locks
from cellhold_kernel.images import unpacking, wheels
from cellhold_kernel.images.choosing import NATIVE, KernelLayer, choose
from cellhold_kernel.images.finding import find
from cellhold_kernel.images.found import version_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellhold.build.options import Options
    from cellhold.image.stored import StoredImage
    from cellhold.store.home import Home
    from cellhold_kernel.images.found import Python

VARIABLE = "CELLHOLD_WHEELS"
_WHEELS = "/dev/shm/wheels"  # noqa: S108  # the container's own
_URL = ("http://", "https://")


def key(image: StoredImage, python: Python) -> str:
    """Return the key by which the image with the layer is found. Raises NotSupported.

    It depends on the image, the Python and the table of wheels.
    """
    pins = wheels.pins(wheels.target(python))
    inputs = ["kernel layer", str(image.id), python.path, sorted(pins.items()), unpacking.INSTALL]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def derive(image_name: str, home: Home, around: Options, tell: Callable[[str], object]) -> StoredImage:
    """Return the image with a kernel layer; make it if it does not exist.

    around: of the container that makes it. tell: called with a sentence for each step.
    Raises CellholdError.
    """
    image = stored.find(image_name, home)
    prepared = stored.prepared(image, home, name=image_name)
    choice = choose(find(prepared.stacks[0].layers, env=prepared.env, user=prepared.user, cwd=prepared.cwd), NATIVE)
    if not isinstance(choice, KernelLayer):
        raise CellholdError(f"cannot add a kernel to {image_name}: it has one")
    wanted = key(image, choice.python)
    lock = home.root / "kernel-layers.lock"
    with locks.held(lock, locks.file(lock)):
        if (derived := stored.derived(wanted, home)) is not None:
            return derived
        tell(f"fetching a kernel for {version_text(choice.python.version)}")
        index, directory = _source(os.environ.get(VARIABLE, ""))
        fetched = wheels.fetch(choice.python, home.root / "wheels", index=index, wheels=directory, store=home.root)
        tell(f"installing {len(fetched)} packages with {choice.python.path} of the image")
        with ingest.making(home):
            return _layered(image, choice.python, fetched[0].parent, home, wanted=wanted, around=around)


def _source(given: str) -> tuple[str | None, Path | None]:
    """Return what VARIABLE names: an index, a directory, or neither.

    Raises InvalidSpec for a relative directory.
    """
    if given.startswith(_URL):
        return given, None
    if given and not given.startswith("/"):
        raise InvalidSpec(
            f"cannot use {VARIABLE}={given[:200]!r}: neither a URL nor an absolute path",
            hint="a relative one would lead into the notebook's folder",
        )
    return None, Path(given) if given else None


def _layered(image: StoredImage, python: Python, directory: Path, home: Home, *, wanted: str, around: Options) -> StoredImage:  # noqa: PLR0913
    state = State.from_base(image, Platform.host())
    program = Program(
        args=unpacking.install_command(python, wheels=_WHEELS),
        env={},
        mounts=(Mount(kind="bind", source=str(directory), target=_WHEELS, read_only=True),),
        user="0:0",
    )
    try:
        layer = run_step.run(program, state, home, name=image.name, options=around, tell=lambda _data: None)
    except BuildFailed as error:
        reason = str(error) if error.hint or not error.last else error.last[-1]
        raise CellholdError(
            f"cannot install a kernel with {python.path} of the image: {reason}",
            hint=error.hint or "%container kernel=shell, if the image has a shell",
        ) from error
    words = f"cellhold kernel layer: ipykernel for {version_text(python.version)} in {unpacking.TARGET}"
    state = state.after(state.next_key("KERNEL", wanted), state.taken(layer, time.time()), created_by=words)
    return state.arrived(home, names=[], derived=(wanted, image.digest))
