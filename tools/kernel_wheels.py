"""Make kernel/cellhold_kernel/images/pins.json: which ipykernel, and which of all that it needs, for each Python that images have.

    python tools/kernel_wheels.py [VERSION ...]      resolve anew for these ("3.12"), or for all; takes some minutes and the package index

pip resolves for another Python (--python-version, --platform), but takes the markers of dependencies from the Python it runs on
(pypa/pip#11664). So it is run in a process in which these come from the other. The platform is the oldest glibc that has wheels at all,
so that the same versions do for all newer ones; musl and aarch64 are tried afterwards: what has no wheel there in this version is taken
in another ("instead"), or is a gap.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from cellhold_kernel.images.wheels import LIBCS, MACHINES, Target, normalized

TABLE = Path(__file__).parents[1] / "kernel" / "cellhold_kernel" / "images" / "pins.json"
OLDEST, NEWEST = 6, 14
SOUND_PATCH = 9  # some projects require 3.6.2 or 3.9.2: they mean the mended ones
PIP = """
import json, sys
from pip._vendor.packaging import markers
told, real = json.loads(sys.argv.pop(1)), markers.default_environment
markers.default_environment = lambda: {**real(), **told}
from pip._internal.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def resolved(target: Target, *requirements: str, deps: bool) -> list[Any] | None:
    """What pip would install, as it reports it; None if that is not possible."""
    full = "{}.{}.{}".format(*target.version, SOUND_PATCH)
    told = {
        "python_version": "{}.{}".format(*target.version),
        "python_full_version": full,
        "implementation_version": full,
        "platform_machine": target.machine,
    }
    with tempfile.TemporaryDirectory() as nowhere:
        report = Path(nowhere) / "report.json"
        command = [sys.executable, "-c", PIP, json.dumps(told), "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), "--target", nowhere, "--only-binary", ":all:", "--python-version", full]
        command += [word for platform in target.platforms() for word in ("--platform", platform)]
        ran = subprocess.run([*command, *([] if deps else ["--no-deps"]), *requirements], stderr=subprocess.DEVNULL, check=False)
        if ran.returncode:
            return None
        installed: list[Any] = json.loads(report.read_text())["install"]
    return installed


def versions_of(installed: list[Any]) -> dict[str, str]:
    """Name -> version."""
    return {normalized(item["metadata"]["name"]): item["metadata"]["version"] for item in installed}


def entry(minor: int) -> dict[str, Any]:
    """The table's entry for one Python."""
    for glibc in (17, 28) if minor < NEWEST else (28,):
        installed = resolved(Target(version=(3, minor), libc="glibc", glibc=(2, glibc), machine="x86_64"), "ipykernel", deps=True)
        if installed:
            break
    else:
        raise SystemExit(f"cannot resolve ipykernel for Python 3.{minor}")
    made: dict[str, Any] = {"glibc": f"2.{glibc}", "pins": dict(sorted(versions_of(installed).items())), "instead": {}, "gaps": {}}
    compiled = versions_of([item for item in installed if not item["download_info"]["url"].endswith("-none-any.whl")])
    for libc, machine in product(LIBCS, MACHINES):
        target = Target(version=(3, minor), libc=libc, glibc=(2, glibc) if libc == "glibc" else None, machine=machine)
        if (libc, machine) != ("glibc", "x86_64"):
            others, gaps = compared(target, compiled)
            made["instead"] |= {f"{libc}-{machine}": others} if others else {}
            made["gaps"] |= {f"{libc}-{machine}": gaps} if gaps else {}
    return made


def compared(target: Target, compiled: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """What has to be another version on this platform, and what it does not have at all."""
    if resolved(target, *(f"{name}=={version}" for name, version in compiled.items()), deps=False):
        return {}, []
    others: dict[str, str] = {}
    gaps = []
    for name, version in compiled.items():
        if not resolved(target, f"{name}=={version}", deps=False):
            found = resolved(target, f"{name}<{version}", deps=False)
            others |= versions_of(found or [])
            gaps += [] if found else [name]
    return others, gaps


def main(versions: list[str]) -> None:
    """Make the entries anew, and write the table after each."""
    for minor in range(OLDEST, NEWEST + 1):
        version = f"3.{minor}"
        if not versions or version in versions:
            made = entry(minor)
            print(version, json.dumps(made), flush=True)
            table = {**(json.loads(TABLE.read_text()) if TABLE.exists() else {}), version: made}
            ordered = {key: table[key] for key in sorted(table, key=lambda text: int(text.partition(".")[2]))}
            TABLE.write_text(json.dumps(ordered, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
