"""Any image as a notebook: one with a shell, one with a Python, one with its own kernel, one with R; and what is said of all others.

The images are those that `cellhold build` makes of the Dockerfiles in tests/images.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager

from cellhold.build.builder import build
from cellhold.build.context import Context
from cellhold.build.options import Options
from cellhold.cli import main
from cellhold.image import stored
from cellhold.store.home import open_home
from cellhold_kernel import install
from cellhold_kernel.images import kernel_layer
from kernels import PATIENCE, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernels import Cell, Notebook

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups"),
    pytest.mark.timeout(3600),  # the images are made by whichever test asks first
]
PNG = b"\x89PNG\r\n\x1a\n"
LAYERED = "/opt/cellhold/kernel/"
SECOND_SPEC = {"argv": ["R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"], "display_name": "Other", "language": "R"}


@pytest.fixture
def built(tmp_path: Path) -> Callable[..., str]:
    """Builds an image of a Dockerfile's text and files (name -> content); gives its name."""

    def made(name: str, text: str, **files: str) -> str:
        context = tmp_path / f"context-{name}"
        context.mkdir()
        for file, content in files.items():
            (context / file).write_text(content)
        full = f"localhost/tests/{name}:1"
        build(text, "Dockerfile", Context(context), open_home(), Options(names=(full,)))
        return full

    return made


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, kernel_wheels: Path) -> None:
    """Nothing is fetched from an index in this test."""
    monkeypatch.setenv(kernel_layer.VARIABLE, str(kernel_wheels))


@pytest.fixture(scope="module")
def on(jupyter_path: Path) -> Callable[..., Any]:
    """Starts a notebook whose kernelspec names an image."""

    def started(name: str, image: str, **texts: str) -> Any:
        install.install(jupyter_path, name=name, texts={"image": image, "memory": "512m", **texts})
        return running(KernelManager(kernel_name=name))

    return started


@pytest.fixture(scope="module")
def r(on: Callable[..., Any], r_image: str) -> Iterator[Notebook]:
    """A notebook of several tests, on R."""
    with on("on-r", r_image) as started:
        yield started


def pictures(cell: Cell) -> list[bytes]:
    """Its PNGs."""
    shown = [content["data"] for kind in ("display_data", "execute_result") for content in cell.of(kind)]
    return [base64.b64decode(data["image/png"]) for data in shown if "image/png" in data]


def progress(cell: Cell) -> list[str]:
    return [content["data"]["text/plain"] for kind in ("display_data", "update_display_data") for content in cell.of(kind)]


# ------------------------------------------------------------------------------------------------------------------------ a shell


def test_an_image_with_nothing_but_a_shell_is_a_notebook(on: Callable[..., Any], shell_image: str) -> None:
    with on("on-shell", shell_image) as notebook:
        assert notebook.ask("kernel_info_request", {}, "shell")["language_info"]["name"] in {"bash", "sh"}
        assert notebook.run("cd /tmp && greeting=hello").status == "ok"
        assert notebook.run('echo "$greeting from $PWD"').text == "hello from /tmp\n"
        failed = notebook.run("cat /nonsuch")
        assert (failed.status, failed.reply["ename"], failed.reply["evalue"]) == ("error", "ExitStatus", "1")
        assert "/nonsuch" in failed.text
        assert notebook.run("echo 'not closed").status == "error"
        assert notebook.run("echo $greeting").text == "hello\n"


# ----------------------------------------------------------------------------------------------------- a Python without a kernel


