"""What every test has: a store of its own session, `requires(...)` that skips with doctor's sentence, and no leaks.

The table of features is `cellhold.doctor.FEATURES`, the same that `cellhold doctor` prints; the detector of leaks is leaks.py.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_core.utils import ensure_event_loop

import leaks
from cellhold import doctor
from cellhold.container import launcher
from cellhold.image import host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.doctor.feature import Finding

pytest_plugins = (
    "images",
    "peers",
    "registry",
    "liar",
    "unpacking",
    "kernelspecs",
    "order",
)  # fixtures: images, who else makes and keeps those; kernels

collect_ignore = [] if os.geteuid() else ["vm"]  # what an ordinary user can do in the guest
_MADE_SLOWLY = {"debian_image", "debian_python_image"}  # once for all sessions, by whichever test asks first
_MAKING_SECONDS = 1800
_skipped: Counter[str] = Counter()
_left: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a feature that doctor does not know: a mistyped one would skip, or run, for no reason. Give time to what makes an image."""
    for item in items:
        unknown = [name for name in _required(item) if name not in doctor.FEATURES]
        if unknown:
            raise pytest.UsageError(f"{item.nodeid} requires {', '.join(unknown)}: not in cellhold.doctor.FEATURES")
        if _MADE_SLOWLY.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(_MAKING_SECONDS))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of something that this host cannot do; the reason is what `cellhold doctor` says of it."""
    for name in _required(item):
        finding = _finding(name)
        if not finding.ok:
            _skipped[finding.advice()] += 1
            pytest.skip(finding.advice())


@pytest.hookimpl(trylast=True)  # after the session's fixtures are torn down
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that leaves something behind, although no single test did; a process of several tells the first one."""
    told = getattr(session.config, "workeroutput", {})  # pytest-xdist's
    told["left"], told["skipped"] = _left, dict(_skipped)
    if _left and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear what one of several processes (pytest-xdist) has left behind and skipped; each has a store of its own."""
    told = getattr(node, "workeroutput", {})
    _left.extend(told.get("left", []))
    _skipped.update(told.get("skipped", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the session left behind, and, where it counts, feature by feature what kept tests from running."""
    if _left:
        terminalreporter.section("the whole session left behind", red=True)
        terminalreporter.write("".join(f"{line}\n" for line in _left))
    if _skipped and (os.environ.get("CI") == "true" or os.environ.get("CELLHOLD_TEST_STRICT") == "1"):
        terminalreporter.section("skipped for what this host cannot do")
        for advice, count in _skipped.most_common():
            terminalreporter.write_line(f"{count} test{'s' if count > 1 else ''}: {advice}")


@cache
def _finding(name: str) -> Finding:
    """What doctor says of this host with this session's store; not doctor.look(), which a test may have asked on a full disk."""
    return doctor.FEATURES[name].examine()


def _required(item: pytest.Item) -> list[str]:
    return [name for marker in item.iter_markers("requires") for name in marker.args]


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A store that ends with the session: on a disk, and with a short path, since sockets' paths have 107 bytes."""
    home = tempfile.mkdtemp(prefix="ch", dir="/var/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLHOLD_HOME", home)
        patch.setenv("CELLHOLD_NETWORK", "none")  # this machine's own network is nothing to test on
        loop = ensure_event_loop()  # jupyter_client keeps one for its blocking calls, and would make it in whichever test is first
        host.hold_prefixes()  # where this Python lives is held as long as it runs
        before = leaks.take()
        with leaks.announced(tmp_path_factory.getbasetemp()):
            yield
            launcher.shutdown()
            found = leaks.left_over(before)
        loop.close()
    shutil.rmtree(home, ignore_errors=True)
    _left.extend(found)


@pytest.fixture(scope="module", autouse=True)
def _no_file_leaves_anything(request: pytest.FixtureRequest, _home: None) -> Iterator[None]:
    """Look once for a whole file of unit tests, which make next to nothing, and for one whose tests share kernels."""
    if not _is_unit(request) and request.node.get_closest_marker("shared_kernels") is None:
        yield
        return
    with _nothing_left(allowed=False):
        yield


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest, _home: None) -> Iterator[None]:
    """Fail a test that leaves a process, mount, cgroup, network namespace, descriptor, loop device or directory."""
    if _is_unit(request) or request.node.get_closest_marker("shared_kernels") is not None:
        yield
        return
    with _nothing_left(allowed=request.node.get_closest_marker("leaks_allowed") is not None):
        yield


def _is_unit(request: pytest.FixtureRequest) -> bool:
    return request.path.parent.name == "unit"


@contextmanager
def _nothing_left(*, allowed: bool) -> Iterator[None]:
    if allowed:
        yield
        return
    launcher.resident()  # the launcher that the library keeps for the next container is no leak, nor is the socket to it
    before = leaks.take(ignore=launcher.resident_pids())
    yield
    launcher.resident()
    found = leaks.left_over(before, ignore=launcher.resident_pids())
    if found:
        pytest.fail("left behind:\n  " + "\n  ".join(found), pytrace=False)


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system of one static program and its names: starts in a millisecond, needs no libraries."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed: apt install busybox-static")
    root = tmp_path_factory.mktemp("busybox")
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "var"):
        (root / name).mkdir()
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "true", "false", "cat", "echo", "ls", "sleep", "id", "mount", "ps", "kill", "dd", "hostname", "touch", "mkdir"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    return root


@pytest.fixture
def machine_unchanged() -> Iterator[None]:
    """Whatever a test has tried, the machine's own /usr has not changed under it."""
    before = Path("/usr/bin/env").stat()
    yield
    after = Path("/usr/bin/env").stat()
    assert (before.st_mtime_ns, before.st_size, before.st_ino) == (after.st_mtime_ns, after.st_size, after.st_ino)
