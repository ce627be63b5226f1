"""What views may ask the panel for, and what is refused before anything is looked at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cellhold_kernel.engine.controls import Controls
from cellhold_kernel.gate.images import Names
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.widgets.panel import Panel


class Told:
    """A comm that keeps what was sent."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def send(self, _face: Any, content: dict[str, Any]) -> None:
        self.said.append(content)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def panel(told: Told) -> Panel:
    """Of a notebook that may run images of lab/ only, and runs none now."""
    session: Any = SimpleNamespace(
        current=None, stopped=None, is_coming=False, owner="a1", missing={}, names=Names, policy=lambda: Policy(images=("lab/*",))
    )
    unused: Any = None
    comms: Any = told
    return Panel(comms, unused, session, Controls(session), unused)


def ask(panel: Panel, **content: Any) -> None:
    panel.receive(panel.widgets["panel"], {"view": "v", **content})


def test_an_image_that_the_policy_forbids_is_not_compared_with(panel: Panel, told: Told) -> None:
    ask(panel, do="compare", other="secret/model:1")
    ask(panel, do="compare", other="lab/py:1")
    first, second = told.said
    assert "cannot use image=secret/model:1" in first["text"]
    assert second["text"] == "only an image has layers to look into"


@pytest.mark.parametrize("content", [{}, {"do": None}, {"do": ["act"]}, {"do": "format"}, {"do": {"a": 1}, "view": [1]}])
def test_what_means_nothing_is_not_answered(panel: Panel, told: Told, content: dict[str, Any]) -> None:
    ask(panel, **content)
    assert told.said == []


def test_a_view_that_says_hello_gets_everything_and_no_more_than_so_many_are_remembered(panel: Panel, told: Told) -> None:
    for number in range(100):
        panel.receive(panel.widgets["panel"], {"do": "hello", "view": number})
    assert [said["t"] for said in told.said if said["t"] != "state"] == ["full"] * 100
    assert len(panel._views) == 64
