"""FROM host: images that are layers on top of this machine's own files, and nothing anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cellhold.cli import main
from cellhold.image import stored
from cellhold.image.host import image as host_image
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.store.home import Home

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp")

NAME = "on-host:1"
DOCKERFILE = """
FROM host
COPY one.txt /usr/local/share/mine/one.txt
RUN echo made > /usr/local/bin/made && rm -f /usr/bin/yes && echo root > /etc/mine
CMD ["cat", "/usr/local/bin/made", "/etc/mine", "/usr/local/share/mine/one.txt"]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "store"))
    return open_home()


@pytest.fixture
def built(tmp_path: Path, home: Home) -> Home:
    """A store with the image."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "one.txt").write_text("one\n")
    assert main(["build", "-q", "-t", NAME, str(context)]) == 0
    return home


def test_what_a_step_wrote_anywhere_is_there_and_what_it_removed_is_gone(built: Home, capfd: pytest.CaptureFixture[str]) -> None:
    assert stored.find(NAME, built).on_host
    capfd.readouterr()
    assert main(["run", "--rm", NAME]) == 0
    assert capfd.readouterr().out == "made\nroot\none\n"
    assert main(["run", "--rm", NAME, "sh", "-c", "test ! -e /usr/bin/yes && test -e /usr/bin/ls"]) == 0
    assert main(["run", "--rm", "host", "test", "-e", "/usr/local/bin/made"]) == 1


def test_it_is_sent_nowhere(built: Home, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["save", "-o", str(tmp_path / "archive.tar"), NAME]) == 1
    assert main(["push", "localhost:1/on-host:1"]) == 1
    assert main(["tag", NAME, "localhost:1/on-host:1"]) == 0
    assert main(["push", "localhost:1/on-host:1"]) == 1
    said = capfd.readouterr().err
    assert said.count("cannot send image") == 2
    assert stored.find("localhost:1/on-host:1", built).on_host


def test_a_link_in_a_layer_shows_nothing_of_the_host(tmp_path: Path, home: Home) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    (good / "usr").mkdir(parents=True)
    bad.mkdir()
    (bad / "usr").symlink_to("/etc")
    usr = next(stack for stack in stored.stacks((good, bad), home, on_host=True) if stack.target == "/usr")
    own = next(stack for stack in host_image(home).stacks if stack.target == "/usr")
    assert usr.layers == (good / "usr", *own.layers)
