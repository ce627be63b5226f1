"""The program of a container that answers cells: a Jupyter kernel, or a shell.

A shell of the image is driven from outside. Here is found which of them an image has;
nothing is started.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cellhold import image
from cellhold.errors import InvalidSpec, NotSupported
from cellhold.spec.image_names import is_oci
from cellhold.store.home import open_home
from cellhold_kernel.transport import exchange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellhold.image.model import Image
    from cellhold.spec.spec import Spec
    from cellhold_kernel.images.found import Found, KernelSpec, Python

_HOST_SHELL = "/bin/sh"
_IPYKERNEL = "ipykernel"


@dataclass(frozen=True, kw_only=True)
class InsideProgram:
    """A Jupyter kernel in the container.

    argv: complete, with the connection file that it finds there. env: on top of the
    spec's. image: to run it in, instead of the spec's: the id of that one with a kernel
    layer on top. by_signal: interrupted by SIGINT, not by a message. python:
    which packages are for; None: the one that runs us, of the host image.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    python: Python | None = None
    by_signal: bool = False


@dataclass(frozen=True, kw_only=True)
class ShellProgram:
    """A shell of the image that a process on the host drives.

    argv: its absolute path; shell/lines.py adds what makes it interactive.
    """

    argv: tuple[str, ...]
    python: Python | None = None


@dataclass(frozen=True, kw_only=True)
class LayerMissing:
    """The image has a Python and no kernel, and there is no kernel layer for it yet.

    images/kernel_layer.py makes one.
    """

    image: str


Program = InsideProgram | ShellProgram


def program_for(spec: Spec, arguments: Sequence[str] = (), *, wanted: str | None = None) -> Program | LayerMissing:
    """Return what to run for `spec`, whose image is here.

    arguments: for an ipykernel, as nbclient passes them. wanted: the value of
    `kernel=`. Raises InvalidSpec, NotSupported, ImageNotFound, CellholdError: see
    images/choosing.py.
    """
    if spec.image == "host":
        return _of_host(arguments, wanted)
    from cellhold_kernel.images import unpacking  # noqa: PLC0415  # what the host image does without, at every start
    from cellhold_kernel.images.choosing import OwnKernel, Shell, choose  # noqa: PLC0415
    from cellhold_kernel.images.finding import find  # noqa: PLC0415

    home = open_home()
    seen: Image = image.for_spec(spec, home)
    if len(seen.stacks) > 1:  # built on the host image (FROM host)
        return _of_host(arguments, wanted)
    env = {**seen.env, **spec.env}
    found = find(seen.stacks[0].layers, env=env, user=seen.user, cwd=seen.cwd)
    choice = choose(found, wanted)
    if isinstance(choice, OwnKernel):
        return _inside(choice.spec, arguments, env, python=_python_of(choice.spec, found))
    if isinstance(choice, Shell):
        return ShellProgram(argv=(choice.path,), python=_first(found))
    if not is_oci(spec.image):
        raise NotSupported(
            f"cannot use image={spec.image}: it has a Python and no kernel, and a directory gets none",
            hint="tar -c . | cellhold import - NAME makes an image of it; or install ipykernel in it",
        )
    from cellhold.image import stored  # noqa: PLC0415
    from cellhold_kernel.images.kernel_layer import key  # noqa: PLC0415

    derived = stored.derived(key(stored.find(spec.image, home), choice.python), home)
    if derived is None:
        return LayerMissing(image=spec.image)
    return _inside(unpacking.kernelspec(choice.python), arguments, env, derived=str(derived.id), python=choice.python)


def _first(found: Found) -> Python | None:
    return next((python for python in found.pythons if python.fault is None), None)


def _python_of(spec: KernelSpec, found: Found) -> Python | None:
    """Return the Python that a kernelspec starts, else the image's first one."""
    named = (python for python in found.pythons if spec.argv and spec.argv[0] in (python.path, python.real))
    return next(named, None) or _first(found)


def _of_host(arguments: Sequence[str], wanted: str | None) -> Program:
    """Return this machine's own: the host kernel's Python, with its packages."""
    if wanted == "shell":
        return ShellProgram(argv=(_HOST_SHELL,))
    if wanted not in {None, "python3"}:
        raise InvalidSpec(
            f"cannot use kernel={wanted}: the host image has no such kernel", hint="%container kernel=python3 or kernel=shell"
        )
    return InsideProgram(argv=(sys.executable, "-m", "ipykernel_launcher", "-f", exchange.CONNECTION_FILE, *arguments))


def _inside(
    spec: KernelSpec, arguments: Sequence[str], env: Mapping[str, str], *, python: Python | None, derived: str | None = None
) -> InsideProgram:
    """Return a kernelspec's command; only an ipykernel gets the front end's arguments."""
    argv = spec.command(exchange.CONNECTION_FILE)
    is_ipykernel = any(_IPYKERNEL in word for word in argv)
    whole = spec.environment(env)
    return InsideProgram(
        argv=(*argv, *(arguments if is_ipykernel else ())),
        env={name: whole[name] for name in spec.env},
        image=derived,
        python=python,
        by_signal=spec.interrupt_mode == "signal" and not is_ipykernel,
    )
