"""`%%dockerfile NAME`: a cell builds an image with the notebook's folder as its context, and the next cell runs on it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager

from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.store.home import open_home
from cellhold_kernel import install
from cellhold_kernel.gate.images import Names
from cellhold_kernel.magics import dockerfile
from cellhold_kernel.settings import policy
from cellhold_kernel.settings.settings import Settings
from kernels import PATIENCE, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernels import Cell, Notebook

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups"),
    pytest.mark.timeout(3600),  # the image below may have to be made first
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebook's folder, with a file that builds copy."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "lab.txt").write_text("from the notebook's folder\n")
    return folder


@pytest.fixture(scope="module")
def notebook(jupyter_path: Path, folder: Path, shell_image: str) -> Iterator[Notebook]:
    """A notebook of several tests, with limits."""
    texts = {"image": shell_image, "memory": "64m", "pids": "32"}
    install.install(jupyter_path, name="builds", texts=texts)
    with running(KernelManager(kernel_name="builds"), cwd=str(folder)) as started:
        yield started


def last_shown(cell: Cell) -> str:
    """How far the build was, at its end."""
    shown: list[dict[str, Any]] = [*cell.of("display_data"), *cell.of("update_display_data")]
    return str(shown[-1]["data"]["text/plain"])


@pytest.mark.leaks_allowed  # a fresh container, which the end of the file's notebook takes away
def test_the_next_cell_runs_on_it_and_a_second_build_is_all_cache(notebook: Notebook, shell_image: str) -> None:
    text = f"%%dockerfile lab/first\nFROM {shell_image}\nENV GREETING=hello\nCOPY lab.txt /lab.txt\nRUN cat /lab.txt > /seen"
    cell = notebook.run(text)
    assert cell.status == "ok", cell.error
    assert "[4/4] RUN cat /lab.txt > /seen" in last_shown(cell)
    assert "built lab/first in " in last_shown(cell)
    seen = notebook.run('%container image=lab/first\necho "$GREETING $(cat /seen)"')
    assert seen.text.endswith("hello from the notebook's folder\n"), seen.error
    again = last_shown(notebook.run(text))
    assert ", 4 of 4 steps from the cache: sha256:" in again


def test_a_program_that_fails_is_told_with_what_it_wrote_and_the_notebook_goes_on(notebook: Notebook, shell_image: str) -> None:
    cell = notebook.run(f"%%dockerfile lab/bad\nFROM {shell_image}\nRUN echo going wrong; exit 7")
    assert cell.error == "BuildFailed: cannot use line 2 of Dockerfile, 'RUN echo going wrong; exit 7': it ended with status 7"
    assert last_shown(cell).splitlines()[1:] == [
        "[2/2] RUN echo going wrong; exit 7  failed",
        "    going wrong",
        "lab/bad was not built",
    ]
    assert notebook.run("echo still here").text == "still here\n"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("RUM make", "line 2 of Dockerfile, 'RUM make': there is no instruction RUM\nhint: did you mean RUN?"),
        ("COPY missing /", "line 2 of Dockerfile, 'COPY missing /': cannot copy 'missing': the build context has no such file"),
        ("COPY ../lab.txt /", "line 2 of Dockerfile, 'COPY ../lab.txt /': cannot copy '../lab.txt': it lies outside of the build context"),
    ],
)
def test_a_dockerfile_that_is_wrong_is_told_with_its_line(notebook: Notebook, shell_image: str, lines: str, says: str) -> None:
    assert says in notebook.run(f"%%dockerfile lab/bad\nFROM {shell_image}\n{lines}").error


def test_the_notebooks_limits_are_those_of_each_step(notebook: Notebook, shell_image: str) -> None:
    cell = notebook.run(f"%%dockerfile lab/bad\nFROM {shell_image}\nRUN x=$(dd if=/dev/zero bs=1M count=200 | tr '\\0' x)")
    assert "64 MiB" in cell.error


def test_an_interrupt_ends_a_build_and_leaves_nothing(notebook: Notebook, shell_image: str) -> None:
    before = {path.name for path in open_home().containers.iterdir()}
    message_id = notebook.client.execute(f"%%dockerfile lab/long\nFROM {shell_image}\nRUN echo begun; sleep 1000")
    while "begun" not in str(notebook.client.get_iopub_msg(timeout=PATIENCE)["content"].get("data", {}).get("text/plain")):
        pass
    began = time.monotonic()
    notebook.ask("interrupt_request", {})
    assert notebook.collect(message_id).error == "CellholdError: interrupted: the image was not built"
    assert time.monotonic() - began < PATIENCE / 2
    assert until(lambda: {path.name for path in open_home().containers.iterdir()} == before)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%%dockerfile", "cannot build 0 images in one cell"),
        ("%%dockerfile a b", "cannot build 2 images in one cell"),
        ("%%dockerfile --file=x a", "cannot use --file=x: there is no such flag here"),
        ("%%dockerfile --target", "cannot use --target: it has no value"),
        ("%%dockerfile 'a", "No closing quotation"),
    ],
)
def test_a_first_line_that_is_not_understood_is_one_sentence(line: str, says: str) -> None:
    with pytest.raises(InvalidSpec, match=says):
        dockerfile.read(f"{line}\nFROM scratch")


def test_flags_are_those_of_the_command() -> None:
    wanted = dockerfile.read("\n%%dockerfile --build-arg A=1 --no-cache name:2 --target=last\nFROM scratch\n")
    assert wanted == dockerfile.Wanted(name="name:2", flags=("--build-arg=A=1", "--no-cache", "--target=last"), dockerfile="FROM scratch\n")
    assert dockerfile.read("%%dockerfiles x") is None
    assert dockerfile.read("x\n%%dockerfile y") is None


@pytest.mark.parametrize(
    ("name", "text", "refused"),
    [
        ("lab/x", "FROM elsewhere", "image=elsewhere"),
        ("lab/x", "ARG BASE=elsewhere\nFROM $BASE", "image=elsewhere"),
        ("lab/x", "FROM lab/base\nCOPY --from=elsewhere /a /b", "image=elsewhere"),
        ("lab/x", "FROM host", "image=host"),
        ("other", "FROM lab/base", "image=other"),
    ],
)
def test_the_policy_holds_for_the_name_and_for_each_image_that_is_built_on(tmp_path: Path, name: str, text: str, refused: str) -> None:
    (tmp_path / "policy.toml").write_text('[ceilings]\nimages = ["lab/*"]')
    rules = policy.read(tmp_path / "policy.toml")
    quota = SimpleNamespace(containers=lambda: ())
    session: Any = SimpleNamespace(policy=lambda: rules, settings=Settings(), owner="a1", names=Names, quota=quota)
    with pytest.raises(NotAllowed, match=refused):
        dockerfile.start(session, dockerfile.Wanted(name=name, flags=(), dockerfile=text))
