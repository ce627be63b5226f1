"""Helper processes on the host: what a notebook's folder holds, and what the server's environment says, does not rule them."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cellhold import helper
from cellhold_kernel.widgets.painter import Painter
from cellhold_kernel.widgets.sampler import Sample
from kernels import beside, descendants, running

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SNAPSHOT: dict[str, Any] = {
    "id": "0123456789ab",
    "state": "running",
    "about": "image host",
    "limits": {"cpus": 0.5, "memory": 256 << 20, "pids": 64, "disk": None, "received": 1_000_000, "sent": None},
    "fields": list(Sample._fields),
    "samples": [[float(moment), *[1.0] * (len(Sample._fields) - 1)] for moment in range(20)],
    "marks": [],
    "cells": [],
    "network": [],
}
PATIENCE = 60.0

# ------------------------------------------------------------------------------------------------------------ all of them

_STARTERS = {
    "subprocess": {"Popen", "run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"},
    "os": {"fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "startfile"},
    "process": {"clone3"},  # cellhold.linux.process
    "helper": {"start", "run", "spawn"},
    "usermode_process": {"start"},  # of cellhold.network: helper.run, in the background
    "pty": {"fork", "spawn"},
    "asyncio": {"create_subprocess_exec", "create_subprocess_shell"},
}
_NEVER = {"multiprocessing", "_posixsubprocess", "concurrent.futures.process", "pexpect", "ptyprocess"}
_DOORS = {"helper.start", "helper.run", "helper.spawn", "usermode_process.start"}


def _starts(path: Path) -> Iterator[str]:
    """How a module starts processes, or becomes another: "os.fork"."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    types = [node.value for node in nodes if isinstance(node, ast.Subscript)]  # Popen[bytes]
    for node in nodes:
        if isinstance(node, ast.Import):
            assert not {name.name for name in node.names} & _NEVER, path
            assert not [name for name in node.names if name.name in _STARTERS and name.asname], f"{path}: under another name"
        elif isinstance(node, ast.ImportFrom):
            assert node.module not in _NEVER, path
            hidden = {name.name for name in node.names} & _STARTERS.get((node.module or "").rpartition(".")[2], set())
            assert not hidden, f"{path}: {hidden} without its module's name"
            assert not [name for name in node.names if name.name in _STARTERS and name.asname], f"{path}: under another name"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node not in types:
            module, name = node.value.id, node.attr
            if name in _STARTERS.get(module, ()) or (module == "os" and re.fullmatch("exec[lv].*|spawn[lv].*", name)):
                yield f"{module}.{name}"


