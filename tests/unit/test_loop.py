"""The loop of the host kernel: who is called back when."""

from __future__ import annotations

import os

from cellhold_kernel.transport.loop import Loop


def test_what_asked_for_another_round_is_called_although_nothing_comes_in() -> None:
    reader, writer = os.pipe()
    loop = Loop()
    called: list[int] = []

    def tick() -> None:
        if not called:
            loop.again(reader)

    def call() -> None:
        called.append(reader)
        loop.stop()

    loop.add(reader, call)
    loop.run(tick)
    assert called == [reader]
    os.close(reader)
    os.close(writer)


def test_what_was_removed_is_not_called_again() -> None:
    reader, writer = os.pipe()
    loop = Loop()
    called: list[int] = []
    loop.add(reader, lambda: called.append(reader))
    loop.again(reader)
    loop.remove(reader)
    ticks = iter([0.0, 0.0])

    def tick() -> float:
        left = next(ticks, None)
        if left is None:
            loop.stop()
        return 0.0

    loop.run(tick)
    assert called == []
    os.close(reader)
    os.close(writer)
