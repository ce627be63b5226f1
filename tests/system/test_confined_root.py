"""Root without CAP_SYS_ADMIN, as inside most containers: what `cellhold` does there, and what it says where nothing can be done."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "rootless", "user-namespace", "overlayfs", "mount-api", "seccomp")

CONFINED = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
NO_NAMESPACES = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'


def cellhold(*words: str, home: Path, before: tuple[str, ...] = CONFINED) -> subprocess.CompletedProcess[str]:
    """Run the command as confined root, with a store of its own: the owners on disk are not those of root's containers."""
    command = [*before, sys.executable, "-m", "cellhold.cli", *words]
    env = {**os.environ, "CELLHOLD_HOME": str(home)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL)


def test_it_runs_containers_without_root_by_itself(tmp_path: Path, busybox_root: Path) -> None:
    ran = cellhold("run", "--rm", "--rootfs", str(busybox_root), "sh", "-c", "id -u; cat /proc/self/uid_map", home=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split() == ["0", "0", "0", "1"]  # without a range of its own root is the only id, and itself outside


def test_doctor_knows_that_it_is_so(tmp_path: Path) -> None:
    ran = cellhold("doctor", home=tmp_path)
    assert "Containers can run here." in ran.stdout
    assert "root is confined here: it has no CAP_SYS_ADMIN" in ran.stdout


def test_its_store_is_not_the_one_of_root(tmp_path: Path) -> None:
    code = "from cellhold.store.home import default_root; print(default_root())"
    env = {name: value for name, value in os.environ.items() if name != "CELLHOLD_HOME"} | {"XDG_DATA_HOME": str(tmp_path)}
    for before, expected in (((), "/var/lib/cellhold"), (CONFINED, f"{tmp_path}/cellhold")):
        ran = subprocess.run([*before, sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
        assert ran.stdout.strip() == expected


@pytest.mark.parametrize("words", ["run --rm", "run -d", "run"])
def test_where_nothing_can_be_done_the_sentence_is_doctor_s(tmp_path: Path, words: str) -> None:
    nowhere = ("unshare", "--user", "--map-root-user", "sh", "-c", NO_NAMESPACES, "sh", *CONFINED)
    ran = cellhold(*words.split(), "host", "true", home=tmp_path, before=nowhere)
    assert (ran.returncode, ran.stdout) == (125, "")
    assert ran.stderr.startswith("cellhold: cannot run containers on this host: it cannot run containers without root")
    assert "max_user_namespaces" in ran.stderr
    assert "devices.deny" not in ran.stderr
    assert "Traceback" not in ran.stderr
    listed = cellhold("ps", "-aq", home=tmp_path).stdout.split()
    assert len(listed) == (0 if "--rm" in words else 1)  # docker keeps what could not be started, too