@pytest.mark.usefixtures("jupyter_path", "offline")
def test_an_image_with_a_python_gets_a_kernel_in_a_layer_once_and_the_next_notebook_finds_it(
    python_image: str,
    built: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    packages = "/usr/lib/python3/dist-packages"
    image = built("own", f"FROM {python_image}\nCOPY own.py {packages}/\n", **{"own.py": "said = 'by the image'\n"})
    cell_of = f"%container image={image} memory=512m\nimport ipykernel, own, sys; print(ipykernel.__file__, own.said, sys.executable)"
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        cell = notebook.run(cell_of)
        assert cell.status == "ok", cell.error
        assert LAYERED in cell.text
        assert "by the image /usr/bin/python3" in cell.text
        first, last = progress(cell)[0], progress(cell)[-1]
        assert f"{image} has a Python and no kernel: it gets a layer with one, once" in first
        assert "fetching a kernel for Python 3." in last
        assert "packages with /usr/bin/python3 of the image" in last
        assert "has got a layer with a kernel" in last
        assert (
            notebook.run("import subprocess; subprocess.run([sys.executable, '-c', 'import ipykernel'])").text.count("ModuleNotFound") == 1
        )

    capfd.readouterr()
    assert main(["images"]) == 0
    derived = [line.split() for line in capfd.readouterr().out.splitlines() if line.startswith("<derived>")]
    assert [words[1] for words in derived] == [stored.find(image, open_home()).id.short]
    name = derived[0][2]
    assert main(["history", name]) == 0
    assert "cellhold kernel layer: ipykernel" in capfd.readouterr().out.splitlines()[1]
    assert main(["layers", "--tree", "--all", name]) == 0
    top = capfd.readouterr().out.split("COPY")[0]
    assert "ipykernel" in top
    assert "cellhold kernel layer" in top

    monkeypatch.setenv(kernel_layer.VARIABLE, "/nonsuch")  # there is nothing to be had, and nothing left of what was
    shutil.rmtree(open_home().root / "wheels")
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        cell = notebook.run(cell_of)
        assert cell.status == "ok", cell.error
        assert LAYERED in cell.text
        assert progress(cell) == []


@pytest.mark.usefixtures("jupyter_path")
def test_without_wheels_the_cell_is_told_why_and_what_to_do_and_the_old_container_stays(
    python_image: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(kernel_layer.VARIABLE, str(tmp_path))
    shutil.rmtree(open_home().root / "wheels", ignore_errors=True)  # of the tests before
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        notebook.run("kept = 'yes'")
        cell = notebook.run(f"%container image={python_image}\nprint('not reached')")
        assert cell.status == "error"
        assert f"cannot fetch a kernel for Python 3.11 (glibc, x86_64): {tmp_path} has no wheel" in cell.error
        assert "hint: give a directory with the wheels" in cell.error
        assert notebook.run("print(kept)").text == "yes\n"


@pytest.mark.usefixtures("jupyter_path", "offline")
def test_a_python_that_does_not_start_is_one_sentence_with_its_last_words(python_image: str, built: Callable[..., str]) -> None:
    image = built(
        "broken", f"FROM {python_image}\nRUN echo 'raise SystemError(\"cut short\")' > $(ls -d /usr/lib/python3.1?/encodings)/__init__.py\n"
    )
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        cell = notebook.run(f"%container image={image}")
        assert cell.status == "error"
        assert "cannot install a kernel with /usr/bin/python3 of the image: " in cell.error
        assert "hint: %container kernel=shell" in cell.error
        assert notebook.run(f"%container image={image} kernel=shell\necho $((6 * 7))").text.endswith("42\n")


@pytest.mark.usefixtures("jupyter_path", "offline")
def test_the_notebooks_limits_hold_for_what_an_images_python_does_meanwhile(python_image: str, built: Callable[..., str]) -> None:
    greedy = "kept = []\\nwhile True: kept.append(bytearray(1 << 20))"
    image = built("greedy", f"FROM {python_image}\nRUN printf '{greedy}\\n' > $(ls -d /usr/lib/python3.1?/encodings)/__init__.py\n")
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        cell = notebook.run(f"%container image={image} memory=100m")
        assert cell.status == "error"
        assert "cannot install a kernel with /usr/bin/python3 of the image: it was killed" in cell.error
        assert "memory" in cell.error
        assert "hint: raise the memory limit" in cell.error


@pytest.mark.usefixtures("jupyter_path")
def test_an_image_with_neither_kernel_nor_python_nor_shell_is_one_sentence(built: Callable[..., str]) -> None:
    image = built("nothing", "FROM scratch\nCOPY file /\n", file="nothing to run")
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        cell = notebook.run(f"%container image={image}")
        assert cell.status == "error"
        assert "cannot run cells in the image: it has no Jupyter kernel, no Python and no shell" in cell.error
        assert notebook.run("print(6 * 7)").text == "42\n"


# ------------------------------------------------------------------------------------------------------------ a kernel of its own


@pytest.mark.notebooks
def test_an_image_with_an_ipykernel_runs_that_and_shows_a_picture(on: Callable[..., Any], science_image: str) -> None:
    with on("on-science", science_image) as notebook:
        cell = notebook.run("import ipykernel, numpy; print(numpy.arange(10).sum(), ipykernel.__file__)")
        assert cell.text.split() == ["45", "/usr/lib/python3/dist-packages/ipykernel/__init__.py"], cell.error
        drawn = notebook.run("%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]); plt.show()")
        assert [picture[: len(PNG)] for picture in pictures(drawn)] == [PNG], drawn.error


@pytest.mark.notebooks
def test_r_runs_in_its_own_kernel_and_says_what_it_is(r: Notebook) -> None:
    info = r.ask("kernel_info_request", {}, "shell")
    assert info["language_info"]["name"] == "R"
    assert info.get("supported_features", []) == []
    assert not info.get("debugger", False)
    cell = r.run("1 + 1")
    assert (cell.status, cell.text) == ("ok", "[1] 2")
    assert r.run("cat(Sys.getenv('HOME'), tempdir(), '\\n')").text.startswith("/root /tmp/")


@pytest.mark.notebooks
def test_an_error_of_r_is_one_and_what_was_assigned_stays(r: Notebook) -> None:
    cell = r.run("kept <- 'yes'; stop('went wrong')")
    assert cell.status == "error"
    assert "went wrong" in cell.error
    assert r.run("cat(kept)").text == "yes"


@pytest.mark.notebooks
def test_r_draws_without_a_display(r: Notebook) -> None:
    cell = r.run("plot(1:3)")
    assert [picture[: len(PNG)] for picture in pictures(cell)] == [PNG], cell.error


@pytest.mark.notebooks
def test_r_completes_names(r: Notebook) -> None:
    assert "read.csv" in r.ask("complete_request", {"code": "read.cs", "cursor_pos": 7}, "shell")["matches"]


@pytest.mark.notebooks
def test_a_cell_of_r_can_be_interrupted_and_a_kernel_that_waits_is_not_harmed(r: Notebook) -> None:
    assert r.ask("interrupt_request", {})["status"] == "ok"
    assert r.run("cat('still there')").text == "still there"
    began = time.monotonic()
    message_id = r.client.execute("kept <- 'before'; cat('begun\\n'); flush.console(); Sys.sleep(3600)")
    while r.client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
        pass
    assert r.ask("interrupt_request", {})["status"] == "ok"
    assert r.collect(message_id).status in {"error", "aborted", "abort"}  # to its end: IRkernel aborts what comes before that
    assert time.monotonic() - began < PATIENCE
    assert r.run("cat(kept)").text == "before"


# ------------------------------------------------------------------------------------------------------------------- several of them


@pytest.mark.notebooks
@pytest.mark.usefixtures("jupyter_path")
def test_of_several_kernels_one_has_to_be_named(r_image: str, built: Callable[..., str]) -> None:
    place = "/usr/share/jupyter/kernels/other"
    image = built("several", f"FROM {r_image}\nCOPY kernel.json {place}/\n", **{"kernel.json": json.dumps(SECOND_SPEC)})
    with running(KernelManager(kernel_name="cellhold-small")) as notebook:
        cell = notebook.run(f"%container image={image}")
        assert cell.status == "error"
        assert "cannot choose a kernel of the image: it has ir, other" in cell.error
        assert "hint: %container kernel=ir" in cell.error
        assert "no such kernel" in notebook.run(f"%container image={image} kernel=julia").error
        chosen = notebook.run(f"%container image={image} kernel=ir memory=512m\ncat(R.version$language)")
        assert chosen.text.endswith("R"), chosen.error


# ------------------------------------------------------------------------------------------------------------------------ kernelspecs


@pytest.mark.notebooks
def test_kernelspecs_of_images_say_what_runs_in_them(
    r_image: str, shell_image: str, python_image: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for name, image in {"r": r_image, "shell": shell_image, "python": python_image}.items():
        assert main(["kernel", "install", "--prefix", str(tmp_path), "--name", name, "--image", image]) == 0
        directory = tmp_path / "share/jupyter/kernels" / name
        said = json.loads((directory / "kernel.json").read_text())
        found[name] = (said["display_name"], said["language"])
        assert (directory / "logo-64x64.png").read_bytes().startswith(PNG)
    capfd.readouterr()
    assert found["r"] == (f"R (container, image {r_image})", "R")
    assert found["shell"] == (f"Shell (container, image {shell_image})", "bash")
    assert found["python"] == (f"Python (container, image {python_image})", "python")
    ours = tmp_path / "share/jupyter/kernels"
    assert (ours / "r/logo-64x64.png").read_bytes() != (ours / "python/logo-64x64.png").read_bytes()
    assert not (ours / "r/logo-svg.svg").exists()
    assert os.listdir(ours / "python")
