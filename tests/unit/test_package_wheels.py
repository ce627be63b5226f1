"""A wheel is data: what it has becomes plain files below its layer, or all of it is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import wheelhouse
from cellhold.errors import InvalidSpec
from cellhold_kernel.images.packages import target as targets
from cellhold_kernel.images.packages import wheel as wheels
from cellhold_kernel.images.packages.lock import Wheel

TARGET = targets.of_this_host()
SITE = targets.site_packages(TARGET)
INFO = "demo-1.0.dist-info"


def unpack(content: bytes, layer: Path, *, name: str = "demo", most: int = 1 << 20) -> wheels.Room:
    """Unpack a wheel's bytes into a directory."""
    path = layer.parent / "demo.whl"
    path.write_bytes(content)
    layer.mkdir(exist_ok=True)
    fd = os.open(layer, os.O_RDONLY | os.O_DIRECTORY)
    room = wheels.Room(bytes_left=most, most_bytes=most)
    try:
        wheels.unpack(path, Wheel(name=name, version="1.0", filename=path.name, url="", sha256=""), fd, TARGET, room)
    finally:
        os.close(fd)
    return room


def files(layer: Path) -> set[str]:
    """All that is no directory."""
    return {str(path.relative_to(layer)) for path in layer.rglob("*") if not path.is_dir()}


