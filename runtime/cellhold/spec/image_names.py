"""What the name of a spec's image means: the host, a directory, or an OCI image."""

from __future__ import annotations

HOST = "host"


def is_oci(name: str) -> bool:
    """Return whether `name` means an OCI image."""
    return name != HOST and not name.startswith(("/", "."))
