"""What an image is built for, and which image of an index fits.

linux/amd64, linux/arm64, linux/arm/v7 ... The words, their other spellings and the
order of variants are containerd's (its `platforms` package), which docker uses. Unlike
there, an amd64 host takes no 386 image, and an arm64 host no arm image: not every such
kernel runs them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Self

from cellhold.errors import InvalidSpec

_PARTS = (2, 3)
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386", "macos": "darwin"}
_ARM_ALIASES = {"armhf": "v7", "armel": "v6", "armv5tel": "v5", "armv6l": "v6", "armv7l": "v7", "armv8l": "v8"}
_PLAIN = {"amd64": "v1", "arm": "v7", "arm64": "v8"}  # the variant that is meant when none is given
_LOWEST = {"amd64": 1, "arm": 5, "arm64": 8}
_VARIANT = re.compile(r"v([1-9])")


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A platform in Go's words, as OCI writes it.

    os: "linux".
    architecture: "amd64".
    variant: "v7" or None.
    """

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a platform that is written "linux/arm64/v8".

        Other spellings (x86_64) are understood. Raises InvalidSpec.
        """
        parts = text.split("/")
        if len(parts) not in _PARTS or not all(_WORD.fullmatch(part) for part in parts):
            raise InvalidSpec(
                f"cannot use platform={text[:100]!r}: no OS/ARCHITECTURE[/VARIANT]", hint="write linux/amd64, linux/arm/v7 ..."
            )
        return cls.normal(*parts)

    @classmethod
    def normal(cls, system: str, architecture: str, variant: str | None = None) -> Self:
        """Return the platform in the usual spelling, without a redundant variant.

        linux/aarch64/v8 becomes linux/arm64.
        """
        system, architecture, variant = system.lower(), architecture.lower(), (variant or "").lower() or None
        if architecture in _ARM_ALIASES:
            architecture, variant = "arm", variant or _ARM_ALIASES[architecture]
        system, architecture = _ALIASES.get(system, system), _ALIASES.get(architecture, architecture)
        if variant and _VARIANT.fullmatch(f"v{variant}"):
            variant = f"v{variant}"  # "7", as some write it
        return cls(os=system, architecture=architecture, variant=None if variant == _PLAIN.get(architecture) else variant)

    @classmethod
    def host(cls) -> Self:
        """Return this machine's platform."""
        return cls.normal("linux", os.uname().machine)

    def rank(self, offered: Self) -> int | None:
        """Return how well an image for `offered` fits here.

        0 is an exact match, more is a worse one; None does not run. A processor runs
        what is built for the lower variants of its architecture: v7 takes v6, not v8.
        """
        ours, theirs = self.normal(self.os, self.architecture, self.variant), self.normal(offered.os, offered.architecture, offered.variant)
        if ours == theirs:
            return 0
        if (ours.os, ours.architecture) != (theirs.os, theirs.architecture):
            return None
        mine, other = _level(ours), _level(theirs)
        lowest = _LOWEST.get(ours.architecture, 0)
        return mine - other if mine and other and lowest <= other < mine else None

    def __str__(self) -> str:
        """Format the platform as linux/arm/v6."""
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


def _level(platform: Platform) -> int | None:
    match = _VARIANT.fullmatch(platform.variant or _PLAIN.get(platform.architecture, ""))
    return int(match[1]) if match else None
