"""Requirements become exact versions with hashes.

uv does it: our own code is not a resolver.

It runs on the host, on names and versions alone, in an empty directory, with no
configuration file, no login of a keyring and none of our environment but what leads to
the network. It builds nothing: a package without a wheel is refused. What it writes is
the lock of a script (PEP 723), which juv keeps in a notebook in the same form.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from cellhold import helper
from cellhold.errors import CellholdError, InvalidSpec
from cellhold_kernel.images.packages.index import without_login
from cellhold_kernel.images.packages.lock import Wheel
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.requirements import normalize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cellhold_kernel.images.packages.lock import Pins
    from cellhold_kernel.images.packages.target import PythonTarget
    from cellhold_kernel.settings.requirements import PackageRequirement

_SECONDS = 600.0
_MOST_WORDS = 600
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,240}\.whl", re.ASCII)
_PREFIXES = re.compile(r"^(?:(?:error|cause|hint|warning):|[^\w\s]+) *")


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """lock: the text of a uv.lock. wheels: those of it that the target needs."""

    lock: str
    wheels: tuple[Wheel, ...]


def resolve(  # noqa: PLR0913  # one value per source
    wanted: Sequence[PackageRequirement],
    target: PythonTarget,
    place: Path,
    *,
    index: str,
    exclude_newer: str | None = None,
    pins: Pins | None = None,
    preferred: str | None = None,
) -> Resolved:
    """Resolve them for a target.

    Raises InvalidSpec where there is no answer, CellholdError where the index gives
    none.

    place: an empty directory, for uv alone. pins: versions that have to be taken, and
    the hashes that files may have. preferred: a lock of ours whose versions are taken
    where they still fit.
    """
    script = place / "notebook.py"
    script.write_text(_script(wanted, target, exclude_newer, pins))
    lock = place / "notebook.py.lock"
    if preferred is not None:
        lock.write_text(preferred)
    env = helper.environment(
        *helper.NETWORK,
        "NETRC",
        UV_CACHE_DIR=str(place / "cache"),
        UV_DEFAULT_INDEX=index,
        UV_NO_CONFIG="1",
        UV_NO_PROGRESS="1",
        UV_PYTHON=sys.executable,
        UV_PYTHON_DOWNLOADS="never",
        UV_SYSTEM_CERTS="1",
        UV_NATIVE_TLS="1",  # its name before 0.9
    )
    _uv(["lock", "--script", str(script)], env, index, target)
    listed = _uv(["export", "--quiet", "--script", str(script), "--frozen", "--format", "pylock.toml"], env, index, target)
    wheels = _wheels(tomllib.loads(listed), target)
    if pins is not None:
        _check_pinned(wheels, pins)
    return Resolved(lock=lock.read_text(), wheels=wheels)


def _script(wanted: Sequence[PackageRequirement], target: PythonTarget, exclude_newer: str | None, pins: Pins | None) -> str:
    """Return the script that uv locks.

    A text of JSON is one of TOML, too: all of it is printable ASCII.
    """
    lines = [
        f'requires-python = "=={target.version[0]}.{target.version[1]}.*"',
        f"dependencies = {json.dumps([one.text for one in wanted])}",
        "[tool.uv]",
        "no-build = true",
        *([f"exclude-newer = {json.dumps(exclude_newer)}"] if exclude_newer is not None else []),
        *([f"constraint-dependencies = {json.dumps(list(pins.constraints()))}"] if pins is not None else []),
    ]
    return "\n".join(["# /// script", *(f"# {line}" for line in lines), "# ///", ""])


def _uv(words: Sequence[str], env: Mapping[str, str], index: str, target: PythonTarget) -> str:
    from uv import find_uv_bin  # noqa: PLC0415  # not needed by the notebooks without packages

    try:
        ran = helper.run([find_uv_bin(), "--no-config", "--color", "never", *words], env=env, seconds=_SECONDS)
    except (OSError, TimeoutError) as error:
        raise CellholdError(f"cannot resolve the packages: uv: {error}") from error
    if ran.returncode:
        raise _refusal(ran.stderr.decode(errors="replace"), index, target)
    return ran.stdout.decode()


def _refusal(said: str, index: str, target: PythonTarget) -> CellholdError:
    """Return uv's answer as an error of ours, without the index's login."""
    lines = [_PREFIXES.sub("", line.strip()) for line in said.replace(index, without_login(index)).splitlines()]
    lines = [line for line in lines if line and not line.startswith("The requested interpreter")]
    words = escape(" ".join(lines), most=_MOST_WORDS)
    shown = escape(without_login(index), most=100)
    if "no wheels" in words.lower() or "no usable wheels" in words.lower() or "--no-build" in words:
        return InvalidSpec(
            f"cannot install the packages for {target}: {words}",
            hint="nothing is built from source here: a %%dockerfile cell with RUN pip install builds it in an image",
        )
    if any(word in words for word in ("error sending request", "Failed to fetch", "dns error", "timed out")):
        return CellholdError(
            f"cannot resolve the packages: the index {shown} does not answer: {words}",
            hint="which index that is: CELLHOLD_INDEX, or the configuration of uv or pip, on the host",
        )
    return InvalidSpec(f"cannot resolve the packages for {target} at {shown}: {words}")


def _wheels(document: Mapping[str, Any], target: PythonTarget) -> tuple[Wheel, ...]:
    """Return the wheel to take of each package that the target needs.

    The document is uv's, its texts are the index's.
    """
    from packaging.markers import Marker  # noqa: PLC0415  # as in target.py

    ranks, environment = target.ranks(), dict(target.markers())
    found = []
    for package in document.get("packages", []):
        marker = package.get("marker")
        if marker is not None and not Marker(marker).evaluate(environment):
            continue
        found.append(_best(package, ranks, target))
    return tuple(sorted(found, key=lambda wheel: wheel.name))


def _best(package: Mapping[str, Any], ranks: Mapping[str, int], target: PythonTarget) -> Wheel:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename  # noqa: PLC0415  # as above

    name, version = normalize(str(package["name"])), str(package.get("version"))
    best: tuple[int, Wheel] | None = None
    for file in package.get("wheels", []):
        url = str(file.get("url") or "")
        filename = unquote(str(file.get("name") or urlsplit(url).path.rpartition("/")[2]))
        sha256 = str(file.get("hashes", {}).get("sha256", ""))
        try:
            project, _version, _build, tags = parse_wheel_filename(filename)
        except InvalidWheelFilename:
            continue
        rank = min((ranks[str(tag)] for tag in tags if str(tag) in ranks), default=None)
        if rank is None or project != name or not _FILENAME.fullmatch(filename) or (best is not None and rank >= best[0]):
            continue
        if not _SHA256.fullmatch(sha256):
            raise InvalidSpec(f"cannot install {name} {version}: the index has no sha256 of {escape(filename)}")
        size = file.get("size")
        made = Wheel(
            name=name,
            version=version,
            filename=filename,
            url=url,
            sha256=sha256,
            size_bytes=size if isinstance(size, int) and size >= 0 else None,
        )
        best = (rank, made)
    if best is None:
        raise InvalidSpec(
            f"cannot install {name} {escape(version, most=60)}: there is no wheel of it for {target}",
            hint=f"nothing is built from source here: a %%dockerfile cell with RUN pip install {name} builds it in an image",
        )
    return best[1]


def _check_pinned(wheels: Sequence[Wheel], pins: Pins) -> None:
    """Raise InvalidSpec for a file with a hash that the lock does not list."""
    for wheel in wheels:
        if wheel.name in pins.versions and wheel.sha256 not in pins.hashes:
            raise InvalidSpec(
                f"cannot install {wheel.name} {wheel.version}: {wheel.filename} of this host's index has another hash than the lock has",
                hint="the lock was made of another index, or a file was replaced: remove uv.lock from the notebook's metadata",
            )
