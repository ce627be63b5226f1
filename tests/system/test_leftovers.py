"""What a crash left is freed by each command that removes or counts things, before anything else, and is counted."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from boxes import MIB, command
from cellhold.store import durable, record
from cellhold.store.home import open_home
from cellhold.store.scratch import NAME, scratch

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.store.home import Home

pytestmark = pytest.mark.requires("root")
PRUNES = ("system prune -f", "builder prune", "image prune -f", "volume prune -f")
FREED_MIB = 6  # of what leftovers() makes


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty store."""
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "store"))
    return open_home()


def leftovers(home: Home) -> list[Path]:
    """A container whose process was killed, a volume that is half removed, and work that nobody goes on with: 2 MiB each."""
    container, scraps = home.container("0123456789ab"), home.root / NAME
    volume = home.volumes / f"{durable.REMOVING}0123456789ab"
    places = [container / "storage/0/upper", volume / "_data", scraps / "0123456789ab"]
    for place in places:
        place.mkdir(parents=True)
        (place / "large").write_bytes(bytes(2 * MIB))
    record.Record(id=container.name, name="twin", image="host", args=["true"], created=time.time()).write(container)
    return [container, volume, places[-1]]


@pytest.mark.parametrize("words", [*PRUNES, "system df", "rm x", "rm -f x", "rmi x", "volume rm x", "network rm x", "network prune -f"])
def test_each_command_that_removes_or_counts_sweeps_first(home: Home, words: str) -> None:
    left = leftovers(home)
    done = command(*words.split())
    assert [path for path in left if path.exists()] == [], done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", PRUNES)
def test_what_is_freed_so_is_counted(home: Home, words: str) -> None:
    leftovers(home)
    done = command(*words.split())
    freed = re.search(r"Total reclaimed space: ([\d.]+) MiB", done.stdout)
    assert freed is not None, done.stdout + done.stderr
    assert float(freed[1]) >= FREED_MIB


def test_work_that_goes_on_is_counted_and_stays(home: Home) -> None:
    with scratch(home.root) as place:
        (place / "large").write_bytes(bytes(2 * MIB))
        rows = {row.split("  ")[0].lower(): row for row in command("system", "df").stdout.splitlines()}
        assert re.search(r"\b1\s+1\s+2(\.\d+)? MiB\s+0 bytes", rows["scratch"]), rows
        assert place.exists()
