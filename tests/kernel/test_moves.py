"""Every move that is not possible is refused, in every state, by word and by button, with the one table's reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jupyter_client.manager import KernelManager

from cellhold.spec.lifecycle import State
from cellhold_kernel.engine.controls import MOVES, reason
from kernels import running
from views import hear, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernels import Notebook

pytestmark = [pytest.mark.requires("root", "overlayfs", "cgroup-freezer"), pytest.mark.usefixtures("jupyter_path")]

WAYS = {State.RUNNING: (), State.PAUSED: ("pause",), State.STOPPED: ("stop 0",), State.REMOVED: ("stop 0", "remove")}


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    with running(KernelManager(kernel_name="cellhold-small")) as opened:
        yield opened


@pytest.mark.parametrize("state", WAYS)
def test_what_is_not_possible_changes_nothing_and_says_why(notebook: Notebook, state: State) -> None:
    notebook.run("%container panel")
    for way in WAYS[state]:
        assert notebook.run(f"%container {way}").status == "ok"
    tell(notebook, {"do": "hello"})
    assert hear(notebook, lambda said: said["t"] == "full")["state"] == state
    refused = [action for action in MOVES if reason(action, state) is not None]
    assert refused
    for action in refused:
        says = f"cannot {action} the container: {reason(action, state)}"
        assert f"NotAllowed: {says}" in notebook.run(f"%container {action}{' name' * (action == 'commit')}").error
        tell(notebook, {"do": "act", "id": action, "action": action, "arguments": ["name"] * (action == "commit")})
        answer = hear(notebook, lambda said, action=action: said["t"] == "ack" and said["id"] == action)  # type: ignore[misc]  # the loop's own
        assert (answer["ok"], answer["text"]) == (False, says)
    tell(notebook, {"do": "hello"})
    full = hear(notebook, lambda said: said["t"] == "full")
    assert full["state"] == state
    assert {action: why for action, why in full["actions"].items() if why} == {action: reason(action, state) for action in refused}
    back = {State.RUNNING: (), State.PAUSED: ("unpause",)}.get(state, ("start",))
    for way in back:
        assert notebook.run(f"%container {way}").status == "ok"
    assert notebook.run("print(6 * 7)").text.endswith("42\n")
