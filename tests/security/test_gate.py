"""What a hostile notebook asks for, through the real kernel: by magics, metadata and the panel's buttons; each refused, or harmless."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from boxes import command, eventually
from cellhold.image import stored, tags
from cellhold.rootfs import volumes
from cellhold.store.home import open_home
from gated import MARK, done, kept, refused, starter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kernels import Notebook

pytestmark = [
    pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "cgroup-freezer"),
    pytest.mark.timeout(3600),  # the image may have to be made first
    pytest.mark.shared_kernels,
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The notebook's folder, which is a home: what begins with a dot in it is covered."""
    return furnished(tmp_path / "home")


def furnished(folder: Path) -> Path:
    (folder / ".ssh").mkdir(parents=True)
    (folder / ".ssh/id").write_text(MARK)
    (folder / "lab.txt").write_text("for everybody\n")
    return folder


@pytest.fixture
def start(folder: Path, tmp_path: Path, shell_image: str) -> Callable[..., Any]:
    """As gated.starter() gives it."""
    return starter(folder, tmp_path / "policy.toml", shell_image)


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory, shell_image: str) -> Iterator[Common]:
    """A notebook of several tests in a folder of theirs: each has its own policy, and changes nothing of the notebook."""
    place = tmp_path_factory.mktemp("common")
    folder, rules = furnished(place / "home"), place / "policy.toml"
    (folder / "link").symlink_to(".ssh")
    (folder / "straight").symlink_to(".ssh/id")
    (folder / ".dockerignore").write_text("!.ssh\n!.ssh/id\n")
    with starter(folder, rules, shell_image)() as notebook:
        yield Common(notebook, rules)


class Common(NamedTuple):
    """It, and the file of its policy, which is read whenever something is asked for."""

    notebook: Notebook
    rules: Path

    @contextmanager
    def under(self, policy: str = "") -> Iterator[Notebook]:
        self.rules.write_text(policy)
        try:
            yield self.notebook
        finally:
            self.rules.write_text("")


# ------------------------------------------------------------------------------------- this machine's environment


def test_no_variable_of_the_notebook_server_gets_into_a_cell(common: Common, shell_image: str) -> None:
    with common.under() as notebook:
        for flags in ("-e JUPYTER_TOKEN", "--env=JUPYTER_TOKEN", "-eJUPYTER_TOKEN", "--env-file /proc/self/environ"):
            cell = notebook.run(f"%%run {flags} {shell_image}\nenv")
            refused(cell)
            assert MARK not in str(cell.published)
        built = f"\nFROM {shell_image}\nARG JUPYTER_TOKEN\nRUN echo token is $JUPYTER_TOKEN."
        for flags in ("--build-arg JUPYTER_TOKEN", "--build-arg=JUPYTER_TOKEN", "--label JUPYTER_TOKEN", "--secret id=t,env=JUPYTER_TOKEN"):
            cell = notebook.run(f"%%dockerfile {flags} demo{built}")
            refused(cell)
            assert MARK not in str(cell.published)
        assert "token is ." in str(notebook.run(f"%%dockerfile demo{built}").published)
        assert "given" in done(notebook.run(f"%%run -e JUPYTER_TOKEN=given {shell_image}\necho $JUPYTER_TOKEN"))


# ------------------------------------------------------------------------------------------- what a build sees


@pytest.mark.parametrize(
    "lines",
    [
        "COPY .ssh/id /x",
        "COPY .ssh /x",
        "COPY .s*/* /x",
        "COPY sub/../.ssh/id /x",
        "COPY link/id /x",
        "COPY straight /x",
        "ADD .ssh/id /x",
    ],
)
def test_what_the_workspace_covers_no_build_copies(common: Common, shell_image: str, lines: str) -> None:
    with common.under() as notebook:
        cell = notebook.run(f"%%dockerfile demo\nFROM {shell_image}\n{lines}\nRUN cat /x /x/* || true")
        assert "the build context has no such file" in cell.error, cell.text
        assert MARK not in str(cell.published)


def test_a_copy_of_the_whole_folder_is_what_the_container_is_shown(start: Callable[..., Any], folder: Path, shell_image: str) -> None:
    (folder / "link").symlink_to(".ssh")
    with start() as notebook:
        cell = notebook.run(f"%%dockerfile demo\nFROM {shell_image}\nCOPY . /all\nRUN ls -A /all; cat /all/.ssh/id /all/link/id || true")
        assert "lab.txt" in str(cell.published)
        assert MARK not in str(cell.published)
        inside = {name for name in done(notebook.run("ls -A")).split() if not name.startswith(".")}
        assert inside == {"lab.txt", "link", "n.ipynb"}


