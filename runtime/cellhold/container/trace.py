"""`--trace`: how a container was made, in words and with times.

The descriptions of the launcher's and PID 1's steps are the steps' own (init/steps).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.init.steps import ALL_STEPS

if TYPE_CHECKING:
    from cellhold.init.plan import Plan
    from cellhold.spec.tracing import Step

_NAME_WIDTH = 22
_TITLES = {
    "prepare": "on the host, before anything runs",
    "launch": "the launcher clones PID 1 into new namespaces",
    "become": "PID 1 becomes the container (in its own namespaces, no longer on the host)",
    "program": "the program",
    "end": "afterwards",
}


def describe_steps(plan: Plan) -> dict[str, str]:
    """Return the description of each step of the launcher and of PID 1, by name."""
    return {step.name: step.describe(plan) for step in ALL_STEPS}


def format_trace(steps: list[Step]) -> str:
    """Format the steps, one line each, under titles.

    A line says when the step began (ms since the first), how long it took, and what it
    did.
    """
    if not steps:
        return ""
    ordered = sorted(steps, key=lambda step: step.start)
    first = ordered[0].start
    lines = []
    chapter = ""
    for step in ordered:
        if (title := _TITLES[_chapter_of(step)]) != chapter:
            lines.append(f"\n{title}")
            chapter = title
        lines.append(
            f"  {(step.start - first) * 1e3:8.2f} ms  +{step.seconds * 1e3:7.2f}  {step.name:{_NAME_WIDTH}} {step.detail}".rstrip()
        )
    total = max(step.start + step.seconds for step in ordered) - first
    lines.append(f"\n  {total * 1e3:8.2f} ms in all")
    return "\n".join(lines).lstrip("\n")


def _chapter_of(step: Step) -> str:
    """Return the key in _TITLES that a step belongs under."""
    if step.where == "container":
        return "program" if step.name.startswith("program.") else "become"
    if step.name.startswith("launch."):
        return "launch"
    return {"program.wait": "program", "container.remove": "end"}.get(step.name, "prepare")
