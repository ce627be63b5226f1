"""The host kernel's process, as kernelspecs start it (install.py)."""

from __future__ import annotations

from cellhold.container import launcher

TYPE_CHECKING = False  # importing typing comes later

if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the kernel."""
    launcher.resident()  # it takes as long to start as importing the rest
    from cellhold_kernel import app  # noqa: PLC0415

    app.main()


if __name__ == "__main__":
    main()
