"""A notebook's packages become a layer, for a cell that waits for it.

    python -m cellhold_kernel.jobs.packages        JSON on standard input

is the process that does it (packages/sets.py), and writes its progress in lines of
JSON.
"""

from __future__ import annotations

import html
import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cellhold import helper
from cellhold.spec import units
from cellhold_kernel.images.packages.sets import Wanted
from cellhold_kernel.jobs.job import ProcessJob, bar
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.transport.exchange import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellhold_kernel.gate.granted import GrantedContainer
    from cellhold_kernel.images.packages.target import PythonTarget

_INTERVAL_SECONDS = 0.1


class Packaging(ProcessJob):
    """One set on its way."""

    variables = (*helper.NETWORK, "NETRC", "UV_", "PIP_")
    interrupted_message = "the packages were not installed"

    def __init__(self, granted: GrantedContainer, target: PythonTarget, *, namespaces: Sequence[int] = ()) -> None:
        """Start it, for that Python.

        namespaces: of a container that the layer is mounted in (live_mount.py).
        """
        assert granted.packages is not None  # noqa: S101  # for mypy: who has none does not ask
        self._packages = granted.packages
        wanted = Wanted(packages=granted.packages, target=target, owner=granted.packages.owner)
        self._doing: list[str] = []
        self._bytes = (0, 0)
        job = {**asdict(wanted), "namespaces": list(namespaces)}
        super().__init__("cellhold_kernel.jobs.packages", [], given=json.dumps(job).encode(), keep=namespaces)

    def _note(self, said: dict[str, Any]) -> None:
        if "doing" in said:
            self._doing.append(escape(str(said["doing"])))
        elif "total" in said:
            self._bytes = (int(said["done"]), int(said["total"]))

    def text(self) -> str:
        """Return what has been done, and how far the wheels are."""
        return "\n".join([self._summary(), *(f"  {words}" for words in self._doing), *self._fetched(bar(*self._bytes) + " ")])

    def html(self) -> str:
        """Return the same as a list."""
        done, total = self._bytes
        rows = "".join(f"<li>{html.escape(words)}</li>" for words in self._doing)
        progress = f'<progress value="{done}" max="{max(total, 1)}"></progress> '
        fetched = "".join(f"<div>{progress}{html.escape(words)}</div>" for words in self._fetched(""))
        return f"<div>{html.escape(self._summary())}</div><ul>{rows}</ul>{fetched}"

    def _fetched(self, before: str) -> list[str]:
        done, total = self._bytes
        return [f"  {before}{units.size(done)} of {units.size(total)}"] if total and self.is_going_on else []

    def _summary(self) -> str:
        names = escape(", ".join(one.text for one in self._packages.wanted), most=300)
        if self.is_going_on:
            return f"installing packages: {names}"
        return f"installed packages: {names}, in {self.seconds:.1f} s"


def main() -> int:
    """Run the process; its last line is {"layer": ...} or {"error": ...}."""
    from cellhold.container import live_mount  # noqa: PLC0415  # what the host kernel does without
    from cellhold.errors import CellholdError  # noqa: PLC0415
    from cellhold.store.home import open_home  # noqa: PLC0415
    from cellhold_kernel.images.packages import sets, target  # noqa: PLC0415
    from cellhold_kernel.settings.requirements import PackageRequirement, PackageSet  # noqa: PLC0415

    job = json.load(sys.stdin)
    job["packages"]["wanted"] = tuple(PackageRequirement(**one) for one in job["packages"]["wanted"])
    job["target"]["version"] = tuple(job["target"]["version"])
    job["target"]["glibc"] = tuple(job["target"]["glibc"]) if job["target"]["glibc"] else None
    wanted = sets.Wanted(packages=PackageSet(**job["packages"]), target=target.PythonTarget(**job["target"]), owner=job["owner"])
    try:
        layer = sets.make(wanted, open_home(), _Telling())
        if job["namespaces"]:
            live_mount.attach(layer.path, PACKAGES, *job["namespaces"])
    except CellholdError as error:
        _say(error=type(error).__name__, sentence=str(error), hint=error.hint)
        return 1
    _say(layer=str(layer.chain))
    return 0


class _Telling:
    """Write progress, that of bytes as often as somebody can follow."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, **members: object) -> None:
        now = time.monotonic()
        if "doing" in members or now - self._last > _INTERVAL_SECONDS:
            self._last = now
            _say(**members)


def _say(**members: object) -> None:
    sys.stdout.write(json.dumps(members) + "\n")  # one write: several threads say it
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
