"""A request to the launcher: what is encoded on one side is decoded on the other, each descriptor by its name."""

from __future__ import annotations

import os
import socket

import pytest

from cellhold.init.steps.launch import Request


def test_a_request_comes_out_as_it_went_in() -> None:
    request = Request(plan=3, channel=4, lock=5, storage=6, network=7, group=8, stdio=(9, 10, 11), trees=(12,), tasks=(13, 14))
    decoded = Request.decode(*request.encode())
    assert all(getattr(decoded, name) == getattr(request, name) for name in Request.__slots__)


def test_what_is_not_there_is_not_sent_and_comes_out_as_nothing() -> None:
    message, fds = Request(plan=3, channel=4, lock=5, storage=6).encode()
    assert sorted(fds) == [3, 4, 5, 6]
    decoded = Request.decode(message, fds)
    assert (decoded.network, decoded.group, decoded.stdio, decoded.trees, decoded.tasks) == (-1, -1, [], [], [])


def test_one_that_names_more_descriptors_than_came_is_refused() -> None:
    message, fds = Request(plan=3, channel=4, lock=5, storage=6, stdio=(7,)).encode()
    with pytest.raises(ValueError, match="a request of 5 descriptors came with 4"):
        Request.decode(message, fds[:-1])


def test_the_channel_and_the_lock_outlive_the_request() -> None:
    opened = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(9)]
    plan, channel, lock, storage, network, group, *rest = opened
    request = Request(
        plan=plan,
        channel=channel,
        lock=lock,
        storage=storage,
        network=network,
        group=group,
        stdio=rest[:1],
        trees=rest[1:2],
        tasks=rest[2:],
    )
    request.close_used()
    assert [fd for fd in opened if os.path.exists(f"/proc/self/fd/{fd}")] == [channel, lock]
    os.close(channel)
    os.close(lock)


def test_the_message_of_a_request_fits_beside_its_descriptors_into_one_packet() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        fd = theirs.fileno()
        message, fds = Request(plan=fd, channel=fd, lock=fd, storage=fd, stdio=[fd] * 120, trees=[fd] * 129).encode()
        socket.send_fds(ours, [message], fds)
        got, received, _flags, _address = socket.recv_fds(theirs, 16384, 253)
        assert got == message
        assert len(received) == 253
        for one in received:
            os.close(one)
