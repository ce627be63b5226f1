"""The wheels of a kernel layer: the table is sound; what is fetched fits; the image's own Python unpacks it and answers a cell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from packaging.requirements import Requirement
from packaging.version import Version

from cellhold.errors import CellholdError, NotSupported
from cellhold_kernel.images import unpacking
from cellhold_kernel.images.found import Python
from cellhold_kernel.images.wheels import LIBCS, MACHINES, Target, fetch, normalized, pins, target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TABLE = json.loads((resources.files("cellhold_kernel.images") / "pins.json").read_text())
CORE = {
    "ipykernel",
    "ipython",
    "jupyter-client",
    "jupyter-core",
    "pyzmq",
    "tornado",
    "traitlets",
    "jedi",
    "parso",
    "prompt-toolkit",
    "pygments",
}
NEWEST_IPYKERNEL = {"3.6": "5.5.6", "3.7": "6.16.2", "3.8": "6.29.5", "3.9": "6.31.0"}  # none after it takes this Python
FETCHED = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cellhold" / "kernel-wheels"

# Not a virtual environment's: that the packages of this one are not seen is what is to be shown.
pytestmark = pytest.mark.usefixtures("jupyter_path")  # jupyter_client's loop is made there
HERE = Python(path=os.path.realpath(sys.executable), real="", prefix="/usr", version=sys.version_info[:2], libc="glibc", machine="x86_64")


@pytest.mark.parametrize("version", TABLE)
def test_each_python_has_the_newest_ipykernel_that_takes_it_and_all_that_one_needs(version: str) -> None:
    entry = TABLE[version]
    assert set(entry["pins"]) >= CORE
    assert all(Version(pinned) and normalized(name) == name for name, pinned in entry["pins"].items())
    assert entry["pins"]["ipykernel"] == NEWEST_IPYKERNEL[version] if version in NEWEST_IPYKERNEL else entry["pins"]["ipykernel"] >= "7"
    platforms = {f"{libc}-{machine}" for libc in LIBCS for machine in MACHINES}
    assert set(entry["gaps"]) | set(entry["instead"]) <= platforms
    assert "glibc-x86_64" not in entry["gaps"]
    assert all(set(others) < set(entry["pins"]) for others in entry["instead"].values())


def test_the_table_has_each_python_that_images_have() -> None:
    assert list(TABLE) == [f"3.{minor}" for minor in range(6, 15)]


def test_a_platform_takes_what_was_made_for_older_ones_and_nothing_newer() -> None:
    old = Target(version=(3, 8), libc="glibc", machine="x86_64", glibc=(2, 17)).platforms()
    assert old[:2] == ("manylinux_2_17_x86_64", "manylinux2014_x86_64")
    assert old[-2:] == ("manylinux_2_5_x86_64", "manylinux1_x86_64")
    assert Target(version=(3, 8), libc="glibc", machine="aarch64", glibc=(2, 34)).platforms()[0] == "manylinux_2_34_aarch64"
    assert Target(version=(3, 8), libc="musl", machine="aarch64").platforms() == ("musllinux_1_2_aarch64", "musllinux_1_1_aarch64")


@pytest.mark.parametrize(
    ("python", "reason"),
    [
        ({"version": (3, 99), "libc": "musl", "machine": "x86_64"}, r"Python 3\.99: wheels are known for 3\.6"),
        ({"version": None, "libc": "musl", "machine": "x86_64"}, "cannot determine its version"),
        ({"version": (3, 11), "libc": None, "machine": "x86_64"}, "cannot determine its C library"),
        ({"version": (3, 11), "libc": "glibc", "machine": None}, "cannot determine which machine"),
    ],
)
def test_a_python_without_wheels_is_told_before_anything_is_fetched(tmp_path: Path, python: Mapping[str, object], reason: str) -> None:
    with pytest.raises(NotSupported, match=reason):
        fetch(Python(path="/usr/bin/python3", real="", prefix="/usr", **python), tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_directory_that_lacks_a_wheel_is_told_with_the_wheel_and_the_python(tmp_path: Path) -> None:
    empty = tmp_path / "wheels"
    empty.mkdir()
    with pytest.raises(CellholdError, match=rf"for Python \S+ \(glibc, x86_64\): {empty} has no wheel of \S+ \d\S* for it") as caught:
        fetch(HERE, tmp_path / "to", wheels=empty)
    assert "RUN pip install ipykernel" in str(caught.value.hint)
    assert [path.name for path in (tmp_path / "to").rglob("*")] == ["scratch"]  # and nothing in it


def test_an_index_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(CellholdError, match=r"the index http://127\.0\.0\.1:9/simple does not answer"):
        fetch(HERE, tmp_path, index="http://127.0.0.1:9/simple")


# ------------------------------------------------------------------------------------------------------- with wheels from the index


@pytest.fixture(scope="module")
def wheels() -> tuple[Path, ...]:
    """The wheels for the Python that runs this; fetched once and kept."""
    try:
        return fetch(HERE, FETCHED)
    except CellholdError as error:
        if "does not answer" in str(error):
            pytest.skip(str(error))
        raise


def metadata(wheel: Path) -> Iterator[tuple[str, str, list[Requirement]]]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1)
        said = Parser().parsestr(archive.read(name).decode())
    yield normalized(said["Name"]), said["Version"], [Requirement(text) for text in said.get_all("Requires-Dist", [])]


def test_what_was_fetched_satisfies_each_requirement_of_each(wheels: tuple[Path, ...]) -> None:
    pinned = pins(target(HERE))
    assert {name: version for wheel in wheels for name, version, _ in metadata(wheel)} == dict(pinned)
    for wheel in wheels:
        for name, _, requirements in metadata(wheel):
            for needs in requirements:
                if needs.marker is None or needs.marker.evaluate({"extra": ""}):
                    assert needs.specifier.contains(pinned[normalized(needs.name)], prereleases=True), f"{name} needs {needs}"


def test_what_is_there_is_fetched_from_nowhere(wheels: tuple[Path, ...], tmp_path: Path) -> None:
    again = fetch(HERE, FETCHED, index="http://127.0.0.1:9/simple")
    assert again == wheels
    offline = fetch(HERE, tmp_path, wheels=wheels[0].parent)
    assert [wheel.name for wheel in offline] == [wheel.name for wheel in wheels]


def answer(argv: tuple[str, ...], connection: Path, code: str) -> str:
    """What a kernel that is started like this answers to a cell."""
    context = zmq.Context()
    client = BlockingKernelClient(context=context)
    ports = {f"{channel}_port": number for number, channel in enumerate(("shell", "iopub", "stdin", "control", "hb"), start=1)}
    connection.write_text(
        json.dumps({"transport": "ipc", "ip": f"{connection.parent}/k", "key": "abc", "signature_scheme": "hmac-sha256", **ports})
    )
    client.load_connection_file(str(connection))
    quiet = {"PATH": os.environ["PATH"], "HOME": str(connection.parent), "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(argv, cwd=connection.parent, env=quiet, stdin=subprocess.DEVNULL) as kernel:
        try:
            client.start_channels(hb=False)  # a busy machine stops for longer than a heartbeat
            client.wait_for_ready(timeout=120)
            said = []
            client.execute_interactive(code, timeout=120, output_hook=lambda message: said.append(message["content"]))
            return "".join(content.get("text", "") + content.get("data", {}).get("text/plain", "") for content in said)
        finally:
            client.stop_channels()
            context.destroy(linger=0)
            kernel.kill()


def test_the_images_own_python_unpacks_them_and_answers_a_cell(wheels: tuple[Path, ...], tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    subprocess.run(unpacking.install_command(HERE, wheels=str(wheels[0].parent), target=str(layer)), check=True, env={})
    assert (layer / "ipykernel" / "__pycache__").is_dir()
    (tmp_path / "traitlets.py").write_text("raise SystemExit('a file of the notebook was imported')")
    code = "import sys, subprocess, traitlets; print(traitlets.__file__); print(sys.path[0]); print(subprocess.call([sys.executable, '-S', '-c', 'import ipykernel'], stderr=-3)); 1+1"  # noqa: E501
    said = answer(unpacking.kernelspec(HERE, target=str(layer)).command(str(tmp_path / "c.json")), tmp_path / "c.json", code)
    assert said.splitlines() == [f"{layer}/traitlets/__init__.py", str(layer), "1", "2"]


@pytest.mark.parametrize("member", ["../out.py", "/etc/out.py", "a/../../out.py", "x.data/purelib/../../../out.py"])
def test_a_wheel_that_leads_out_of_the_layer_is_refused(tmp_path: Path, member: str) -> None:
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels/a-1-py3-none-any.whl", "w") as archive:
        archive.writestr(member, "")
    command = unpacking.install_command(HERE, wheels=str(tmp_path / "wheels"), target=str(tmp_path / "layer"))
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env={})
    assert ran.returncode == 1
    assert ran.stderr.startswith("cannot unpack a-1-py3-none-any.whl: the member ")
    assert not list(tmp_path.rglob("out.py"))


def test_a_directory_without_wheels_and_a_wheel_that_is_none_are_told(tmp_path: Path) -> None:
    command = unpacking.install_command(HERE, wheels=str(tmp_path), target=str(tmp_path / "layer"))
    assert subprocess.run(command, check=False, capture_output=True, text=True, env={}).stderr == f"there are no wheels in {tmp_path}\n"
    (tmp_path / "a-1-py3-none-any.whl").write_bytes(b"PK")
    assert "cannot unpack a-1-py3-none-any.whl" in subprocess.run(command, check=False, capture_output=True, text=True, env={}).stderr
