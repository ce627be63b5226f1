"""The build arguments that need no declaration (Dockerfile reference, ARG).

They are the proxies, and what is built for and on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.image.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PROXIES = frozenset((*_PROXIES, *map(str.lower, _PROXIES)))  # RUN has them; neither the history nor the cache does
EXPECTED = PROXIES | {"SOURCE_DATE_EPOCH"}  # given without being used: no reason to warn
_ARM_VARIANT = "v7"  # what linux/arm means, and what BuildKit writes for it


def platforms(target: Platform, build_args: Mapping[str, str]) -> Mapping[str, str]:
    """Return the build arguments that describe platforms.

    TARGETPLATFORM, TARGETARCH ... are the image's; BUILDPLATFORM, BUILDARCH ... are
    this machine's; --build-arg may override them.
    """
    known = {**_named("TARGET", target), **_named("BUILD", Platform.host())}
    return {name: build_args.get(name, value) for name, value in known.items()}


def _named(prefix: str, platform: Platform) -> dict[str, str]:
    variant = platform.variant or (_ARM_VARIANT if platform.architecture == "arm" else "")
    return {
        f"{prefix}PLATFORM": "/".join(filter(None, (platform.os, platform.architecture, variant))),
        f"{prefix}OS": platform.os,
        f"{prefix}ARCH": platform.architecture,
        f"{prefix}VARIANT": variant,
    }
