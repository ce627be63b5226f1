"""A hostile notebook writes into its folder, at random: what the host has afterwards is only what may be there, and all of that.

Random writes, renames, removals, links, hostile names, and fresh containers in between; after each cell the folder is compared with
what the cell sees. What was in the folder before is as it was, whatever happened.
"""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING

import pytest

from cellhold_kernel.files.names import find_rule_of_path
from kernels import real, running

if TYPE_CHECKING:
    from pathlib import Path

    from kernels import Notebook

pytestmark = [pytest.mark.requires("root", "overlayfs"), pytest.mark.usefixtures("jupyter_path")]

NAMES = (
    "a.csv b.txt c data.csv theirs theirs/x.csv theirs/new.csv d d/e d/e/f d/g.txt d/h.csv out/one out/two .git .git/config .git/hooks/x"
    " conftest.py d/Makefile d/sitecustomize.py x.pth __pycache__/m.pyc -rf d/--x PACKAGE.json d/HEAD na\u200bme.txt pro\u200bfile.py"
).split(" ")
NAMES += ["new\nline", "esc\x1b[2J", "caf\udce9", "Make\u200cfile", "CONFTEST.PY", "z" * 255]
INSIDE = """
import os, json, shutil, stat
def act(do, path, other, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if do in ("write", "append") and os.path.exists(path) and not os.path.isfile(path): return
    if do == "write":
        with open(path, "w") as file: file.write(text)
    elif do == "append":
        with open(path, "a") as file: file.write(text)
    elif do == "remove": shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.remove(path)
    elif do == "rename": os.rename(path, other)
    elif do == "symlink": os.symlink(other, path)
    elif do == "link": os.link(path, other)
    elif do == "mkdir": os.mkdir(path)
    elif do == "fifo": os.mkfifo(path)
    elif do == "chmod": os.chmod(path, 0o777)
def see():
    found = {}
    for root, directories, files in os.walk("."):
        for name in directories + files:
            path = os.path.join(root, name); kind = os.lstat(path).st_mode
            text = None
            if stat.S_ISREG(kind):
                with open(path) as file: text = file.read()
            found[os.path.relpath(path)] = [stat.S_IFMT(kind), text]
    return found
"""
ROUND = """
for one in json.loads({ops!r}):
    try: act(*one)
    except OSError: pass
with open("/tmp/seen", "w") as file: json.dump(see(), file)
print(open("/tmp/seen").read())
"""
OPS = ("write", "write", "write", "append", "append", "remove", "rename", "rename", "symlink", "link", "mkdir", "fifo", "chmod")
FILE, DIRECTORY = 0o100000, 0o040000


def outside(folder: Path) -> dict[str, str | None]:
    """What the folder has: a file's text, None for a directory. Anything else is an error."""
    found: dict[str, str | None] = {}
    for root, directories, files in os.walk(folder):
        for name in directories + files:
            path = os.path.join(root, name)
            status = os.lstat(path)
            assert os.path.isfile(path) or os.path.isdir(path)
            assert not os.path.islink(path)
            assert status.st_uid == os.geteuid()
            text = None
            if os.path.isfile(path):
                assert status.st_mode & 0o7111 == 0
                with open(path, errors="surrogateescape") as file:
                    text = file.read()
            found[os.path.relpath(path, folder)] = text
    return found


def see_inside(notebook: Notebook, ops: list[list[str]]) -> dict[str, list[object]]:
    cell = notebook.run(ROUND.format(ops=json.dumps(ops)))
    assert cell.status == "ok", cell.error
    line = next(line for content in cell.of("stream") for line in content["text"].splitlines() if line.startswith("{"))
    found: dict[str, list[object]] = json.loads(line)
    return found


def compare(inside: dict[str, list[object]], folder: Path, theirs: dict[str, str | None]) -> None:
    there = outside(folder)
    for path, text in theirs.items():
        assert path in there, f"{path!r} was somebody's, and is gone"
        assert there[path] == text, f"{path!r} was somebody's, and was changed"
    their_files = {path for path, text in theirs.items() if text is not None}
    for path, text in there.items():
        assert find_rule_of_path(os.fsencode(path)) is None, f"{path!r} may not be there"
        if path not in theirs:
            assert path in inside, f"{path!r} is gone inside"
            assert text is None or inside[path][1] == text
    for path, (kind, content) in inside.items():
        above = ["/".join(path.split("/")[:number]) for number in range(1, path.count("/") + 1)]
        is_out = find_rule_of_path(os.fsencode(path)) is None and path not in theirs and not their_files.intersection(above)
        if is_out and kind in (FILE, DIRECTORY):
            assert path in there, f"{path!r} is lost"
            assert there[path] == content


@pytest.mark.parametrize("rounds", [12, pytest.param(200, marks=pytest.mark.random)])
def test_only_what_may_go_out_does_and_nothing_new_is_lost(tmp_path: Path, rounds: int) -> None:
    folder = tmp_path / "f"
    (folder / "theirs").mkdir(parents=True)
    (folder / "data.csv").write_text("theirs")
    (folder / "theirs/x.csv").write_text("theirs, too")
    theirs = outside(folder)
    seed = random.randrange(1 << 32)  # noqa: S311  # no secret
    chance = random.Random(seed)  # noqa: S311
    environment = {**os.environ, "JPY_SESSION_NAME": str(folder / "lab.ipynb")}
    with running(real(mount="new", memory="256m"), cwd=str(folder), env=environment) as notebook:
        notebook.run(INSIDE)
        for number in range(rounds):
            ops = [[chance.choice(OPS), chance.choice(NAMES), chance.choice(NAMES), str(number)] for _ in range(chance.randrange(6))]
            try:
                compare(see_inside(notebook, ops), folder, theirs)
                if number % 10 == 5:
                    ended = notebook.run(
                        "open('d.txt', 'w').write('x'); y = bytearray(1 << 30)" if chance.random() < 0.5 else "%container restart"
                    )
                    assert ended.status == "ok" or "MemoryLimitExceeded" in ended.error
                    notebook.run(INSIDE)
                    compare(see_inside(notebook, []), folder, theirs)
            except AssertionError as error:
                error.add_note(f"seed {seed}, round {number}, {ops}")
                raise