def test_what_is_covered_is_not_copied_by_a_second_way_that_leads_there(start: Callable[..., Any], folder: Path, shell_image: str) -> None:
    (folder / "again").mkdir()
    with start() as notebook:
        subprocess.run(["mount", "--bind", folder, folder / "again"], check=True)
        try:
            for line in ("COPY again/.ssh/id /x", "COPY again/.ssh /x", "COPY again/.s*/* /x"):
                cell = notebook.run(f"%%dockerfile demo\nFROM {shell_image}\n{line}\nRUN cat /x /x/* || true")
                assert "the build context has no such file" in cell.error, cell.text
            cell = notebook.run(f"%%dockerfile demo\nFROM {shell_image}\nCOPY . /all\nRUN ls /all/again; cat /all/again/.ssh/id || true")
            assert "lab.txt" in str(cell.published)
            assert MARK not in str(cell.published)
        finally:
            subprocess.run(["umount", "-l", folder / "again"], check=True)


def test_without_the_folder_there_is_no_context(start: Callable[..., Any], shell_image: str) -> None:
    with start('[ceilings]\nmount = "none"') as notebook:
        for line in ("COPY lab.txt /x", "COPY . /x", "COPY * /x", "ADD lab.txt /x"):
            cell = notebook.run(f"%%dockerfile demo\nFROM {shell_image}\n{line}")
            assert "the build context, which is empty, has no such file" in cell.error, cell.text
        assert "built demo" in done(notebook.run(f"%%dockerfile demo\nFROM {shell_image}\nCOPY <<E /x\ntext\nE"))
    with start(mount="none") as notebook:
        assert "has no such file" in notebook.run(f"%%dockerfile demo\nFROM {shell_image}\nCOPY lab.txt /x").error


def test_images_of_onbuild_triggers_are_held_against_the_policy(start: Callable[..., Any], shell_image: str) -> None:
    with start() as notebook:
        done(notebook.run(f"%%dockerfile secret\nFROM {shell_image}\nRUN echo {MARK} > /s"))
    (own,) = [name for image in stored.every(open_home()) for name in image.names if name.endswith("/secret:latest")]
    tags.tag(own, "secret:1", open_home())
    try:
        text = f"%%dockerfile base\nFROM {shell_image}\nONBUILD COPY --from=secret:1 /s /s\nONBUILD RUN cat /s"
        with start('[ceilings]\nimages = ["localhost/*", "*/*", "shell*", "base", "demo"]') as notebook:
            done(notebook.run(text))
            cell = notebook.run("%%dockerfile demo\nFROM base\nRUN true")
            assert "cannot use image=secret:1: above the ceiling images" in cell.error, cell.text
            assert MARK not in str(cell.published)
    finally:
        tags.remove("secret:1", open_home())


# ----------------------------------------------------------------------------------------------------- rights


def test_a_capability_beyond_the_default_is_the_policys_to_give(common: Common, shell_image: str) -> None:
    with common.under() as notebook:
        refused(notebook.run(f"%%run --cap-add SYS_ADMIN {shell_image}\numount /proc/kcore"), "capabilities = []", "policy.toml")
        refused(notebook.run(f"%%run --cap-add=ALL {shell_image}\ntrue"))
        for flags in ("--privileged", "--security-opt seccomp=unconfined", "--device /dev/fuse", "--pid host", "--userns=host"):
            refused(notebook.run(f"%%run {flags} {shell_image}\ntrue"))
    with common.under('[ceilings]\ncapabilities = ["sys_ptrace"]') as notebook:
        done(notebook.run(f"%%run --cap-add SYS_PTRACE {shell_image}\ntrue"))
        refused(notebook.run(f"%%run --cap-add SYS_ADMIN {shell_image}\ntrue"), "capabilities = [SYS_PTRACE]")


# ---------------------------------------------------------------------------------------------------- ceilings


def test_a_volume_does_not_go_round_a_ceiling_for_disk(start: Callable[..., Any], shell_image: str) -> None:
    policy = '[ceilings]\ndisk = "64m"'
    fill = "dd if=/dev/zero of=/d/x bs=1M count=200"
    try:
        with start(policy, disk="16m") as notebook:
            for flags in ("-v gate-data:/d", "-v /d", "--mount type=volume,source=gate-data,target=/d", "--mount target=/d"):
                refused(notebook.run(f"%%run {flags} {shell_image}\n{fill}"), "disk = 64m", "policy.toml")
            refused(notebook.run("%container volume=gate-data:/d"), "disk = 64m", "policy.toml")
            refused(notebook.run("%container mount=rw"), "disk = 64m", "policy.toml")
            done(notebook.run(f"%%run -v gate-data:/d:ro {shell_image}\ntrue"))
            done(notebook.run(f"%%dockerfile voluminous\nFROM {shell_image}\nRUN mkdir /d\nVOLUME /d"))
            assert "No space left on device" in notebook.run(f"%%run voluminous\n{fill}").text
        with start(f'{policy}\nvolumes = ["gate-data"]', disk="16m") as notebook:
            done(notebook.run(f"%%run -v gate-data:/d {shell_image}\necho 1 > /d/x"))
            refused(notebook.run(f"%%run -v gate-other:/d {shell_image}\ntrue"), "volumes = [gate-data]")
    finally:
        volumes.remove("gate-data", open_home(), force=True)


