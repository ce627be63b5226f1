"""Cellhold: containers from namespaces, cgroups and overlays of layers, in Python.

    from cellhold import Container, Limits, Spec

    spec = Spec(image="host", args=("true",), limits=Limits(memory_bytes=64 << 20))
    with Container.create(spec) as container:
        container.start()
        print(container.wait().sentence())

A Container ends with the process that made it. `Detached` ones outlive it; `Image` and
`Volume` are what they are made of and keep.

It is a library first. This package knows nothing of Jupyter (that is
`cellhold_kernel`). It imports nothing by itself: the program that becomes the container
starts from here too, and its start-up time is every container's.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from cellhold.container.container import Container as Container
    from cellhold.container.detached import Detached as Detached
    from cellhold.errors import CellholdError as CellholdError
    from cellhold.objects import Image as Image
    from cellhold.objects import Volume as Volume
    from cellhold.spec.limits import Limits as Limits
    from cellhold.spec.outcome import Outcome as Outcome
    from cellhold.spec.spec import Mount as Mount
    from cellhold.spec.spec import Port as Port
    from cellhold.spec.spec import Spec as Spec

__version__ = "0.1.0"

_HOME = {
    "Container": "cellhold.container.container",
    "Detached": "cellhold.container.detached",
    "Image": "cellhold.objects",
    "Volume": "cellhold.objects",
    "CellholdError": "cellhold.errors",
    "Outcome": "cellhold.spec.outcome",
    "Limits": "cellhold.spec.limits",
    "Mount": "cellhold.spec.spec",
    "Port": "cellhold.spec.spec",
    "Spec": "cellhold.spec.spec",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'cellhold' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  # here, because most programs that start from this package never come this far

    return getattr(import_module(_HOME[name]), name)
