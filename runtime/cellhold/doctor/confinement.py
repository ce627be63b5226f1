"""Features that keep programs from the kernel's rarely used paths.

seccomp, and the library that compiles its filter.
"""

from __future__ import annotations

from pathlib import Path

from cellhold.doctor.feature import Feature, MissingError

_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")


def _seccomp() -> str:
    if not _ACTIONS.exists():
        raise MissingError("this kernel was built without CONFIG_SECCOMP_FILTER")
    try:
        import pyseccomp  # noqa: PLC0415  # loading it fails where libseccomp is missing, and to say so is this function's business
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingError(f"libseccomp could not be loaded: {error}") from None
    return f"libseccomp, API level {pyseccomp.get_api()}"


FEATURES = (
    Feature(
        name="seccomp",
        can="filter a container's system calls",
        attempt=_seccomp,
        needed=True,
        remedy="install libseccomp (apt install libseccomp2), and use a kernel with CONFIG_SECCOMP_FILTER",
    ),
)
