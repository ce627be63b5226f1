"""Widgets whose state was left out: remembered in little memory, and looked for in time that grows with the message alone."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

from cellhold_kernel.protocol.messages import Signer, parse
from cellhold_kernel.relay.left_out import LeftOuts
from cellhold_kernel.transport.large import LeftOut

if TYPE_CHECKING:
    from cellhold_kernel.protocol.messages import Message

SIGNER = Signer("a key")


class Listener:
    """Who is told of what was left out."""

    def publish(self, *_args: Any, **_options: Any) -> None:
        pass


def comm_open(comm_id: str, data: str = "") -> Message:
    message = parse(SIGNER.make("comm_open", {"comm_id": comm_id, "data": data}))
    assert message is not None
    return message


def with_one_lost() -> LeftOuts:
    leftouts = LeftOuts(Listener(), SIGNER, None, None)  # type: ignore[arg-type]  # nothing else is asked here
    leftouts.answer("iopub", LeftOut(comm_open("first"), "it is too large"), result=None)
    return leftouts


def shows(model: str) -> Message:
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": model}}
    message = parse(SIGNER.make("display_data", {"data": data, "metadata": {}}))
    assert message is not None
    return message


def test_a_widget_with_a_lost_one_in_it_is_lost_and_one_with_another_is_not() -> None:
    leftouts = with_one_lost()
    leftouts.substitute(comm_open("with", json.dumps({"children": ["IPY_MODEL_other", "IPY_MODEL_first"]})))
    leftouts.substitute(comm_open("without", "IPY_MODEL_firs IPY_MODEL_first2"))
    for model, is_shown in {"first": False, "with": False, "without": True}.items():
        message = shows(model)
        assert (leftouts.substitute(message) is message) == is_shown, model


def test_a_large_widget_is_compared_with_ten_thousand_lost_ones_at_once() -> None:
    leftouts = with_one_lost()
    for number in range(10_000):
        leftouts.substitute(comm_open(f"{number:032}", "IPY_MODEL_first"))
    large = comm_open("large", "IPY_MODEL_" * 400_000)
    began = time.process_time()
    assert leftouts.substitute(large) is large
    assert time.process_time() - began < 1


def test_lost_widgets_with_long_names_take_no_memory() -> None:
    leftouts = with_one_lost()
    tracemalloc.start()
    try:
        for number in range(200):
            leftouts.substitute(comm_open(f"{number}" + "x" * 60_000, "IPY_MODEL_first"))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()