def _table() -> dict[str, str]:
    """The rows of docs/architecture/processes.md: module -> how it starts some."""
    text = (ROOT / "docs/architecture/processes.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[2] for row in rows}


def test_each_place_that_starts_a_process_is_in_the_table_and_goes_through_the_door_or_says_why_not() -> None:
    found: dict[str, set[str]] = {}
    for package in ("runtime/cellhold", "kernel/cellhold_kernel"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if starts := set(_starts(path)):
                found[str(path.relative_to(ROOT / package))] = starts
    del found["helper.py"]  # the door
    told = _table()
    assert told.keys() == found.keys()
    for module, starts in found.items():
        assert set(re.findall(r"`([a-z_]+\.\w+)`", told[module])) == starts, module
        if not starts <= _DOORS:
            assert ": " in told[module], f"{module}: no reason"


# ------------------------------------------------------------------------------------------------------------ the door

LOOK = """
import json
print(json.dumps({"cwd": os.getcwd(), "env": dict(os.environ), "path": sys.path, "session": os.getsid(0) == os.getpid()}))
"""
PLANTED = ("json", "sitecustomize", "usercustomize", "resource", "cellhold", "cellhold_kernel", "matplotlib", "encodings")


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where a notebook has left modules and programs of many names; each leaves a file `sprung` when it is run. We are in it."""
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'a').write({name!r})\n")
    for name in ("fc-list", "nsenter", "mkfs.ext4", "newuidmap", "docker-credential-trap", "sh", "python3", "git"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/sprung\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "matplotlibrc").write_text("savefig.dpi: 4000\ntext.usetex: True\nfigure.facecolor: red\n")
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:9/trap\n")
    (tmp_path / "setup.cfg").write_text("[global]\nindex-url = http://127.0.0.1:9/trap\n")
    (tmp_path / "pyvenv.cfg").write_text(f"home = {tmp_path}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":relative")
    monkeypatch.setenv("PATH", f":.:{os.environ['PATH']}")
    return tmp_path


def _looked(**environ: str) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(helper.run(helper.python_code(LOOK), env=helper.environment(**environ)).stdout)
    return seen


def test_a_helper_starts_in_a_directory_that_nobody_writes_to_in_a_session_of_its_own(trap: Path) -> None:
    seen = _looked()
    assert (seen["cwd"], seen["session"]) == ("/", True)
    assert not [place for place in seen["path"] if not os.path.isabs(place) or Path(place).is_relative_to(trap)]
    assert not (trap / "sprung").exists()


def test_a_helpers_environment_is_what_is_named(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JUPYTER_TOKEN", "JPY_API_TOKEN", "SECRET", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONHOME", "MPLBACKEND", "LD_PRELOAD"):
        monkeypatch.setenv(name, "/nonsuch")
    kept = {"HTTPS_PROXY": "http://proxy:1", "no_proxy": "x", "SSL_CERT_FILE": "/certs", "CELLHOLD_WHEELS": "/wheels", "LC_ALL": "C.UTF-8"}
    dropped = {"XDG_CONFIG_HOME": "relative", "TMPDIR": ".", "DOCKER_CONFIG": "relative", "PIP_CONFIG_FILE": "pip.conf"}
    for name, value in {**kept, **dropped, "PIP_INDEX_URL": "http://index", "PIP_NO_CACHE_DIR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CELLHOLD_HOME", "store")
    seen = helper.environment(*helper.PIP, *helper.REGISTRIES)
    assert seen.items() >= {**kept, "PIP_INDEX_URL": "http://index", "CELLHOLD_HOME": str(trap / "store")}.items()
    assert not [name for name in seen if name.startswith(("JUPYTER", "JPY", "SECRET", "PYTHON", "MPL", "LD_")) or name in dropped]
    assert not [name for name in helper.environment() if name.startswith("PIP_") or name.lower().endswith("_proxy")]
    assert "" not in seen["PATH"].split(":")
    assert "." not in seen["PATH"].split(":")


def test_a_program_is_looked_for_in_absolute_directories_alone(trap: Path) -> None:
    assert helper.find("docker-credential-trap") is None
    assert helper.find("sh") not in (None, str(trap / "sh"))


def test_a_helper_that_takes_more_memory_or_time_than_it_may_ends() -> None:
    greedy = helper.python_code("b = bytearray(1 << 30)", bounds=helper.Bounds(memory_bytes=512 << 20))
    assert b"MemoryError" in helper.run(greedy).stderr
    slow = helper.python_code("import time; time.sleep(1000)", bounds=helper.Bounds(seconds=1))
    assert helper.run(slow, seconds=PATIENCE).returncode == -signal.SIGALRM
    with pytest.raises(TimeoutError):
        helper.run(["/bin/sleep", "1000"], seconds=0.2)


def test_the_bound_of_a_helper_is_not_its_containers() -> None:
    """A container that %%run or a build makes is a descendant of a helper."""
    inner = "import resource; os.write(3, str(resource.getrlimit(resource.RLIMIT_AS)).encode())"
    code = (
        "from cellhold import helper; r, w = os.pipe(); "
        f"os.waitpid(helper.spawn({inner!r}, {{3: w}}, env={{}}), 0); print(os.read(r, 100).decode())"
    )
    bounded = helper.run(helper.python_code(code, bounds=helper.Bounds(memory_bytes=1 << 30))).stdout
    free = helper.run(helper.python_code(code)).stdout
    assert bounded == free
    assert bounded


# ------------------------------------------------------------------------------------------------------------ the picture


@pytest.fixture
def painter() -> Iterator[Painter]:
    made = Painter()
    yield made
    made.close()


def _drawn(painter: Painter, **values: str) -> bytes:
    made = painter.paint({**SNAPSHOT, **values}, patience=PATIENCE)
    assert made is not None
    return base64.b64decode(made)


def test_a_matplotlibrc_in_the_folder_does_not_rule_the_picture(painter: Painter, trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATPLOTLIBRC", str(trap / "matplotlibrc"))
    monkeypatch.setenv("MPLCONFIGDIR", str(trap))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(trap))
    there = _drawn(painter)
    assert struct.unpack(">2I", there[16:24]) == (880, 176)
    assert not (trap / "sprung").exists()
    assert not list(trap.glob("fontlist*"))


def test_a_picture_that_does_not_come_costs_its_process_and_the_next_one_has_another(painter: Painter) -> None:
    before = _drawn(painter)
    assert painter._process is not None
    pid = painter._process.pid
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    large = {**SNAPSHOT, "marks": [{"kind": "x" * 1000, "time": 0.0}] * 1000}  # more than a pipe holds: nobody reads it
    assert painter.paint(large, patience=0.5) is None
    assert time.monotonic() - began < PATIENCE / 2
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert _drawn(painter) == before


def test_a_picture_has_bounded_memory(painter: Painter) -> None:
    _drawn(painter)
    assert painter._process is not None
    soft = next(
        line.split()[3] for line in Path(f"/proc/{painter._process.pid}/limits").read_text().splitlines() if "address space" in line
    )
    assert int(soft) <= 1 << 30


def test_where_there_is_no_matplotlib_nothing_is_waited_for(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "python", lambda *_words, **_more: helper.python_code("sys.exit(1)"))
    assert [painter.paint(SNAPSHOT, patience=PATIENCE) for _ in range(4)] == [None] * 4


# ------------------------------------------------------------------------------------------------------------ a kernel


def _helpers(pid: int) -> Iterator[tuple[str, str, dict[str, str]]]:
    """The processes below one: command line, directory, environment."""
    for child in descendants(pid):
        with suppress(OSError):
            words = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            variables = Path(f"/proc/{child}/environ").read_bytes().decode(errors="replace").split("\0")
            yield words, os.readlink(f"/proc/{child}/cwd"), dict(one.partition("=")[::2] for one in variables if one)


@pytest.mark.usefixtures("jupyter_path")
def test_what_lies_in_the_folder_of_a_notebook_is_not_run_by_its_kernels_helpers(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told apart by their command lines: the cell kernel, which is in a container otherwise, and what has not become a helper yet."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "nonsuch"))  # the host kernel's interpreter is kernel.json's business: see below
    monkeypatch.setenv("JUPYTER_TOKEN", "0123456789abcdef")
    with running(beside("standin.py"), cwd=str(trap)) as notebook:
        seen: list[tuple[str, str, dict[str, str]]] = []
        notebook.run("%container panel")
        seen += _helpers(notebook.pid)
        message = notebook.client.execute("%%dockerfile x\nFROM host\nRUN sleep 1")
        end = time.monotonic() + PATIENCE
        while not any("cellhold_kernel.jobs.build" in words for words, _cwd, _env in seen) and time.monotonic() < end:
            seen += _helpers(notebook.pid)
        notebook.collect(message)
    ours = [(words, cwd, env) for words, cwd, env in seen if not any(name in words for name in ("ipykernel", "standin.py"))]
    for name in ("widgets.picture", "cellhold_kernel.jobs.build"):
        assert any(name in words for words, _cwd, _env in ours), name
    for words, cwd, env in ours:
        assert cwd == "/", words
        assert "JUPYTER_TOKEN" not in env, words
    assert not (trap / "sprung").exists()


def test_the_kernels_interpreter_looks_for_modules_neither_in_the_folder_nor_where_variables_point(jupyter_path: Path, trap: Path) -> None:
    """An empty entry of PYTHONPATH, which a shell's `$PYTHONPATH:/more` leaves, means the working directory, also with -P."""
    spec = json.loads((jupyter_path / "kernels/cellhold/kernel.json").read_text())
    words = [word for word in spec["argv"] if not word.startswith("{")]
    end = words.index("-m") if "-m" in words else words.index("-c")
    done = subprocess.run([*words[:end], "-c", "import sys; print(sys.path)"], capture_output=True, text=True, check=True, cwd=trap)
    assert not [place for place in ast.literal_eval(done.stdout) if not os.path.isabs(place) or Path(place).is_relative_to(trap)]
    assert not (trap / "sprung").exists()
    assert words[0] == sys.executable
