"""The options of a build: what `docker build` takes beside Dockerfile and context."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from cellhold.image.platform import Platform
from cellhold.spec.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from cellhold.spec.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to build.

    names: of the image.
    target: a stage; None: the last.
    cache: whether steps that were performed before are reused.
    pull: request each base image from its registry, even if it is here.
    limits: of each step's container.
    labels: added to the image.
    resolve: called with each image that the Dockerfile, or an ONBUILD of a base, names,
        and "host"; returns the image's name here, and raises NotAllowed for one that
        may not be used.
    owner: the notebook that builds, "" = none (reference.new_name).
    admit: entered with the spec of each step's container, which is made within it, from
        the spec that it yields; may raise NotAllowed.
    """

    names: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    target: str | None = None
    platform: Platform = field(default_factory=Platform.host)
    cache: bool = True
    pull: bool = False
    limits: Limits = Limits()  # noqa: RUF009  # a frozen value
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    resolve: Callable[[str], str] = str
    owner: str = ""
    admit: Callable[[Spec], AbstractContextManager[Spec]] = nullcontext
