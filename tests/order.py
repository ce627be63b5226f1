"""The order of test files, longest first.

With three files at a time, a long one that begins last would leave a processor idle.

How long each took is kept for all clones, in `seconds.json` beside what images/kept.py
keeps, by whichever session ran it last with the same markers: `make test-all` has other
tests of a file than `make test`. Of a file that it does not know, a session guesses by
what its tests are about: a browser, a kernel, a container, or nothing but functions.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from images import kept

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_KEY = "cellhold_seconds"
_SECONDS = {"browser": 30.0, "vm": 5.0, "kernel": 3.0, "security": 1.5, "network": 1.5, "system": 1.0}  # of one test, by directory
_LEAST_SECONDS = 0.05


class Order:
    """Sorts what was collected, and notes how long each file takes."""

    def __init__(self, known: Mapping[str, float]) -> None:
        self.known = known
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the longest files first, in the same order in every process."""
        items[:] = longest_first(items, self.known)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the time of a test, of its fixtures too, for its file."""
        self.seconds[_file(report.nodeid)] += report.duration


def pytest_configure(config: pytest.Config) -> None:
    """Look up how long files took.

    A process of pytest-xdist gets it from the first one: another session may have kept
    more since.
    """
    given = getattr(config, "workerinput", None)
    config.pluginmanager.register(Order(read(place(), config.option.markexpr) if given is None else given[_KEY]), "cellhold-order")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass it on to a process of pytest-xdist."""
    node.workerinput[_KEY] = node.config.pluginmanager.get_plugin("cellhold-order").known


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the times of the files that ran.

    Not of a few tests, nor in a process of pytest-xdist, whose reports go to the first.
    """
    if hasattr(session.config, "workerinput") or session.config.args != session.config.getini("testpaths"):
        return
    if session.config.option.keyword or session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return
    order = session.config.pluginmanager.get_plugin("cellhold-order")
    keep(place(), session.config.option.markexpr, order.seconds)  # type: ignore[union-attr]


def place() -> Path:
    """Return the path of the file that keeps the seconds."""
    return kept.place() / "seconds.json"


def read(path: Path, markers: str) -> dict[str, float]:
    """Return the seconds by file, of tests with such markers; none if none are kept."""
    return _kept(path).get(markers, {})


def keep(path: Path, markers: str, seconds: Mapping[str, float]) -> None:
    """Add the seconds of some files, of tests with such markers, to what is kept."""
    took = {file: round(each, 1) for file, each in seconds.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps({**_kept(path), markers: {**read(path, markers), **took}}), encoding="utf-8")
    fresh.replace(path)


def _kept(path: Path) -> dict[str, dict[str, float]]:
    with suppress(OSError, ValueError):
        known: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
        return known
    return {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the longest files, if pytest prints the longest tests.

    They are the ones to examine when a session takes too long.
    """
    config = terminalreporter.config
    order = config.pluginmanager.get_plugin("cellhold-order")
    if not config.option.durations or order is None:
        return
    longest = sorted(order.seconds.items(), key=lambda one: -one[1])[: 2 * config.option.durations]
    terminalreporter.section(f"longest files, of {sum(order.seconds.values()):.0f} s in all", sep="=")
    terminalreporter.write("".join(f"{seconds:6.1f}s {file}\n" for file, seconds in longest))


def longest_first(items: Sequence[pytest.Item], known: Mapping[str, float]) -> list[pytest.Item]:
    """Return the tests, file by file; a file's own keep their order."""
    files: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        files[_file(item.nodeid)].append(item)
    seconds = {file: known.get(file, len(tests) * _guess(file)) for file, tests in files.items()}
    return [item for file in sorted(files, key=lambda file: (-seconds[file], file)) for item in files[file]]


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def _guess(file: str) -> float:
    return next((seconds for directory, seconds in _SECONDS.items() if file.startswith(f"tests/{directory}/")), _LEAST_SECONDS)
