"""The name server of a network has a share for each who asks: eight hostile containers keep nobody else from being answered."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import dns.exception
import pytest
from smallworld import PUBLIC

from boxes import eventually, started
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Spec
from nameservers import ADDRESS, GATEWAY, ask, upstream
from outside import store, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nameservers import Upstream

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "bridge-networks")

HOSTILE = 8
PATIENCE_SECONDS = 5.0  # that resolv.conf(5) gives a server

_HEAD = f"""
import os, socket, struct, time
server = ({GATEWAY!r}, 53)
def question(*labels):
    name = b"".join(bytes([len(label)]) + label for label in labels) + bytes(1)
    return struct.pack("!6H", os.getpid() & 0xffff, 0x100, 1, 0, 0, 0) + name + struct.pack("!2H", 1, 1)
def connections():
    held = []
    for _ in range(64):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(server)
        held.append(one)
    time.sleep(0.5)
    return held
def send(one, text):
    try: one.send(text)
    except OSError: pass
"""
_UP = "print('up', flush=True)\n"
_FLOOD = """
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.connect(server)
one.setblocking(False)
while True:
    send(one, text)
"""
KINDS = {
    "streams that say nothing": f"""
lines = [connections()]
{_UP}
while True:
    lines = [*lines[-4:], connections()]
    time.sleep(1)
""",
    "streams that speak a byte a second": f"""
held = connections()
{_UP}
while True:
    for one in held: send(one, bytes([1]))
    time.sleep(1)
    held = [*held[:192], *connections()]
""",
    "streams that are opened anew as soon as they are closed": f"""
{_UP}
while True:
    held = connections()
""",
    "streams that ask and do not read": f"""
text = question(b"good")
held = connections()
{_UP}
while True:
    for one in held: send(one, struct.pack("!H", len(text)) + text)
    time.sleep(0.01)
""",
    "streams that ask what nobody answers": f"""
text = question(b"never", b"example")
{_UP}
while True:
    held = connections()
    for one in held: send(one, struct.pack("!H", len(text)) + text)
    time.sleep(2)
""",
    "datagrams that ask what nobody answers": f'text = question(b"never", b"example")\n{_UP}{_FLOOD}',
    "datagrams that ask for a container": f'text = question(b"good")\n{_UP}{_FLOOD}',
    "datagrams of nonsense": f"text = os.urandom(1400)\n{_UP}{_FLOOD}",
    "the largest datagrams": f"text = question(b'good') + bytes(60000)\n{_UP}{_FLOOD}",
}


@pytest.fixture(scope="module", autouse=True)
def beyond() -> Iterator[Upstream]:
    with world(), store(dns=ADDRESS), upstream({"mirror.example": {"A": [PUBLIC]}}) as serving:
        serving.silent = {"never.example"}
        yield serving


@contextmanager
def hostile(code: str) -> Iterator[None]:
    """Eight containers that run it."""
    spec = Spec(args=("python3", "-c", _HEAD + code), network="bridge", limits=Limits(cpus=0.2, memory_bytes=64 << 20))
    with ExitStack() as closing, ThreadPoolExecutor(4) as pool:
        boxes = [started(spec) for _ in range(HOSTILE)]
        entered = list(pool.map(lambda one: one.__enter__(), boxes))
        for one in boxes:
            closing.push(one)
        assert eventually(lambda: all("up" in out.so_far for _box, out in entered))
        yield


def seconds(pid: int | None, name: str, *, over: str = "udp") -> float:
    """How long the answer takes, with the patience of a resolver, which asks a second time."""
    begun = time.monotonic()
    for _try in range(2):
        try:
            assert ask(pid, name, over=over).texts, name
        except (dns.exception.Timeout, ConnectionError):
            continue
        return time.monotonic() - begun
    raise AssertionError(f"no answer for {name} over {over} in {time.monotonic() - begun:.1f} s")


@pytest.mark.parametrize("kind", KINDS)
def test_eight_who_ask_too_much_keep_nobody_waiting(kind: str) -> None:
    with started(Spec(args=("sleep", "1000"), network="bridge", name="good")) as (good, _out), hostile(KINDS[kind]):
        for name, over in (("good", "udp"), ("mirror.example", "udp"), ("good", "tcp"), ("mirror.example", "tcp")):
            taken = [seconds(good.pid, name, over=over) for _ in range(5)]
            assert max(taken) < 2 * PATIENCE_SECONDS, (name, over, taken)
            assert sorted(taken)[2] < PATIENCE_SECONDS / 2, (name, over, taken)


def test_servers_that_do_not_answer_keep_nobody_waiting_for_the_names_of_containers(beyond: Upstream) -> None:
    beyond.silent = {"never.example", "neither.example"}
    with started(Spec(args=("sleep", "1000"), network="bridge", name="good")) as (good, _out):
        assert seconds(good.pid, "good")
        with ThreadPoolExecutor(20) as pool:
            begun = time.monotonic()
            lost = [pool.submit(ask, good.pid, "neither.example") for _ in range(20)]
            assert eventually(lambda: "neither.example" in beyond.names())
            assert seconds(good.pid, "good", over="tcp") < PATIENCE_SECONDS / 2
            answers = [one.result() for one in lost if one.exception() is None]
            assert answers
            assert {one.code for one in answers} == {"SERVFAIL"}
            assert time.monotonic() - begun < 4 * PATIENCE_SECONDS
