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


def test_what_has_the_number_of_one_that_was_closed_in_the_same_round_is_not_called_for_it() -> None:
    """As the pipe of a container's output has, which is made when that of the one before is closed."""
    first, second = os.pipe(), os.pipe()
    loop = Loop()
    called: list[str] = []
    fresh: list[int] = []

    def replace() -> None:
        loop.remove(first[0])
        loop.remove(second[0])
        os.close(second[0])
        fresh.extend(os.pipe())
        assert fresh[0] == second[0]
        loop.add(fresh[0], lambda: called.append("fresh"))

    loop.add(first[0], replace)
    loop.add(second[0], lambda: called.append("closed"))
    for _reader, writer in (first, second):
        os.write(writer, b"x")
    ticks = iter([0.0, 0.0])

    def tick() -> float:
        if next(ticks, None) is None:
            loop.stop()
        return 0.0

    loop.run(tick)
    assert called == []
    for number in (first[0], first[1], second[1], *fresh):
        os.close(number)
