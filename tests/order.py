"""The order of test files, longest first.

With two files at a time, a long one that begins last would leave a processor idle.

How long each took is kept in pytest's cache (`.pytest_cache`) by whichever session ran
it last. Of a file that it does not know, a clone's first session guesses by what its
tests are about: a browser, a kernel, a container, or nothing but functions.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEY = "cellhold/seconds"
_SECONDS = {"browser": 30.0, "vm": 5.0, "kernel": 3.0, "security": 1.5, "network": 1.5, "system": 1.0}  # of one test, by directory
_LEAST_SECONDS = 0.05


class Order:
    """Sorts what was collected, and notes how long each file takes."""

    def __init__(self, known: Mapping[str, float]) -> None:
        self._known = known
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the longest files first, in the same order in every process."""
        items[:] = longest_first(items, self._known)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the time of a test, of its fixtures too, for its file."""
        self.seconds[_file(report.nodeid)] += report.duration


def pytest_configure(config: pytest.Config) -> None:
    """Look up what is known."""
    cache = getattr(config, "cache", None)  # None: -p no:cacheprovider
    known = cache.get(_KEY, {}) if cache else {}
    config.pluginmanager.register(Order(known), "cellhold-order")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the times of the files that ran.

    Not of a few tests, nor in a process of pytest-xdist, whose reports go to the first.
    """
    cache = getattr(session.config, "cache", None)
    if cache is None or hasattr(session.config, "workerinput") or session.config.args != session.config.getini("testpaths"):
        return
    if session.config.option.keyword or session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return
    order = session.config.pluginmanager.get_plugin("cellhold-order")
    took = {file: round(seconds, 1) for file, seconds in order.seconds.items()}  # type: ignore[union-attr]
    cache.set(_KEY, {**cache.get(_KEY, {}), **took})


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