def member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def test_a_wheel_is_unpacked_as_installers_do(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    content = wheelhouse.wheel(
        "demo",
        modules={
            "demo/__init__.py": "def main():\n    print('hello from demo')\n",
            "demo-1.0.data/scripts/old": "#!python\nprint('an old script')\n",
            "demo-1.0.data/data/share/demo/x.txt": "x",
            "demo-1.0.data/headers/demo.h": "h",
            "demo-1.0.data/purelib/extra.py": "",
        },
        scripts={"demo": "demo:main"},
    )
    room = unpack(content, layer)
    assert files(layer) == {
        f"{SITE}/demo/__init__.py",
        f"{SITE}/extra.py",
        "bin/old",
        "bin/demo",
        "share/demo/x.txt",
        "include/demo/demo.h",
        *(f"{SITE}/{INFO}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "INSTALLER", "entry_points.txt")),
    }
    assert room.files == len(files(layer))
    assert {stat.S_IMODE(path.stat().st_mode) for path in layer.rglob("*") if path.is_file()} == {0o644, 0o755}
    env = {"PYTHONPATH": str(layer / SITE), "PYTHONDONTWRITEBYTECODE": "1"}
    said = [subprocess.run([layer / "bin" / name], env=env, check=True, capture_output=True, text=True).stdout for name in ("demo", "old")]
    assert said == ["hello from demo\n", "an old script\n"]
    code = "from importlib import metadata; found = metadata.files('demo'); print(len(found), all(one.locate().exists() for one in found))"
    told = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout
    assert told == "11 True\n"


HOSTILE = {
    "it leads upwards": wheelhouse.wheel("demo", members=[(member("../evil.py"), b"x")]),
    "it leads upwards further in": wheelhouse.wheel("demo", members=[(member("demo/../../evil.py"), b"x")]),
    "it is absolute": wheelhouse.wheel("demo", members=[(member("/tmp/evil.py"), b"x")]),
    "it has backslashes": wheelhouse.wheel("demo", members=[(member("..\\evil.py"), b"x")]),
    "data leads upwards": wheelhouse.wheel("demo", members=[(member("demo-1.0.data/data/../../../evil"), b"x")]),
    "a script leads upwards": wheelhouse.wheel("demo", members=[(member("demo-1.0.data/scripts/../../evil"), b"x")]),
    "an unknown kind of data": wheelhouse.wheel("demo", members=[(member("demo-1.0.data/evil/x"), b"x")]),
    "data of another package": wheelhouse.wheel("demo", members=[(member("other-1.0.data/data/x"), b"x")]),
    "a link": wheelhouse.wheel("demo", members=[(member("evil", stat.S_IFLNK | 0o777), b"/etc/passwd")]),
    "a device": wheelhouse.wheel("demo", members=[(member("evil", stat.S_IFCHR | 0o666), b"")]),
    "a FIFO": wheelhouse.wheel("demo", members=[(member("evil", stat.S_IFIFO | 0o666), b"")]),
    "a file twice": wheelhouse.wheel("demo", members=[(member("evil.py"), b"x"), (member("evil.py"), b"y")]),
    "a long name": wheelhouse.wheel("demo", members=[(member("a" * 300), b"x")]),
    "a deep name": wheelhouse.wheel("demo", members=[(member("a/" * 100 + "b"), b"x")]),
    "a bomb": wheelhouse.wheel("demo", modules={"demo.py": bytes(4 << 20)}),
    "a file and a directory of it": wheelhouse.wheel("demo", members=[(member("a"), b"x"), (member("a/b"), b"x")]),
    "a directory and a file of it": wheelhouse.wheel("demo", members=[(member("a/b"), b"x"), (member("a"), b"x")]),
    "a wrong hash": wheelhouse.wheel("demo", record={"demo.py": wheelhouse.hashed(b"other")}),
    "no hash": wheelhouse.wheel("demo", record={"demo.py": " "}),
    "a weak hash": wheelhouse.wheel("demo", record={"demo.py": "md5=abc"}),
    "a file that RECORD does not have": wheelhouse.wheel("demo", without=["demo.py"]),
    "metadata of another package": wheelhouse.wheel("demo", metadata_name="other"),
    "a directory of another package": wheelhouse.wheel("demo", info="other-1.0.dist-info"),
    "a directory of another version": wheelhouse.wheel("demo", info="demo-2.0.dist-info"),
    "two directories of metadata": wheelhouse.wheel("demo", members=[(member("demo-2.0.dist-info/METADATA"), b"x")]),
    "an entry point that leads upwards": wheelhouse.wheel("demo", scripts={"../../evil": "demo:main"}),
    "an entry point with code": wheelhouse.wheel("demo", scripts={"evil": "demo:main(); import os"}),
    "an entry point with a line": wheelhouse.wheel("demo", scripts={"evil": "demo\n :main"}),
    "no zip": b"x" * 100,
    "half a zip": wheelhouse.wheel("demo")[:-40],
    "nothing": b"",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_wheel_is_refused_and_nothing_is_outside_of_its_layer(kind: str, tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    with pytest.raises(InvalidSpec, match=r"^cannot install demo 1\.0: "):
        unpack(HOSTILE[kind], above / "layer")
    assert {path.name for path in tmp_path.iterdir()} == {"above"}
    assert {path.name for path in above.iterdir()} == {"layer", "demo.whl"}
    assert all(stat.S_ISREG(path.lstat().st_mode) for path in (above / "layer").rglob("*") if not path.is_dir())
    assert not Path("/tmp/evil.py").exists()


def test_no_link_on_the_way_is_followed(tmp_path: Path) -> None:
    layer, outside = tmp_path / "layer", tmp_path / "outside"
    layer.mkdir()
    outside.mkdir()
    (layer / "lib").symlink_to(outside)
    with pytest.raises(InvalidSpec, match="cannot install demo"):
        unpack(wheelhouse.wheel("demo"), layer)
    assert not list(outside.iterdir())


def test_of_two_wheels_with_the_same_file_the_later_has_it(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    unpack(wheelhouse.wheel("demo", modules={"shared/__init__.py": "first"}), layer)
    unpack(wheelhouse.wheel("other", modules={"shared/__init__.py": "second"}), layer, name="other")
    assert (layer / SITE / "shared/__init__.py").read_text() == "second"


def test_a_python_with_a_long_path_is_named_in_another_way(tmp_path: Path) -> None:
    long = tmp_path.joinpath(*["d" * 60] * 3) / "python3"
    long.parent.mkdir(parents=True)
    long.symlink_to(sys.executable)
    layer = tmp_path / "layer"
    layer.mkdir()
    (tmp_path / "demo.whl").write_bytes(
        wheelhouse.wheel("demo", modules={"demo.py": "def main(): print('hi')"}, scripts={"demo": "demo:main"})
    )
    fd = os.open(layer, os.O_RDONLY | os.O_DIRECTORY)
    made = Wheel(name="demo", version="1.0", filename="", url="", sha256="")
    wheels.unpack(tmp_path / "demo.whl", made, fd, replace(TARGET, path=str(long)), wheels.Room(bytes_left=1 << 20, most_bytes=1 << 20))
    os.close(fd)
    env = {"PYTHONPATH": str(layer / SITE), "PATH": os.defpath}
    assert subprocess.run([layer / "bin/demo"], env=env, check=True, capture_output=True, text=True).stdout == "hi\n"
