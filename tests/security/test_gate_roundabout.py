"""Ways round the gate that name nothing of what it refuses: what waits, what has another name, what cannot be read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from boxes import command
from cellhold.image import stored, tags
from cellhold.store.home import open_home
from gated import done, kept, refused, starter
from kernels import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer"),
    pytest.mark.timeout(3600),  # the image may have to be made first
    pytest.mark.leaks_allowed,  # a fixture's kernel makes fresh containers; each test removes what outlives its kernel
]


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The policy's file."""
    return tmp_path / "policy.toml"


@pytest.fixture
def start(tmp_path: Path, rules: Path, shell_image: str) -> Callable[..., Any]:
    """As gated.starter() gives it."""
    folder = tmp_path / "lab"
    folder.mkdir()
    return starter(folder, rules, shell_image)


def test_a_container_that_is_stopped_counts_since_it_may_be_started_again(start: Callable[..., Any], shell_image: str) -> None:
    behind = f"%%run -d --memory {{}} {shell_image}\nsleep 1000"
    try:
        with start('[ceilings]\nmemory = "200m"\ncontainers = 2', memory="150m") as notebook:
            done(notebook.run("%container kill"))
            refused(notebook.run(behind.format("190m")), "memory 150 MiB", "memory = 200m", "policy.toml")
            done(notebook.run(behind.format("20m")))
            cell = notebook.run(behind.format("10m"))
            refused(cell, "containers = 2")
            assert "%container remove" in cell.error
            done(notebook.run("%container start"))
            done(notebook.run("%container kill"))
            done(notebook.run("%container remove"))
            done(notebook.run(behind.format("180m")))
            refused(notebook.run("%container memory=10m"), "containers = 2")
    finally:
        for name in kept():
            command("rm", "-f", name)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ('memory = "100m"', "memory=150m"),  # what was said
        ("pids = 10", "above the ceiling pids = 10"),  # what it has because nobody said it
        ('images = ["nothing/*"]', "images"),
        ('mount = "none"', "mount"),
    ],
)
def test_a_stopped_container_goes_on_within_the_policy_of_now_alone(
    start: Callable[..., Any], rules: Path, policy: str, words: str
) -> None:
    with start(memory="150m") as notebook:
        done(notebook.run("touch /kept"))
        done(notebook.run("%container kill"))
        rules.write_text(f"[ceilings]\n{policy}")
        refused(notebook.run("%container start"), words, "policy.toml")
        rules.write_text("")
        assert "/kept" in done(notebook.run("%container start\nls /kept"))


def test_no_id_leads_to_what_another_notebook_has_made(start: Callable[..., Any], shell_image: str) -> None:
    home = open_home()
    before = {image.digest for image in stored.every(home)}
    try:
        with start(name="a.ipynb") as notebook:
            done(notebook.run(f"%%dockerfile mine\nFROM {shell_image}\nRUN echo one > /mine"))
            done(notebook.run(f"%%dockerfile mine\nFROM {shell_image}\nRUN echo two > /mine"))  # the first has no name now
            made = [image for image in stored.every(home) if image.digest not in before]
            assert sorted(len(image.names) for image in made) == [0, 1]
            (last,) = [image for image in made if image.names]
            assert done(notebook.run(f"%%run {last.id}\ncat /mine")).startswith("two")
        with start(name="b.ipynb") as notebook:
            for image in made:
                for text in (str(image.id), image.id.encoded[:12], image.id.encoded[:7], str(image.digest), image.digest.encoded[:9]):
                    refused(notebook.run(f"%%run {text}\ncat /mine"), "no name for this notebook")
                    refused(notebook.run(f"%%dockerfile x\nFROM {text}\nRUN cat /mine"), "no name for this notebook")
                    refused(notebook.run(f"%%dockerfile x\nFROM {shell_image}\nCOPY --from={text} /mine /"), "no name for this")
                    refused(notebook.run(f"%container image={text}"), "no name for this notebook")
            tags.tag(str(last.id), "everybodys:1", home)
            assert done(notebook.run(f"%%run {last.id.encoded[:12]}\ncat /mine")).startswith("two")
    finally:
        command("rmi", "everybodys:1")


def test_a_notebook_may_say_its_own_image_in_full_and_change_limits(start: Callable[..., Any], shell_image: str) -> None:
    with start() as notebook:
        done(notebook.run(f"%%dockerfile full\nFROM {shell_image}\nRUN true"))
        (name,) = [name for image in stored.every(open_home()) for name in image.names if name.endswith("/full:latest")]
        done(notebook.run(f"%container image={name}"))
        done(notebook.run("%limits pids=50"))


def test_a_policy_out_of_reach_is_no_policy_that_allows_everything(start: Callable[..., Any], rules: Path) -> None:
    with start('[ceilings]\nmemory = "128m"') as notebook:
        rules.unlink()
        rules.symlink_to("/proc/nowhere/policy.toml")
        refused(notebook.run("%container memory=500m"), "policy.toml", "a link to a file that does not exist")
        rules.unlink()
        os.mkfifo(rules)
        refused(notebook.run("%container memory=500m"), "policy.toml", "not a regular file")
        rules.unlink()
        rules.mkdir()
        refused(notebook.run("%container memory=500m"), "policy.toml", "Is a directory")


def test_a_notebook_whose_name_is_no_text_has_containers_too(start: Callable[..., Any], shell_image: str) -> None:
    try:
        with start("[ceilings]\ncontainers = 2", name=os.fsdecode(b"n\xff.ipynb")) as notebook:
            done(notebook.run("true"))
            done(notebook.run(f"%%run -d {shell_image}\nsleep 1000"))
            refused(notebook.run(f"%%run {shell_image}\ntrue"), "containers = 2")
    finally:
        for name in kept():
            command("rm", "-f", name)


def test_a_button_that_is_pressed_again_and_again_starts_no_more_than_a_few_processes(start: Callable[..., Any]) -> None:
    presses = 30
    with start() as notebook:
        done(notebook.run("%container panel"))
        for number in range(presses):
            press = {"do": "act", "view": "v", "id": str(number), "action": "commit", "arguments": [f"pressed:{number}"]}
            content = {"comm_id": "cellhold-panel", "data": {"method": "custom", "content": press}}
            notebook.client.shell_channel.send(notebook.client.session.msg("comm_msg", content))
        answers: dict[str, dict[str, Any]] = {}
        while len(answers) < presses:
            message = notebook.client.get_iopub_msg(timeout=PATIENCE)
            said = message["content"]["data"].get("content", {}) if message["msg_type"] == "comm_msg" else {}
            if said.get("t") == "ack":
                answers[said["id"]] = said
        assert answers["0"]["ok"], answers["0"]
        assert any("too much is being done for the panel already" in said["text"] for said in answers.values() if not said["ok"])


def test_limits_can_be_changed_after_another_container_has_made_room(start: Callable[..., Any], shell_image: str) -> None:
    policy = '[ceilings]\ndisk = "100m"'
    try:
        with start(policy, disk="50m") as notebook:
            done(notebook.run(f"%%run -d --disk 40m {shell_image}\nsleep 1000"))
        with start(policy) as notebook:  # it says nothing, and has the 60 MiB that are left
            assert "of 60 MiB" in done(notebook.run("%limits"))
            command("rm", "-f", *kept())
            done(notebook.run("%limits pids=50"))
            assert "of 60 MiB" in done(notebook.run("%limits"))
    finally:
        for name in kept():
            command("rm", "-f", name)