def test_memory_that_is_no_memory_limit_s_is_refused(common: Common, start: Callable[..., Any], shell_image: str) -> None:
    with common.under('[ceilings]\nmemory = "128m"') as notebook:
        for flags in ("--tmpfs /t:size=1g", "--mount type=tmpfs,target=/t,tmpfs-size=1g", "--shm-size 1g"):
            refused(notebook.run(f"%%run {flags} {shell_image}\ntrue"), "64 MiB")
        refused(notebook.run("%container tmpfs=/t:size=1g"), "64 MiB")
        cell = notebook.run(f"%%run --tmpfs /t {shell_image}\ndf -k /t | tail -1")
        assert f" {16 << 10} " in " ".join(done(cell).split())  # it shares half of the run's 64 MiB with /dev/shm
    with start(memory="none") as notebook:
        refused(notebook.run("%container tmpfs=/t"), "nothing bounds it")
        refused(notebook.run("%container storage=tmpfs"), "nothing bounds it")


def test_ceilings_hold_for_all_that_a_notebook_has_and_after_it_was_opened_again(start: Callable[..., Any], shell_image: str) -> None:
    policy = '[ceilings]\nmemory = "200m"\ncontainers = 3'
    behind = f"%%run -d --memory 64m {shell_image}\nsleep 1000"
    try:
        with start(policy) as notebook:
            refused(
                notebook.run(f"%%run --memory 160m {shell_image}\ntrue"), "memory=160m", "memory 64 MiB", "memory = 200m", "policy.toml"
            )
            done(notebook.run(behind))
            done(notebook.run(behind))
            refused(notebook.run(behind), "containers = 3", "policy.toml")
            refused(notebook.run("%limits memory=160m"), "memory = 200m", "memory 128 MiB")
            refused(notebook.run("%container memory=160m"), "memory = 200m")
            done(notebook.run("%limits memory=70m"))
            assert len(kept()) == 2
        with start(policy.replace("3", "9"), memory="70m") as notebook:  # another kernel of the same notebook
            refused(notebook.run(f"%%run -d --memory 10m {shell_image}\nsleep 1000"), "memory = 200m")
            refused(notebook.run(f"%%run {shell_image}\ntrue"), "memory = 200m")
            refused(notebook.run(f"%%dockerfile demo\nFROM {shell_image}\nRUN true"), "memory = 200m")
            command("rm", "-f", kept()[0])
            assert "yes" in done(notebook.run(f"%%run {shell_image}\necho yes"))
        with start(policy, name="other.ipynb") as notebook:  # another notebook has its own
            done(notebook.run(f"%%run --memory 128m {shell_image}\ntrue"))
    finally:
        for name in kept():
            command("rm", "-f", name)


def test_what_nobody_says_is_what_is_left(start: Callable[..., Any], shell_image: str) -> None:
    with start('[ceilings]\nmemory = "100m"\npids = 60', pids="20") as notebook:
        cell = notebook.run(f"%%run {shell_image}\ntrue")
        assert " of 36 MiB" in done(cell)


# ---------------------------------------------------------------------------------------------------- metadata


@pytest.mark.parametrize(
    "metadata",
    [
        {"memory": "none"},
        {"memory": "1g"},
        {"pids": "none"},
        {"network": "bridge", "ports": "18888:8888"},
        {"network": "bridge"},
        {"volume": "data:/d"},
        {"volume": ["/etc:/e:ro"]},
        {"mount": "rw"},
        {"tmpfs": "/t:size=10g"},
        {"image": "/srv"},
        {"image": "python:3.99"},
        {"storage": "cloud"},
        [1],
        {"memory": {"a": [1]}},
        {"memory": 10**300},
        {"no such key": 1},
    ],
)
def test_metadata_that_asks_for_more_is_told_in_a_sentence(start: Callable[..., Any], metadata: Any) -> None:
    with start(metadata=metadata) as notebook:
        cell = notebook.run("true")
        refused(cell)
        assert "hint: " in cell.error
        done(notebook.run("%container memory=32m image=host mount=none network=none volume='' tmpfs='' storage=disk pids=64 kernel=shell"))


