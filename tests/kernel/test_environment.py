"""The environment that a notebook's cells see: what the kernelspec names, this machine's time zone, nothing else of the server's."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from kernels import running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.requires("root", "overlayfs")


def manager(directory: Path, own: dict[str, str], **texts: object) -> KernelManager:
    """One of a kernelspec with an environment of its own."""
    argv = [sys.executable, "-E", "-P", "-m", "cellhold_kernel", "-f", "{connection_file}", "--kernelspec", str(directory)]
    spec = KernelSpec(argv=argv, display_name="x", language="python", interrupt_mode="message", env=own, metadata={"cellhold": texts})
    (directory / "kernel.json").write_text(spec.to_json())
    made = KernelManager(kernel_name="python3")
    made._kernel_spec = spec
    return made


def test_cells_have_what_the_kernelspec_names_and_what_a_cell_says(tmp_path: Path, shell_image: str) -> None:
    own = manager(tmp_path, {"OWN": "1"}, env_passthrough=["HUB_*"], env="SAID=2")
    of_server = {"HUB_USER": "ada", "HUB": "x", "SECRET": "s3kr1t", "TZ": "Asia/Tokyo", "LANG": "C.UTF-8"}
    with running(own, env={**os.environ, **of_server}) as notebook:
        cell = notebook.run("import json, os, time; print(json.dumps(dict(os.environ))); print(time.tzname[0])")
        *_, text, zone = cell.text.splitlines()
        found = json.loads(text)
        assert {name: found.get(name) for name in ("OWN", "SAID", "HUB_USER", "TZ", "LANG")} == {
            "OWN": "1",
            "SAID": "2",
            "HUB_USER": "ada",
            "TZ": "Asia/Tokyo",
            "LANG": "C.UTF-8",
        }
        assert zone == "JST"
        assert "HUB" not in found
        assert "s3kr1t" not in text
        assert notebook.run("%container env=\"SAID='three words' OWN=4\"\nos.environ").reply["ename"] == "NameError"  # a fresh one
        assert notebook.run("import os; os.environ['SAID'], os.environ['OWN']").text == "('three words', '4')"
        cell = notebook.run("%container env=SAID")
        assert "cannot use env=SAID: not NAME=VALUE" in cell.error
        notebook.run(f"%container image={shell_image} env=PATH=/bin")
        assert notebook.run("echo $TZ $LANG $OWN").text == "Asia/Tokyo C.UTF-8 1\n"
