"""A Spec in a record: what is written is what is read."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from cellhold.spec.limits import IoLimit, Limits
from cellhold.spec.spec import Device, Fixed, Health, Mount, Port, Spec
from cellhold.store import spec_codec, table

FULL = Spec(
    image="debian:12",
    entrypoint=("sh",),
    args=("-c", "true", "\udcff"),
    env={"A": "1"},
    cwd="/w",
    user="5:6",
    hostname="h",
    name="n",
    limits=Limits(memory_bytes=1 << 30, cpus=1.5, io=(IoLimit(device="/dev/vda", read_bps=5),), rlimits={"nofile": (1, 2)}),
    mounts=(Mount(kind="volume", source="v", target="/v"), Mount(kind="tmpfs", target="/t", size_bytes=1, mode=0o700, no_exec=True)),
    capabilities=frozenset({"CAP_CHOWN"}),
    groups=("7",),
    hosts=(("db", "10.0.0.2"),),
    terminal=True,
    stdin=True,
    stop_signal=2,
    stop_seconds=1.5,
    restart="on-failure:3",
    labels={"who": "me"},
    health=Health(args=("true",), retries=5),
)


@pytest.mark.parametrize("spec", [Spec(), FULL], ids=["nothing", "everything"])
def test_what_is_written_is_read_again(spec: Spec) -> None:
    assert spec_codec.from_json(json.loads(json.dumps(spec_codec.to_json(spec)))) == spec


@pytest.mark.parametrize("wrong", [{"restart": "sometimes"}, {"name": "a b"}, {"limits": []}, {"args": "x"}, {"hosts": [["x"]]}])
def test_what_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whichever it is
        spec_codec.from_json({**spec_codec.to_json(Spec()), **wrong})


def test_what_another_version_wrote_is_read() -> None:
    assert spec_codec.from_json({"args": ["x"], "limits": {}, "colour": "red"}) == Spec(args=("x",))


def test_every_field_but_descriptors_can_be_read() -> None:
    for kind in (Spec, Limits, Mount, Fixed, Device, Port, Health, IoLimit):
        assert {one.name for one in fields(kind)} - table._hints(kind).keys() <= {"opened", "rootfs"}
