"""Builds: what is refused and how it is told, what is left then, what is the same each time; FROM scratch; limits."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import builds
from boxes import eventually
from cellhold import Limits
from cellhold.build.builder import build
from cellhold.build.context import Context
from cellhold.build.options import Options
from cellhold.build.progress import Ended, Wrote
from cellhold.cli import main
from cellhold.container.container import Container
from cellhold.errors import BuildFailed, CellholdError, InvalidSpec
from cellhold.image import stored
from cellhold.image.pulling import pull
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import CodeType

    from cellhold.build.progress import Event
    from cellhold.image.stored import StoredImage
    from cellhold.store.home import Home
    from images import Image
    from peers import Peers
    from registry import Registry

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp")

EPOCH = "1000000000"
STATUS_FAILED = 1
MEBIBYTE = 1 << 20


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A store of this test's own."""
    monkeypatch.setenv("CELLHOLD_HOME", str(tmp_path / "store"))
    return open_home()


@pytest.fixture
def base(busybox_image: Image, registry: Registry, peers: Peers, home: Home) -> str:
    """A small image, pulled."""
    reference = peers.push(busybox_image, registry.reference("busybox:1"))
    pull(reference, home=home)
    return reference


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A directory with a file and a directory."""
    made = tmp_path / "context"
    (made / "directory").mkdir(parents=True)
    (made / "file").write_text("file\n")
    (made / "directory/inside").write_text("inside\n")
    return made


def made(text: str, context: Path, home: Home, *, tell: Callable[[Event], object] = lambda _event: None, **options: object) -> StoredImage:
    return build(text, "Dockerfile", Context(context), home, Options(**options), tell=tell)  # type: ignore[arg-type]


def left(home: Home) -> list[str]:
    """What a build may leave while it goes on, and nothing else may."""
    places = [home.root / name for name in ("scratch", "containers")]
    return [str(path) for place in places if place.exists() for path in place.iterdir()]


@pytest.mark.parametrize(
    ("instructions", "sentence"),
    [
        ("COPY missing /", r"line 3 of Dockerfile, 'COPY missing /': cannot copy 'missing': the build context has no such file"),
        ("COPY *.c /", r"cannot copy '\*\.c': the build context has no such file"),
        ("COPY ../outside /", r"cannot copy '\.\./outside': it lies outside of the build context"),
        ("COPY directory/../../x /", r"it lies outside of the build context"),
        ("COPY to-outside /", r"cannot copy 'to-outside': the build context has no such file"),
        ("COPY --chown=nobody-there file /", r"the user 'nobody-there': the image's /etc/passwd does not have it"),
        ("COPY --chown=user:nobodies file /", r"the group 'nobodies': the image's /etc/group does not have it"),
        ("COPY --chown=70000 file /", r"cannot use the id 70000: a container has those up to 65535"),
        ("COPY --chmod=rwx file /", r"cannot use --chmod=rwx: not a mode"),
        ("COPY directory /data/stays", r"'data/stays' is not a directory, and 'directory' is one"),
        ("COPY directory /data/stays/below", r"'data/stays' is not a directory"),
        ("COPY clash /", r"'data' is a directory, and 'clash/data' is not"),
        ("COPY file directory /data/stays", r"cannot copy several files to '/data/stays': it is not a directory"),
        ("COPY [ /", r"cannot copy '\[': a '\[' is not closed"),
        ("COPY --from=3 / /", r"there is no stage 3"),
        ("COPY --from=no-such-image / /", r"no-such-image"),
        ("ADD https://example.org/file /", r"this version fetches nothing from the network"),
        ('RUN ["/no/such/program"]', r"/no/such/program"),
        ("WORKDIR /data/stays", r"cannot use /data/stays as a directory"),
        ("USER nobody-there\nRUN true", r"nobody-there"),
        ("RNU true", r"line 3 of Dockerfile, 'RNU true': there is no instruction RNU"),
        ("ENV", r"line 3 of Dockerfile, 'ENV': "),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_nothing_is_left(
    instructions: str, sentence: str, base: str, context: Path, home: Home
) -> None:
    (context / "to-outside").symlink_to("../../outside")
    (context / "clash").mkdir()
    (context / "clash/data").write_text("a file\n")
    text = f"FROM {base}\nENV BEFORE=1\n{instructions}\n"
    with pytest.raises(CellholdError, match=sentence) as raised:
        made(text, context, home)
    assert re.match(r"cannot use line [345] of Dockerfile, '", str(raised.value))
    assert "\n" not in str(raised.value)
    assert left(home) == []


def test_from_an_image_that_does_not_exist_is_refused(registry: Registry, context: Path, home: Home) -> None:
    with pytest.raises(InvalidSpec, match=r"line 1 of Dockerfile, 'FROM .*nothing:1': ") as raised:
        made(f"FROM {registry.reference('nothing:1')}\n", context, home)
    assert "\n" not in str(raised.value)
    assert left(home) == []


def test_a_program_that_fails_is_told_with_its_last_lines_and_the_steps_before_it_stay(
    base: str, context: Path, home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    (context / "Dockerfile").write_text(f"FROM {base}\nRUN echo kept > /kept\nRUN echo first; seq 1 30; printf 'red: \\033[31m'; exit 7\n")
    assert main(["build", "-t", "failing:1", str(context)]) == STATUS_FAILED
    _out, errors = capfd.readouterr()
    said = errors[errors.index("cellhold: ") :]
    assert said.splitlines()[0].endswith("it ended with status 7")
    assert "line 3 of" in said
    assert "    30\n" in said
    assert "    first" not in said
    assert "\033" not in said
    assert left(home) == []
    assert not stored.has("failing:1", home)
    events: list[Event] = []
    made(f"FROM {base}\nRUN echo kept > /kept\n", context, home, tell=events.append)
    assert [event.cached for event in events if isinstance(event, Ended)] == [True, True]


def test_limits_of_a_step_hold_and_name_the_flag_that_raises_them(base: str, context: Path, home: Home) -> None:
    with pytest.raises(BuildFailed, match="memory limit") as raised:
        made(f"FROM {base}\nRUN dd if=/dev/zero of=/dev/null bs=200M count=1\n", context, home, limits=Limits(memory_bytes=64 * MEBIBYTE))
    assert "--memory" in str(raised.value.hint)
    with pytest.raises(BuildFailed, match="time limit") as raised:
        made(f"FROM {base}\nRUN sleep 100\n", context, home, limits=Limits(seconds=2))
    assert "--time" in str(raised.value.hint)
    assert left(home) == []


@pytest.mark.requires("loop-devices")
def test_a_limit_on_disk_holds_and_what_a_short_program_wrote_under_it_is_there(base: str, context: Path, home: Home) -> None:
    limits = Limits(disk_bytes=32 * MEBIBYTE)
    with pytest.raises(BuildFailed, match="ended with status 1") as raised:
        made(f"FROM {base}\nRUN dd if=/dev/zero of=/large bs=1M count=100\n", context, home, limits=limits)
    assert "--disk" in str(raised.value.hint)
    assert "No space left on device" in "".join(raised.value.last)
    for number in range(3):
        image = made(f'FROM {base}\nRUN ["/bin/touch", "/quick{number}"]\n', context, home, limits=limits)
        assert f"quick{number}" in builds.tree(image, home)
    assert left(home) == []


def test_a_context_that_changes_while_it_is_read_is_refused(base: str, context: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Context(context).source()
    copy = type(source).tar

    def tar(self: object, copies: object, expected: str) -> object:
        (context / "file").write_text("another one, after it was summed\n")
        return copy(self, copies, expected)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(type(source), "tar", tar)
        with pytest.raises(InvalidSpec, match="files changed while they were read"):
            made(f"FROM {base}\nCOPY . /all\n", context, home)
    assert left(home) == []
    image = made(f"FROM {base}\nCOPY . /all\n", context, home)
    assert builds.tree(image, home)["all/file"][4] == "another one, after it was summed\n"


def test_a_build_that_is_killed_in_a_run_leaves_nothing_after_the_next_command(base: str, context: Path, home: Home) -> None:
    (context / "Dockerfile").write_text(f"FROM {base}\nRUN echo kept > /kept\nRUN echo running; sleep 1000\n")
    command = [sys.executable, "-m", "cellhold.cli", "build", "--progress", "plain", str(context)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.endswith(" running\n"):
                break
        assert left(home)
        process.send_signal(signal.SIGKILL)
        process.wait()
    events: list[Event] = []
    made(f"FROM {base}\nRUN echo kept > /kept\nCOPY file /\n", context, home, tell=events.append)
    assert [event.cached for event in events if isinstance(event, Ended)] == [True, True, False]
    assert eventually(lambda: left(home) == [])


def test_an_interrupt_ends_a_step_at_once(base: str, context: Path, home: Home) -> None:
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def interrupt(event: Event) -> None:
        if isinstance(event, Wrote):
            assert eventually(lambda: _is_in(main_thread, Container.wait.__code__))
            signal.pthread_kill(main_thread, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background has it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            made(f"FROM {base}\nRUN echo running; sleep 5000\n", context, home, tell=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert eventually(lambda: left(home) == [])


def _is_in(thread: int, code: CodeType) -> bool:
    frame = sys._current_frames().get(thread)  # the only way to ask what another thread does
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None


def test_the_same_dockerfile_gives_the_same_image_each_time(base: str, context: Path, home: Home) -> None:
    text = f"""