def test_metadata_that_asks_for_less_is_had(start: Callable[..., Any]) -> None:
    with start(metadata={"memory": "32m", "pids": 50}) as notebook:
        shown = done(notebook.run("%container"))
        assert "of 32 MiB" in shown
        assert "of 50" in shown


# ------------------------------------------------------------------------------------------------------ images


def test_no_notebook_replaces_or_claims_a_name_that_others_use(start: Callable[..., Any], shell_image: str) -> None:
    home = open_home()
    tags.tag(shell_image, "python:3.12", home)
    before = stored.find("python:3.12", home).id
    try:
        with start(name="a.ipynb") as notebook:
            for name in ("docker.io/library/python:3.12", "python:3.12", "library/python:3.12", "index.docker.io/library/python:3.12"):
                refused(notebook.run(f"%%dockerfile {name}\nFROM {shell_image}\nRUN echo evil > /evil"))
                refused(notebook.run(f"%container commit {name}"))
            for name in ("host", "scratch", "localhost/nb/0123456789abcdef/x", "registry.example/x", "sha256:abcd", "deadbeefdeadbeef"):
                refused(notebook.run(f"%%dockerfile {name}\nFROM {shell_image}\nRUN echo evil > /evil"))
            done(notebook.run(f"%%dockerfile ruby:3\nFROM {shell_image}\nRUN echo evil > /evil"))
            assert "evil" in done(notebook.run("%%run ruby:3\ncat /evil"))
            done(notebook.run("%%dockerfile later\nFROM ruby:3\nRUN cat /evil"))
            done(notebook.run("%container image=ruby:3"))
            assert "evil" in done(notebook.run("cat /evil"))
            done(notebook.run("%container commit kept:1"))
            assert "evil" in done(notebook.run("%%run kept:1\ncat /evil"))
        assert stored.find("python:3.12", home).id == before
        assert not stored.has("ruby:3", home)
        (own,) = [name for image in stored.every(home) for name in image.names if name.endswith("/ruby:3")]
        with start(name="b.ipynb") as notebook:
            cell = notebook.run("%%run --pull never ruby:3\ncat /evil")
            assert "cannot use image=ruby:3: it is not here" in cell.error
            refused(notebook.run(f"%%run {own}\ncat /evil"), "another notebook's")
            refused(notebook.run(f"%%dockerfile x\nFROM {own}\nRUN true"), "another notebook's")
        with start(name="a.ipynb") as notebook:  # it is still the notebook's own when that is opened again
            assert "evil" in done(notebook.run("%%run ruby:3\ncat /evil"))
        assert command("run", "--rm", own, "cat", "/evil").stdout == "evil\n"  # its user has it, by its name
        assert command("tag", own, "mine:1").returncode == 0
        assert command("tag", "mine:1", own).returncode != 0
    finally:
        for name in ("python:3.12", "mine:1"):
            command("rmi", name)


def test_a_button_is_no_way_round(common: Common, shell_image: str) -> None:
    tags.tag(shell_image, "taken:1", open_home())
    try:
        with common.under('[ceilings]\nimages = ["shell*", "*/*", "kept:*"]') as notebook:
            notebook.run("%container panel")
            for name, word in (
                ("taken:1", "above the ceiling images"),
                ("localhost/nb/x/y", "names below localhost/nb"),
                ("kept:1 more", ""),
            ):
                said = ask(notebook, "commit", name)
                assert not said["ok"]
                assert said["text"].startswith("cannot ")
                assert word in said["text"]
            assert not ask(notebook, "format", "")["ok"]
    finally:
        tags.remove("taken:1", open_home())


def ask(notebook: Notebook, action: str, word: str) -> dict[str, Any]:
    """Press a button, as a script in a trusted output can; gives what the panel says."""
    content = {"do": "act", "view": "v", "id": action + word, "action": action, "arguments": [word]}
    message = notebook.client.session.msg("comm_msg", {"comm_id": "cellhold-panel", "data": {"method": "custom", "content": content}})
    notebook.client.shell_channel.send(message)
    answers: list[dict[str, Any]] = []

    def answered() -> bool:
        published = notebook.client.get_iopub_msg(timeout=60)
        if published["msg_type"] == "comm_msg":
            answers.append(published["content"]["data"].get("content", {}))
        return any(answer.get("t") == "ack" and answer.get("id") == action + word for answer in answers)

    assert eventually(answered)
    return next(answer for answer in answers if answer.get("t") == "ack")
