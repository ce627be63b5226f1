"""What is shown of the host is what was checked, without root as well: by descriptors where the kernel has them, else refused."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from boxes import eventually
from people import furnish, person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from people import Person

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp")
STARTS = 250  # for volumes, and as many for images
RESTARTS = 16


# ------------------------------------------------------------------------------------------------- without root


@pytest.fixture(scope="module", params=[True, False], ids=["ranged", "single"])
def ordinary(request: pytest.FixtureRequest, busybox_root: Path) -> Iterator[Person]:
    with person("h", subordinate=request.param) as who:
        furnish(who, busybox_root)
        yield who


@pytest.fixture(autouse=True)
def _nothing_of_the_user_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "ordinary" in request.fixturenames:
        who: Person = request.getfixturevalue("ordinary")
        assert eventually(lambda: not who.processes()), who.processes()
        assert who.containers() == []


TOOLS = """
import os, subprocess, sys
from pathlib import Path
from cellhold.container.container import Container
from cellhold.errors import CellholdError
from cellhold.linux import hostpath
from cellhold.spec.spec import Mount, Spec

def run(script, *mounts):
    read, write = os.pipe()
    with os.fdopen(read) as out:
        try:
            with Container.create(Spec(image="./image", args=("sh", "-c", script), mounts=mounts)) as box:
                box.start(stdout=write)
                os.close(write)
                write = -1
                box.wait(60)
                print(out.read(), end="")
        except CellholdError as error:
            print(f"refused: {error}")
        finally:
            if write >= 0:
                os.close(write)

place = Path(sys.argv[1])
os.chdir(place.parent)
os.environ["CELLHOLD_HOME"] = os.path.expanduser("~/.local/share/cellhold")
"""


def run_tools(who: Person, script: str) -> list[str]:
    """A script of the user's own, in a directory of the user's own."""
    place = who.place / f"own{os.urandom(4).hex()}"
    place.mkdir()
    os.chown(place, who.uid, who.gid)
    ran = who.run_program(who.python, "-c", TOOLS + script, str(place))
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.requires("rootless", "subordinate-ids")
def test_without_root_what_was_opened_is_shown_or_nothing_is(ordinary: Person) -> None:
    script = """
for kind in ("bind", "overlay"):
    name, moved = place / f"{kind}", place / f"{kind}-moved"
    name.mkdir()
    (name / "content").write_text("good\\n")
    mount = Mount(kind=kind, source=str(name), target="/x", opened=hostpath.opened(name))
    run("cat /x/content", mount)
    name.rename(moved)
    name.symlink_to("/etc")
    run("cat /x/content; ls /x", mount)
    (moved / "content").unlink()
    moved.rmdir()
    run("ls /x", mount)
"""
    told = run_tools(ordinary, script)
    for _kind in ("bind", "overlay"):
        assert told[:3] == ["good", "good", "content"], told
        assert told[3].startswith("refused: cannot start container"), told
        assert told[3].endswith("No such file or directory"), told
        del told[:4]


@pytest.mark.requires("rootless", "subordinate-ids")
def test_without_root_what_lies_elsewhere_by_its_name_is_refused_with_a_sentence(ordinary: Person) -> None:
    """The launcher has a copy of the mounts of before: what is mounted later it does not see, and shows nothing in its place."""
    place = ordinary.place / "later"
    place.mkdir()
    with suppress(FileExistsError):
        (ordinary.place / "signal").mkdir()
        os.chown(ordinary.place / "signal", ordinary.uid, ordinary.gid)
    script = """
run("true")  # the launcher is there
(place.parent / "signal/ready").touch()
import time
while not os.path.ismount("later"):
    time.sleep(0.01)
run("ls /x", Mount(kind="bind", source=str(place.parent / "later"), target="/x"))
"""
    with subprocess.Popen(
        [ordinary.python, "-c", TOOLS + script, str(ordinary.place / "home")], stdout=subprocess.PIPE, text=True, **ordinary.as_it()
    ) as program:
        assert eventually((ordinary.place / "signal/ready").exists)
        subprocess.run(["mount", "-t", "tmpfs", "later", place], check=True)
        try:
            out, _err = program.communicate(timeout=120)
        finally:
            subprocess.run(["umount", place], check=True)
            program.kill()
    (ordinary.place / "signal/ready").unlink()
    assert out.startswith("refused: cannot start container"), out
    assert f"{place} is another file now: it was moved, replaced or mounted over" in out


@pytest.mark.requires("rootless", "subordinate-ids")
@pytest.mark.parametrize("way", ["ro", "rw"])
def test_without_root_covers_hold_and_directories_that_lead_there_stay(ordinary: Person, way: str) -> None:
    script = f"""
os.environ["HOME"] = str(place / "me")
from cellhold_kernel.settings.folder import Folder
from cellhold_kernel.settings.workspace import Workspace
for name, text in (("me", "secret"), ("other", "nobody's")):
    (place / name / ".ssh").mkdir(parents=True)
    (place / name / ".ssh/key").write_text(text + "\\n")
mounts = Workspace(Folder.at(place)).mounts({way!r})
run("cd /workspace; mv me x 2>/dev/null; mv me/.ssh y 2>/dev/null; cat */.ssh/key y/key x/key; ls", *mounts)
os.rename("%s/me" % place, "%s/x" % place)
os.rename("%s/other" % place, "%s/me" % place)
run("cat /workspace/*/.ssh/key", *mounts)
"""
    told = run_tools(ordinary, script)
    assert not any("secret" in line for line in told), told
    assert told[0] == "nobody's"
    assert "refused: cannot start container" in told[-1]
    assert "me is another directory than it was a moment ago" in told[-1]
