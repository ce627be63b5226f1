"""The story that `--trace` tells, and the words for limits."""

from __future__ import annotations

from pathlib import Path

from cellhold.container import trace
from cellhold.image.model import Image, Stack
from cellhold.init.steps import STEPS
from cellhold.rootfs.plan import plan
from cellhold.spec import fields
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Spec
from cellhold.spec.tracing import Step, listening, step
from cellhold.store.subids import own

MIB = 1 << 20
STORY = [
    Step("image.find", "host", 10.0, 0.001),
    Step("launch.clone", "clone3", 10.002, 0.001),
    Step("rootfs.pivot", "pivot_root", 10.004, 0.001, "container"),
    Step("program.exec", "true", 10.005, 0.001, "container"),
    Step("program.wait", "exited with status 0", 10.006, 0.5),
    Step("container.remove", "its group", 10.51, 0.01),
]


def test_the_chapters_come_in_the_order_of_time_each_with_its_title_once() -> None:
    lines = trace.text(list(reversed(STORY))).splitlines()
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert [title.split()[0] for title in titles] == ["on", "the", "PID", "the", "afterwards"]
    names = [line.split()[4] for line in lines if line.startswith("  ") and "+" in line]
    assert names == [step.name for step in STORY]


def test_a_line_says_when_it_began_how_long_it_took_and_what_it_was() -> None:
    (line,) = [line for line in trace.text(STORY).splitlines() if "rootfs.pivot" in line]
    assert line.split() == ["4.00", "ms", "+", "1.00", "rootfs.pivot", "pivot_root"]
    assert trace.text(STORY).splitlines()[-1].strip() == "520.00 ms in all"


def test_no_steps_are_no_story() -> None:
    assert not trace.text([])


def test_every_step_of_pid_1_has_words() -> None:
    image = Image(name="x", stacks=(Stack(target="/", layers=(Path("/x"),)),))
    made = plan(
        Spec(args=("sleep", "9"), hostname="box"),
        image,
        hostname="box",
        init_layer=Path("/i"),
        ids=own(1 << 30),
        views=(),
        seccomp=b"",
    )
    words = trace.details(made)
    assert {name for name, _ in STEPS} <= words.keys()
    assert all(words.values())
    assert words["launch.clone"] == "clone3: new namespaces user, pid, net, mnt, uts, ipc, time"
    assert "1073741824-1073807359" in words["launch.map-ids"]
    assert words["uts.hostname"] == "sethostname box"
    assert words["program.exec"] == "sleep 9"
    assert "13 of 41 capabilities" in words["security.capabilities"]


def test_limits_are_told_as_one_would_write_them() -> None:
    limits = Limits(memory_bytes=512 * MIB, cpus=1.5, cpuset="0", pids=64, disk_bytes=MIB, seconds=90)
    assert fields.format_limits(limits) == "memory 512 MiB, cpus 1.5, cpuset 0, pids 64, disk 1 MiB, time 1m30s"
    assert fields.format_limits(Limits(pids=None)) == "none"


def test_a_step_is_told_to_who_listens_also_when_it_raises() -> None:
    heard: list[Step] = []
    with listening(heard.append):
        try:
            with step("a.b", "detail"):
                raise ValueError  # noqa: TRY301  # what is tested
        except ValueError:
            pass
    with step("c.d"):
        pass
    assert [(one.name, one.detail, one.where) for one in heard] == [("a.b", "detail", "host")]
