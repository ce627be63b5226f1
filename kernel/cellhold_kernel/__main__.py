"""`python -m cellhold_kernel`."""

from __future__ import annotations

from cellhold import launch

if __name__ == "__main__":
    launch.resident()  # it takes as long to come up as the rest of us to be imported
    from cellhold_kernel.app import main

    main()
