"""The text of `--trace`, the words of the steps, and the words for limits."""

from __future__ import annotations

from pathlib import Path

from cellhold.container import trace
from cellhold.image.model import Image, Stack
from cellhold.init.steps import ALL_STEPS, LAUNCHER_STEPS, PID1_STEPS
from cellhold.rootfs.plan import plan
from cellhold.spec import fields
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Spec
from cellhold.spec.tracing import Step, listening, step
from cellhold.store.subids import own

MIB = 1 << 20
START = [
    Step("image.find", "host", 10.0, 0.001),
    Step("launch.clone", "clone3", 10.002, 0.001),
    Step("rootfs.pivot", "pivot_root", 10.004, 0.001, "container"),
    Step("program.exec", "true", 10.005, 0.001, "container"),
    Step("program.wait", "exited with status 0", 10.006, 0.5),
    Step("container.remove", "its group", 10.51, 0.01),
]


def test_the_titles_come_in_the_order_of_time_each_once() -> None:
    lines = trace.format_trace(list(reversed(START))).splitlines()
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert [title.split()[0] for title in titles] == ["on", "the", "PID", "the", "afterwards"]
    names = [line.split()[4] for line in lines if line.startswith("  ") and "+" in line]
    assert names == [step.name for step in START]


def test_a_line_says_when_it_began_how_long_it_took_and_what_it_was() -> None:
    (line,) = [line for line in trace.format_trace(START).splitlines() if "rootfs.pivot" in line]
    assert line.split() == ["4.00", "ms", "+", "1.00", "rootfs.pivot", "pivot_root"]
    assert trace.format_trace(START).splitlines()[-1].strip() == "520.00 ms in all"


def test_of_no_steps_there_is_no_text() -> None:
    assert not trace.format_trace([])


def test_every_step_has_words() -> None:
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
    words = trace.describe_steps(made)
    assert list(words) == [step.name for step in ALL_STEPS]
    assert all(words.values())
    assert words["launch.clone"] == "clone3: new namespaces user, pid, net, mnt, uts, ipc, time"
    assert "1073741824-1073807359" in words["launch.map-ids"]
    assert words["uts.hostname"] == "sethostname box"
    assert words["program.exec"] == "sleep 9"
    assert "13 of 41 capabilities" in words["security.capabilities"]


def test_no_two_steps_have_the_same_name() -> None:
    assert len({step.name for step in ALL_STEPS}) == len(ALL_STEPS) == len(LAUNCHER_STEPS) + len(PID1_STEPS) + 1


def test_limits_are_formatted_as_one_would_write_them() -> None:
    limits = Limits(memory_bytes=512 * MIB, cpus=1.5, cpuset="0", pids=64, disk_bytes=MIB, seconds=90)
    assert fields.format_limits(limits) == "memory 512 MiB, cpus 1.5, cpuset 0, pids 64, disk 1 MiB, time 1m30s"
    assert fields.format_limits(Limits(pids=None)) == "none"


def test_a_step_is_sent_to_whoever_listens_also_when_it_raises() -> None:
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
