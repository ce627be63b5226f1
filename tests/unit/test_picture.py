"""The panel's picture, of snapshots that no container has to be made for."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

import pytest

from cellhold_kernel.widgets.painter import Painter
from cellhold_kernel.widgets.sampler import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0

SNAPSHOT: dict[str, Any] = {
    "id": "0123456789ab",
    "state": "running",
    "about": "image host · network bridge",
    "limits": {"cpus": 0.5, "memory": 256 << 20, "pids": 64, "disk": None, "received": 1_000_000, "sent": None},
    "fields": list(Sample._fields),
    "samples": [[float(moment), *[1.0] * (len(Sample._fields) - 1)] for moment in range(20)],
    "marks": [{"time": 5.0, "kind": "oom"}],
    "cells": [{"begin": 2.0, "end": None}],
    "network": [],
}
NETWORK: dict[str, Any] = {
    "bridge": "ch9ae0-9e309c80",
    "gateway": "10.87.0.1",
    "subnet": "10.87.0.0/24",
    "device": "cv68bae56b6443",
    "inside": "eth0",
    "address": "10.87.0.15",
    "ports": [{"told": "127.0.0.1:3000 -> 80/tcp"}],
    "policy": "internet",
    "internal": False,
    "received": None,
    "sent": None,
    "refused": [{"protocol": "tcp", "where": "10.1.2.3:80", "packets": 2}],
}


@pytest.fixture
def painter() -> Iterator[Painter]:
    made = Painter()
    yield made
    made.close()


def drawn(painter: Painter, *networks: dict[str, Any], **values: str) -> bytes:
    made = painter.paint({**SNAPSHOT, **values, "network": networks}, patience=PATIENCE)
    assert made is not None
    return base64.b64decode(made)


def size(png: bytes) -> tuple[int, ...]:
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">2I", png[16:24])


def test_each_network_is_drawn_below_the_charts_up_to_a_few(painter: Painter) -> None:
    (width, without), *others = (size(drawn(painter, *[NETWORK] * number)) for number in (0, 1, 2, 100))
    assert [wide for wide, _high in others] == [width] * 3
    one, two, many = (high - without for _wide, high in others)
    assert 0 < one < two < many < 5 * one


def test_a_text_is_no_formula(painter: Painter) -> None:
    hostile = {**NETWORK, "policy": r"allow=$\frac$", "bridge": "$$ $", "ports": [{"told": r"$\nosuch$"}], "internal": True}
    assert drawn(painter, hostile, about=r"image /tmp/$\sqrt$") != drawn(painter, NETWORK)
