"""`%%run`: a cell in a container of its own, beside the notebook's."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager

import grants
from boxes import command, eventually
from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.rootfs import volumes
from cellhold.spec.limits import PIDS_DEFAULT
from cellhold.store.home import open_home
from cellhold_kernel import install
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.images import Names
from cellhold_kernel.magics import run
from cellhold_kernel.settings import policy
from cellhold_kernel.settings.settings import Settings, Trust
from kernels import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellhold.spec.spec import Spec
    from kernels import Cell, Notebook

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer"),
    pytest.mark.timeout(3600),  # the image below may have to be made first
]

MIB = 1 << 20


@pytest.fixture(scope="module")
def notebook(jupyter_path: Path, shell_image: str) -> Iterator[Notebook]:
    """A notebook of several tests."""
    install.install(jupyter_path, name="runs", texts={"image": shell_image, "memory": "128m"})
    with running(KernelManager(kernel_name="runs")) as started:
        started.run("mine=41")
        yield started


def summary(cell: Cell) -> str:
    """What stands below a cell's output."""
    shown: list[dict[str, Any]] = [*cell.of("display_data"), *cell.of("update_display_data")]
    return str(shown[-1]["data"]["text/plain"])


def out(cell: Cell) -> str:
    """What its program wrote to standard output."""
    return "".join(part["text"] for part in cell.of("stream") if part["name"] == "stdout")


def containers() -> set[str]:
    return set(os.listdir(open_home().containers))


def test_the_lines_run_in_a_container_of_their_own_of_which_nothing_stays(notebook: Notebook, shell_image: str) -> None:
    before = containers()
    cell = notebook.run(f"%%run --memory 64m -e WHO=me {shell_image}\necho out $WHO; echo err >&2\necho mine is $mine.")
    assert cell.status == "ok", cell.error
    assert out(cell) == "out me\nmine is .\n"
    assert "".join(part["text"] for part in cell.of("stream") if part["name"] == "stderr") == "err\n"
    assert summary(cell).startswith("exited with status 0 · ")
    assert " of 64 MiB" in summary(cell)
    assert containers() == before
    assert notebook.run("echo $mine").text == "41\n"


def test_with_a_command_the_lines_are_its_input(notebook: Notebook, shell_image: str) -> None:
    cell = notebook.run(f"%%run {shell_image} wc -l\none\ntwo\nthree\n")
    assert (cell.status, out(cell).strip()) == ("ok", "3")


def test_at_its_memory_limit_the_cell_says_so_and_the_notebook_s_container_is_untouched(notebook: Notebook, shell_image: str) -> None:
    cell = notebook.run(f"%%run --memory 16m {shell_image}\na=x; while :; do a=$a$a; done")
    assert cell.status == "error"
    assert cell.error.startswith("RunFailed")
    assert "memory limit of 16 MiB" in cell.error
    assert "--memory 32m raises the limit" in cell.error
    assert notebook.run("echo $mine").text == "41\n"


def test_another_status_is_an_error_with_the_output_before_it(notebook: Notebook, shell_image: str) -> None:
    cell = notebook.run(f"%%run {shell_image}\necho before; exit 3")
    assert (cell.status, out(cell)) == ("error", "before\n")
    assert "exited with status 3" in cell.error


def test_output_comes_as_it_is_written(notebook: Notebook, shell_image: str) -> None:
    message = notebook.client.execute(f"%%run {shell_image}\nfor i in 1 2 3; do echo $i; sleep 0.7; done")
    moments: list[float] = []
    while len(moments) < 3:
        published = notebook.client.get_iopub_msg(timeout=60)
        if published["msg_type"] == "stream" and published["parent_header"].get("msg_id") == message:
            moments.append(time.monotonic())
    assert moments[2] - moments[0] > 0.9
    assert notebook.collect(message).status == "ok"


def test_an_interrupt_removes_it(notebook: Notebook, shell_image: str) -> None:
    before = containers()
    message = notebook.client.execute(f"%%run {shell_image}\necho up; sleep 1000")
    while notebook.client.get_iopub_msg(timeout=60)["msg_type"] != "stream":
        pass
    notebook.manager.interrupt_kernel()
    cell = notebook.collect(message)
    assert (cell.status, "interrupted: the container was removed" in cell.error) == ("error", True)
    assert eventually(lambda: containers() == before)


