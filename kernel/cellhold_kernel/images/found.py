"""What was found in an image: kernelspecs, Pythons, shells.

All texts come from the image and are hostile: they are shown only through
`text.escape`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from string import Template
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDEST = (3, 6)  # for an ipykernel of today's message format
_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_]+)\}")


@dataclass(frozen=True, kw_only=True)
class KernelSpec:
    """A kernelspec that can be started.

    resource_dir, prefix: paths in the image. argv, env: still with placeholders.
    argv[0] is a path if it was a bare Python, else as in the kernelspec (found on the
    image's PATH). interrupt_mode: "signal" or "message".

    https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs
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
        """Return the command to run.

        connection_file: its path in the container. Unknown placeholders stay, as in
        jupyter_client.
        """
        values = {"connection_file": connection_file, "resource_dir": self.resource_dir, "prefix": self.prefix}
        return tuple(_PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), word) for word in self.argv)

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the image's environment with the kernelspec's over it.

        ${NAME} in the latter is replaced from the former, as in jupyter_client.
        """
        return {**env, **{name: Template(text).safe_substitute(env) for name, text in self.env.items()}}


@dataclass(frozen=True, kw_only=True)
class Python:
    """A Python of an image. None: cannot be determined without running it.

    path: as it was found. real: with links resolved. prefix: sys.prefix. libc: "glibc"
    or "musl". glibc: its version; (2, 34) means that or a later one. machine: "x86_64"
    or "aarch64". fault: why no kernel can run on it, as the end of a sentence.
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
        """Format it, such as: Python 3.11 (/usr/bin/python3)."""
        return f"{version_text(self.version)} ({self.path})"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Something that exists and cannot be used. reason: one sentence."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """Everything that was found, in order of preference. shells: paths in the image."""

    kernelspecs: tuple[KernelSpec, ...] = ()
    pythons: tuple[Python, ...] = ()
    shells: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def version_text(version: tuple[int, int] | None) -> str:
    """Format a version, such as: Python 3.11."""
    return "a Python of unknown version" if version is None else f"Python {version[0]}.{version[1]}"
