"""What was found in an image: kernelspecs, Pythons, shells. All texts come from the image: hostile, to be shown only after `tail.plain`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from string import Template
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDEST = (3, 6)  # that an ipykernel of today's message format runs on
_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_]+)\}")


@dataclass(frozen=True, kw_only=True)
class KernelSpec:
    """A kernelspec that can be started. resource_dir, prefix: paths in the image; argv, env: still with placeholders.

    argv[0] is a path where it was a bare Python, else as the kernelspec has it (found on the image's PATH). interrupt_mode: "signal" or
    "message". https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    display_name: str = ""
    language: str = ""
    interrupt_mode: str = "signal"
    resource_dir: str = ""
    prefix: str = ""

    def command(self, connection_file: str) -> tuple[str, ...]:
        """What to run; the connection file is a path in the container. Braces that mean nothing stay, as in jupyter_client."""
        values = {"connection_file": connection_file, "resource_dir": self.resource_dir, "prefix": self.prefix}
        return tuple(_PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), word) for word in self.argv)

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """The image's environment with the kernelspec's over it; ${NAME} in the latter is the former's, as in jupyter_client."""
        return {**env, **{name: Template(text).safe_substitute(env) for name, text in self.env.items()}}


@dataclass(frozen=True, kw_only=True)
class Python:
    """A Python of an image. path: as it was found, real: behind all links; prefix: sys.prefix. None: cannot be told without running it.

    libc: "glibc" or "musl"; glibc: its version, (2, 34) standing for that and all later; machine: "x86_64", "aarch64"; fault: why no
    kernel can run on it, as the end of a sentence.
    """

    path: str
    real: str
    prefix: str
    version: tuple[int, int] | None = None
    has_ipykernel: bool = False
    libc: str | None = None
    glibc: tuple[int, int] | None = None
    machine: str | None = None
    fault: str | None = None

    def __str__(self) -> str:
        """As in: Python 3.11 (/usr/bin/python3)."""
        return f"{version_text(self.version)} ({self.path})"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What is there and cannot be used. reason: one sentence."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """All of it, in the order in which it would be taken. shells: paths in the image."""

    kernelspecs: tuple[KernelSpec, ...] = ()
    pythons: tuple[Python, ...] = ()
    shells: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def version_text(version: tuple[int, int] | None) -> str:
    """As in: Python 3.11."""
    return "a Python of unknown version" if version is None else f"Python {version[0]}.{version[1]}"