def test_detached_it_goes_on_and_a_volume_keeps_its_files(notebook: Notebook, shell_image: str) -> None:
    cell = notebook.run(f"%%run -d --name behind -v kept:/data {shell_image}\necho 42 > /data/answer; echo written; sleep 1000")
    try:
        assert cell.status == "ok", cell.error
        assert summary(cell).startswith("container behind runs: cellhold logs behind")
        assert eventually(lambda: command("logs", "behind").stdout == "written\n")
        assert notebook.run(f"%%run -v kept:/data:ro {shell_image}\ncat /data/answer").of("stream")[0]["text"] == "42\n"
    finally:
        assert command("rm", "-f", "behind").returncode == 0
        volumes.remove("kept", open_home())


def test_too_much_output_is_cut_and_told(notebook: Notebook, shell_image: str) -> None:
    cell = notebook.run(f"%%run {shell_image}\nyes | head -c 30000000")
    assert cell.status == "ok", cell.error
    assert 8 * MIB <= sum(len(part["text"]) for part in cell.of("stream")) < 9 * MIB
    assert "the rest is left out" in cell.of("stream")[-1]["text"]


@pytest.mark.parametrize("more", [0, 1])
def test_output_of_just_the_bound_is_whole(notebook: Notebook, shell_image: str, more: int) -> None:
    cell = notebook.run(f"%%run {shell_image}\nhead -c {8 * MIB + more} /dev/zero | tr '\\0' x")
    text = "".join(part["text"] for part in cell.of("stream"))
    assert text.count("x") == 8 * MIB
    assert ("the rest is left out" in text) == bool(more)


# ------------------------------------------------------------------------------------------------------------------------ without a kernel


def granted(line: str, **rules: Any) -> Spec:
    """The container that a notebook's cell gets."""
    settings = Settings().over("", {"memory": "100m", "image": "host", "volume": "/srv:/srv"})
    session: Any = SimpleNamespace(settings=settings, owner="a1", names=Names, quota=SimpleNamespace(containers=lambda: ()))
    return authorize(run.request(session, wanted(line)), Trust.CELL, policy.Policy(**rules)).spec


def wanted(line: str) -> run.Wanted:
    found = run.read(f"{line}\necho hi")
    assert found is not None
    return found


def test_the_notebook_s_limits_hold_where_none_is_given_and_its_folders_do_not() -> None:
    spec = granted("%%run --cpus 0.5 busybox")
    assert (spec.image, spec.limits.memory_bytes, spec.limits.cpus, spec.limits.pids) == ("busybox", 100 * MIB, 0.5, PIDS_DEFAULT)
    assert (spec.args, spec.mounts) == (("sh", "-c", "echo hi"), ())
    assert granted("%%run --memory 64m busybox cat").args == ("cat",)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%%run", "no image given"),
        ("%%run --memory", "expected one argument"),
        ("%%run --fly busybox", "fly"),
        ("%%run 'busybox", "No closing quotation"),
        ("%%run -it busybox", "--tty"),
        ("%%run --rootfs /srv busybox", "--rootfs"),
        ("%%run --env-file /etc/passwd busybox", "--env-file"),
    ],
)
def test_a_line_that_is_wrong_is_told(line: str, told: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        run.read(f"{line}\necho hi")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("line", "rules", "told"),
    [
        ("%%run -v /etc:/e busybox", {}, "cannot show the host's directories"),
        ("%%run --mount type=bind,source=/etc,target=/e busybox", {}, "cannot show the host's directories"),
        ("%%run /srv", {}, "image=/srv"),
        ("%%run busybox", {"images": ("debian:*",)}, "image=busybox"),
        ("%%run -v data:/d busybox", {"volumes": ("other",)}, "volume=data"),
        ("%%run -d busybox", {"detached": False}, "cannot use %%run -d"),
        ("%%run --memory 1g busybox", {"limits": {"memory": "512m"}}, "memory=1g"),
    ],
)
def test_what_the_policy_or_the_notebook_s_rights_forbid_is_refused(line: str, rules: dict[str, Any], told: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        granted(line, **rules)
    assert told in str(refused.value)


def test_a_volume_by_name_is_a_cell_s_to_ask_for_and_not_the_metadata_s() -> None:
    asked = {"volume": "data:/d"}
    assert grants.spec(Settings().over("", asked, trust=Trust.CELL)).mounts[0].source == "data"
    with pytest.raises(NotAllowed):
        grants.spec(Settings().over("", asked, trust=Trust.METADATA))
