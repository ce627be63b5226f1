"""`python -m cellhold_kernel`."""

from __future__ import annotations

from cellhold_kernel.app import main

if __name__ == "__main__":
    main()
