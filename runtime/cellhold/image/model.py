"""An image as a value: read-only layers, and how to run what is in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # docker's


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Directories shown as one overlay at `target`; topmost first."""

    target: str
    layers: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Image:
    """stacks: the first is the root, the others lie over parts of it. python: the interpreter to run a cell kernel with, if known."""

    name: str
    stacks: tuple[Stack, ...]
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({"PATH": DEFAULT_PATH}))
    cwd: str = "/"
    args: tuple[str, ...] = ()
    python: str | None = None