FROM {base} AS first
RUN mkdir -p /made/deep && echo one > /made/deep/file && rm /data/goes2 /data/changes 2>/dev/null; true
WORKDIR /new/directory
COPY file /parents/made/file
COPY directory copied
FROM {base}
COPY --from=first /made /from/first/
ADD archive.tar /unpacked/
ENV A=1
"""
    (context / "file").touch()
    subprocess.run(["tar", "-cf", "archive.tar", "directory"], cwd=context, check=True)
    told = {"SOURCE_DATE_EPOCH": EPOCH}
    first = made(text, context, home, cache=False, build_args=told)
    time.sleep(1.1)
    os.utime(context / "file")
    again = made(text, context, home, cache=False, build_args=told)
    assert again.id == first.id
    config = json.loads(first.config.raw)
    assert config["created"] == "2001-09-09T01:46:40Z"
    assert made(text, context, home, build_args=told).id == first.id
    without = made(text, context, home)
    assert without.id != first.id
    events: list[Event] = []
    assert made(text, context, home, tell=events.append).id == without.id
    assert all(event.cached for event in events if isinstance(event, Ended))


def test_an_epoch_that_no_clock_has_is_refused(context: Path, home: Home) -> None:
    for text in ("now", "-1", "9" * 30):
        with pytest.raises(InvalidSpec, match="not a number of seconds"):
            made("FROM scratch\nLABEL a=b\n", context, home, build_args={"SOURCE_DATE_EPOCH": text})


def test_an_image_from_nothing_has_what_was_copied_and_no_mount_points(context: Path, home: Home) -> None:
    shutil.copy(str(shutil.which("busybox")), context / "busybox")
    text = 'FROM scratch\nCOPY busybox /\nRUN ["/busybox", "touch", "/made"]\nRUN ["/busybox", "true"]\nCMD ["/busybox"]\n'
    image = made(text, context, home)
    assert set(builds.tree(image, home)) == {"busybox", "made"}
    assert len(image.chain_ids) == 2  # `true` has made none
    with pytest.raises(InvalidSpec, match=r"line 3 of Dockerfile, 'RUN echo no shell': .*/bin/sh") as raised:
        made("FROM scratch\nCOPY busybox /\nRUN echo no shell\n", context, home)
    assert "\n" not in str(raised.value)
    with pytest.raises(InvalidSpec, match="stage nothing has no such file"):
        made("FROM scratch AS nothing\nFROM scratch\nCOPY --from=nothing / /\n", context, home)
    assert left(home) == []


def test_a_step_leaves_no_mount_point_in_its_layer(base: str, context: Path, home: Home) -> None:
    before = set(builds.tree(made(f"FROM {base}\n", context, home), home))
    image = made(f"FROM {base}\nRUN <<E\n#!/bin/sh\necho script > /made\nE\nRUN rm /made; echo again > /made\n", context, home)
    assert set(builds.tree(image, home)) - before == {"made"}


def test_heredocs_are_scripts_and_files(base: str, tmp_path: Path, home: Home) -> None:
    context = builds.prepare("heredocs", tmp_path / "heredocs", base)
    found = builds.tree(builds.ours(context, home, {"BASE": base}).image, home)
    texts = {name: found[name][4] for name in ("first", "second", "third", "fourth", "fifth", "texts/one", "texts/two")}
    assert texts == {
        "first": "first\n",
        "second": "value\n",
        "third": "script: /dev/shm/heredoc\n",
        "fourth": "value\n",
        "fifth": "$NAME\n",
        "texts/one": "value\n",
        "texts/two": "$NAME\n",
    }


def test_a_fifo_in_the_context_stops_nobody(base: str, context: Path, home: Home) -> None:
    os.mkfifo(context / "fifo")
    assert builds.tree(made(f"FROM {base}\nADD fifo /\n", context, home), home)["fifo"][0] == "p"


def test_the_command_prints_the_id_and_prune_forgets_the_steps(
    base: str, context: Path, home: Home, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (context / "Dockerfile").write_text(f"FROM {base}\nCOPY file /\nLABEL a=b\n")
    words = ["build", "-q", "-t", "mine:1", "--label", "c=d", "--iidfile", str(tmp_path / "id"), str(context)]
    assert main(words) == 0
    printed = capfd.readouterr().out
    assert printed.strip() == (tmp_path / "id").read_text()
    assert main(["builder", "prune"]) == 0
    assert list(home.builds.all()) == []
    capfd.readouterr()
    assert main(["build", "--progress", "json", str(context)]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [event["cached"] for event in events if event["event"] == "ended"] == [True, False, True]
    assert events[-1]["event"] == "built"


def test_a_text_in_the_dockerfile_is_written_nowhere_but_into_the_image(base: str, tmp_path: Path, home: Home) -> None:
    context = tmp_path / "context"
    context.mkdir()
    outside = tmp_path / "outside"
    text = f"FROM {base}\nCOPY <<{outside} /copied/\nwas written\n{outside}\n"
    made = build(text, "Dockerfile", Context(context), home, Options())
    assert not outside.exists()
    assert (home.layers.tree(made.chain_ids[-1]) / "copied/outside").read_text() == "was written\n"


def test_a_dockerignore_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("[\n")
    (tmp_path / "context").mkdir()
    (tmp_path / "context/.dockerignore").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidSpec, match="Too many levels of symbolic links"):
        Context(tmp_path / "context")
