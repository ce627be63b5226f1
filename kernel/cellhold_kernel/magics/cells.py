"""The magics that take a whole cell, which is then work for a process of its own: `%%dockerfile` and `%%run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellhold_kernel.engine.session import Session
    from cellhold_kernel.jobs.job import Job


def start(session: Session, code: str) -> tuple[Job, str] | None:
    """The job that the cell asks for, and what it is called for the cell kernel; None if it is no such cell. Raises CellholdError."""
    word = code.split(maxsplit=1)[0] if code.strip() else ""
    if word == "%%dockerfile":
        from cellhold_kernel.magics import dockerfile  # noqa: PLC0415  # imported when a cell asks

        return None if (image := dockerfile.read(code)) is None else (dockerfile.start(session, image), f"# %%dockerfile {image.name}")
    if word == "%%run":
        from cellhold_kernel.magics import run  # noqa: PLC0415  # as above

        return None if (own := run.read(code)) is None else (run.start(session, own), "# %%run")
    return None
