"""HEALTHCHECK as Docker keeps it in an image's config.

Durations are in nanoseconds. No check is performed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellhold.build import gotext

if TYPE_CHECKING:
    from cellhold.build.instruction import Instruction

_DURATIONS = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval"}
_LEAST_NANOSECONDS = 10**6
_MOST_RETRIES_DIGITS = 9


def healthcheck(instruction: Instruction) -> dict[str, Any]:
    """Return the object "Healthcheck".

    What is not given, or is 0, is not in it: Docker's defaults hold. Raises
    InvalidSpec.
    """
    kind, *command = instruction.words
    if kind.upper() == "NONE":
        return {"Test": ["NONE"]}
    test = ["CMD", *command] if instruction.is_json else ["CMD-SHELL", *command]
    times = {key: _nanoseconds(instruction, name) for name, key in _DURATIONS.items()}
    found = {"Test": test, **times, "Retries": _retries(instruction)}
    return {key: value for key, value in found.items() if value}


def format_healthcheck(check: dict[str, Any]) -> str:
    """Format a healthcheck as BuildKit writes it into an image's history.

    That is Go's %+v of the whole structure.
    """
    times = (f"{key}:{gotext.duration(check.get(key, 0))}" for key in _DURATIONS.values())
    return f"{{Test:[{' '.join(check['Test'])}] {' '.join(times)} Retries:{check.get('Retries', 0)}}}"


def _nanoseconds(instruction: Instruction, name: str) -> int:
    text = instruction.flag(name)
    if text is None:
        return 0
    try:
        count = gotext.nanoseconds(text)
    except ValueError as error:
        raise instruction.refused(f"--{name}: {error}", "write 30s, 1m30s, 500ms ...") from None
    if count and count < _LEAST_NANOSECONDS:
        raise instruction.refused(f"--{name}={text} is shorter than 1ms")
    return count


def _retries(instruction: Instruction) -> int:
    text = instruction.flag("retries") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_RETRIES_DIGITS):
        raise instruction.refused(f"--retries={text[:100]} is not a whole number of 0 or more")
    return int(text)
