"""How a container ended, in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from cellhold.spec.outcome import Outcome, Why

MIB = 1 << 20

SENTENCES: list[tuple[dict[str, Any], str]] = [
    ({"status": 0}, "exited with status 0"),
    ({"status": 3}, "exited with status 3"),
    ({"status": 143, "signal": 15}, "ended by signal 15 (SIGTERM)"),
    ({"status": 128 + 40, "signal": 40}, "ended by signal 40 (unknown)"),
    ({"status": 137, "signal": 9, "why": Why.KILLED}, "killed by user"),
    ({"status": 0, "why": Why.KILLED}, "stopped by user with status 0"),
    ({"status": 137, "signal": 9, "why": Why.LOST}, "ended together with the process that watched it"),
    (
        {"status": 137, "signal": 9, "why": Why.MEMORY, "memory_limit_bytes": 64 * MIB, "memory_peak_bytes": 64 * MIB},
        "killed: it reached its memory limit of 64 MiB (peak 64 MiB)",
    ),
    ({"status": 137, "signal": 9, "why": Why.MEMORY, "memory_limit_bytes": 64 * MIB}, "killed: it reached its memory limit of 64 MiB"),
    ({"status": 137, "signal": 9, "why": Why.MEMORY}, "killed: it reached the host's memory"),
    ({"status": 137, "signal": 9, "why": Why.TIME, "time_limit_seconds": 90.0}, "killed: it reached its wall-time limit of 1m30s"),
]


@pytest.mark.parametrize(("values", "sentence"), SENTENCES)
def test_an_outcome_is_told_in_one_sentence(values: dict[str, Any], sentence: str) -> None:
    facts: dict[str, Any] = {"signal": None, "why": Why.EXITED, "seconds": 1.0} | values
    assert Outcome(**facts).sentence() == sentence
