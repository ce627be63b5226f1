"""A disk that is read-only from one moment to the next, as ext4 is after an error, while containers have files open on it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from boxes import cellhold, environment, eventually

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "loop-devices", "mkfs")


def test_how_a_container_ended_is_told_and_written_down_once_the_disk_is_repaired(tmp_path: Path, busybox_root: Path) -> None:
    disk, place = tmp_path / "disk.img", tmp_path / "d"
    store = place / "s"

    def do(*words: str) -> str:
        ran = subprocess.run(cellhold(*words), env=environment(CELLHOLD_HOME=str(store)), capture_output=True, text=True, check=False)
        assert ran.returncode == 0, (words, ran.stderr)
        return ran.stdout

    def written_state(container: str) -> tuple[str, int]:
        known = json.loads((store / "containers" / container / "record.json").read_text())
        return known["state"], known["status"]

    place.mkdir()
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, place], check=True)
    try:
        script = "while [ ! -e /go/now ]; do sleep 0.1; done; exit 3"
        (tmp_path / "go").mkdir()
        ended = do("run", "-d", "-v", f"{tmp_path}/go:/go:ro", "--rootfs", str(busybox_root), "sh", "-c", script).strip()
        killed = do("run", "-d", "--rootfs", str(busybox_root), "sleep", "1000").strip()
        subprocess.run(["mount", "-o", "remount,abort", place], check=True)
        with pytest.raises(OSError, match="Read-only file system"):
            (place / "file").touch()
        (tmp_path / "go/now").touch()
        do("kill", "-s", "TERM", killed)
        assert (do("wait", ended), do("wait", killed)) == ("3\n", "143\n")
        assert "Exited (3)" in do("ps", "-a")
        assert json.loads(do("inspect", ended))[0]["State"]["ExitCode"] == 3
        assert written_state(ended)[0] == "running"  # it cannot be
        assert eventually(lambda: subprocess.run(["umount", place], check=False, capture_output=True).returncode == 0)
        subprocess.run(["mount", "-o", "loop", disk, place], check=True)
        full_id = next(path.name for path in (store / "containers").iterdir() if path.name.startswith(ended))
        assert eventually(lambda: written_state(full_id) == ("stopped", 3))
        do("rm", ended, killed)
    finally:
        assert eventually(lambda: subprocess.run(["umount", place], check=False, capture_output=True).returncode == 0)
