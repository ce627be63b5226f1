"""The gate: nothing that acts for a notebook goes round it, and what it has no row for is refused."""

from __future__ import annotations

import ast
import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import cellhold_kernel
import grants
from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.spec.fields import BY_KEY
from cellhold_kernel.gate import build_flags, ceilings, granted, metadata, request, run_flags
from cellhold_kernel.gate.authorize import RULES, authorize
from cellhold_kernel.gate.request import BuildRequest, ContainerRequest, KeepRequest, PullRequest, Request, RunRequest
from cellhold_kernel.magics import dockerfile, run
from cellhold_kernel.settings import sources
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.settings.settings import KEYS, Settings, Trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold_kernel.gate.granted import GrantedBuild, GrantedRun

PACKAGE = Path(cellhold_kernel.__file__).parent
LOOKING = {"Look"}  # it reads layers, and changes nothing
# Where a granted value is turned into something done: who else calls these goes round the gate.
DOERS = {
    "Container.create": {"app.py", "jobs/run.py"},
    "Detached.create": {"jobs/run.py"},
    "commit.commit": {"jobs/commit.py"},
    "build": {"jobs/build.py"},
    "box.update": {"engine/cell_kernel.py"},
    "box.restrict": {"engine/cell_kernel.py"},
    "self.sandbox.update": {"engine/cell_kernel.py"},
    "self.sandbox.restrict": {"engine/cell_kernel.py"},
    "container.update": {"engine/local/kernel_sandbox.py"},
    "container.restrict": {"engine/local/kernel_sandbox.py"},
    "self.container.update": {"engine/local/kernel_sandbox.py"},
    "self.container.restrict": {"engine/local/kernel_sandbox.py"},
    "helper.start": {"jobs/job.py", "engine/local/shell_kernel.py", "widgets/painter.py"},
    "helper.run": {"images/wheels.py", "images/packages/resolving.py", "settings/notebook.py"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Those of the package, without the gate."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if not name.startswith("gate/"):
            yield name, ast.parse(path.read_text())


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call | ast.Attribute):
            yield ast.unparse(node.func if isinstance(node, ast.Call) else node)


def test_nothing_but_the_gate_makes_what_it_grants() -> None:
    kinds = {name for name in vars(granted) if name.startswith("Granted")}
    assert len(kinds) == 12
    for name, tree in modules():
        assert not kinds & {call.rpartition(".")[2] for call in calls(tree) if "Granted" in call}, name


def test_who_acts_takes_what_was_granted() -> None:
    works = {}
    for _name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and "ProcessJob" in map(ast.unparse, node.bases):
                made = next(one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__")
                works[node.name] = ast.unparse(made.args.args[1].annotation or ast.Constant(None))
    assert works.keys() >= {"Pull", "Layering", "Build", "Run", "Commit"}
    assert {name for name, kind in works.items() if not kind.startswith("Granted")} == LOOKING


@pytest.mark.parametrize("doer", DOERS)
def test_nobody_else_does_it(doer: str) -> None:
    assert {name for name, tree in modules() if doer in calls(tree)} <= DOERS[doer]


def test_each_kind_of_request_has_one_rule_and_nothing_else_is_answered() -> None:
    kinds = {kind for kind in vars(request).values() if isinstance(kind, type) and issubclass(kind, Request) and kind is not Request}
    assert set(RULES) == kinds
    with pytest.raises(NotAllowed, match="it is not for host to ask"):
        authorize(Request(), Trust.HOST, Policy())


@pytest.mark.parametrize("kind", [kind for kind, rule in RULES.items() if rule.least is Trust.CELL])
def test_what_a_cell_has_to_ask_for_the_metadata_cannot(kind: Any) -> None:
    asked = kind.__new__(kind)  # it is refused before anything of it is looked at
    with pytest.raises(NotAllowed, match="it is not for metadata to ask"):
        authorize(asked, Trust.METADATA, Policy())


# ------------------------------------------------------------------------------------------------------- flags


def test_each_flag_of_cellhold_run_is_listed_or_refused_with_a_reason() -> None:
    known = {action.dest: action.option_strings for action in run._PARSER._actions if action.option_strings}
    assert set(run_flags.FLAGS) <= known.keys()
    for name, spellings in known.items():
        assert name in run_flags.FLAGS or set(spellings) & run_flags.REFUSED.keys(), f"decide about {spellings}"


def test_a_flag_that_somebody_adds_to_cellhold_run_is_refused_until_it_is_listed() -> None:
    with pytest.raises(InvalidSpec, match="cannot use --new-flag with %%run: there is no such flag here"):
        authorize(RunRequest(flags={"new_flag": True}, image="busybox"), Trust.CELL, Policy())


def granted_run(cell: str) -> GrantedRun:
    wanted = run.read(cell)
    assert wanted is not None
    return authorize(RunRequest(flags=wanted.flags, image=wanted.image), Trust.CELL, Policy())


def granted_build(cell: str) -> GrantedBuild:
    wanted = dockerfile.read(cell)
    assert wanted is not None
    asked = BuildRequest(name=wanted.name, flags=wanted.flags, dockerfile=wanted.dockerfile)
    return authorize(asked, Trust.CELL, Policy())


@pytest.mark.parametrize(
    "line",
    [
        "-e JUPYTER_TOKEN",
        "--env JUPYTER_TOKEN",
        "-e A=1 -e JUPYTER_TOKEN",
        "--env-file /proc/self/environ",
        "--label-file /etc/passwd",
        "--privileged",
        "--privileged=true",
        "--security-opt seccomp=unconfined",
        "--security-opt no-new-privileges",
        "--device /dev/fuse",
        "--device-read-bps /dev/sda:1m",
        "--userns host",
        "--pid host",
        "--ipc=host",
        "--uts host",
        "--sysctl kernel.msgmax=1",
        "--cgroup-parent /",
        "--group-add 4",
        "--oom-kill-disable",
        "--oom-score-adj -1000",
        "--memory-reservation 1g",
        "--ulimit rtprio=99",
        "--ulimit nice=40",
        "--ulimit msgqueue=-1",
        "--ulimit sigpending=1000000",
        "--rootfs /",
        "--bundle /srv",
        "--cidfile /etc/cron.d/x",
        "--volumes-from other",
        "--name python.org",
        "--network lab --network-alias packages.python.org",
        "--label cellhold.owner=1",
        "--capad SYS_ADMIN",
        "--restart always",
        "-it",
    ],
)
def test_what_is_not_a_cells_is_refused_with_a_sentence(line: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        granted_run(f"%%run {line} busybox\necho")
    assert str(caught.value).startswith("cannot ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["SYS_ADMIN", "sys_ptrace", "CAP_NET_RAW", "NET_ADMIN", "DAC_READ_SEARCH"])
def test_a_capability_beyond_the_default_set_is_had_only_where_the_policy_lists_it(tmp_path: Path, name: str) -> None:
    asked = RunRequest(flags={"cap_add": [name]}, image="busybox")
    with pytest.raises(NotAllowed, match=r"above the ceiling capabilities = \[\] of .*policy.toml"):
        authorize(asked, Trust.CELL, Policy(path=tmp_path / "policy.toml"))
    full = f"CAP_{name.upper().removeprefix('CAP_')}"
    spec = authorize(asked, Trust.CELL, Policy(capabilities=(full,))).spec
    assert full in (spec.capabilities or ())


def test_of_the_default_set_a_cell_takes_and_gives_what_it_likes() -> None:
    asked = RunRequest(flags={"cap_drop": ["ALL"], "cap_add": ["chown"]}, image="busybox")
    assert authorize(asked, Trust.CELL, Policy()).spec.capabilities == frozenset({"CAP_CHOWN"})


@pytest.mark.parametrize(
    "flag",
    ["--build-arg TOKEN", "--build-arg=TOKEN", "--label TOKEN", "--secret id=x", "--ssh default", "--iidfile /x"],
)
def test_a_build_takes_nothing_of_this_machines_environment(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3kr1t")
    with pytest.raises(InvalidSpec) as caught:
        granted_build(f"%%dockerfile {flag} demo\nFROM scratch\nARG TOKEN")
    assert "s3kr1t" not in str(caught.value)


def test_a_flag_of_a_build_without_a_row_is_refused_whoever_has_read_it() -> None:
    with pytest.raises(InvalidSpec, match=r"^cannot use --secret=id=x: "):
        authorize(BuildRequest(name="demo", flags=("--secret=id=x",), dockerfile="FROM scratch"), Trust.CELL, Policy())


def test_each_row_says_why() -> None:
    assert all(row.why for table in (run_flags.FLAGS, build_flags.FLAGS) for row in table.values())


def test_a_limit_that_takes_from_others_is_a_cells_up_to_its_default_and_the_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stands for it here: nobody is to have more than 64 MiB of it as a matter of course."""
    row = BY_KEY["memory"]._replace(default=64 << 20, above_default="it takes memory from everybody else on this machine")
    monkeypatch.setattr(ceilings, "BY_KEY", {**BY_KEY, "memory": row})

    def asked(text: str, trust: Trust, rules: Policy) -> int | None:
        return authorize(ContainerRequest(words={"memory": text}), trust, rules).spec.limits.memory_bytes

    assert asked("64m", Trust.CELL, Policy()) == 64 << 20
    assert asked("65m", Trust.HOST, Policy()) == 65 << 20
    assert asked("65m", Trust.CELL, Policy(limits={"memory": "1g"})) == 65 << 20
    with pytest.raises(NotAllowed, match="cannot use memory=65m: above 64 MiB it takes memory from everybody else on this machine"):
        asked("65m", Trust.CELL, Policy())


# ---------------------------------------------------------------------------------------------------- metadata


def test_each_key_has_a_rule_for_metadata() -> None:
    assert set(metadata.MAY) == set(KEYS)


@pytest.mark.parametrize(
    ("kernelspec", "says"),
    [
        ({"memory": "512m"}, {"memory": "none"}),
        ({"memory": "512m"}, {"memory": "1g"}),
        ({"memory": "512m"}, {"memory-swap": "1g"}),
        ({"memory": "512m", "memory-swap": "600m"}, {"memory-swap": "700m"}),
        ({"memory": "512m", "memory-swap": "600m"}, {"memory-swap": "600m", "memory": "256m"}),  # the rest would be swap
        ({"cpus": "1"}, {"cpus": "2"}),
        ({}, {"pids": "4096"}),
        ({}, {"pids": "none"}),
        ({"disk": "1g"}, {"disk": "2g"}),
        ({"time": "1h"}, {"time": "none"}),
        ({"cell-time": "1m"}, {"cell-time": "2m"}),
        ({"output": "1m"}, {"output": "none"}),
        ({"cpuset": "0"}, {"cpuset": "0-1"}),
        ({"cpuset": "0"}, {"cpuset": "none"}),
        ({"memory": "1g", "memory-guard": "80%:pause"}, {"memory-guard": "80%:warn"}),
        ({"memory": "1g", "memory-guard": "80%:pause"}, {"memory-guard": "none"}),
        ({}, {"network": "bridge"}),
        ({"network": "bridge"}, {"egress": "all"}),
        ({"network": "bridge", "egress": "none"}, {"egress": "internet"}),
        ({"network": "bridge"}, {"egress": "allow=example.org"}),
        ({"network": "bridge"}, {"ports": "8888:8888"}),
        ({"network": "bridge", "net-egress": "1mbit"}, {"net-egress": "2mbit"}),
        ({}, {"mount": "rw"}),
        ({}, {"mount": "new"}),
        ({"mount": "none"}, {"mount": "ro"}),
        ({}, {"volume": "notes:/n"}),
        ({"volume": "notes:/n:ro"}, {"volume": "notes:/n"}),
        ({}, {"tmpfs": "/t"}),
        ({}, {"storage": "tmpfs"}),
        ({"memory": "1g", "storage": "tmpfs"}, {"storage": "disk"}),
        ({"network": "bridge"}, {"network": "lab"}),
    ],
)
def test_metadata_gets_no_more_than_there_is_without_it(kernelspec: dict[str, str], says: dict[str, str]) -> None:
    base = Settings().over("kernel.json", kernelspec)
    settings = base.over("the metadata", says, trust=Trust.METADATA)
    with pytest.raises(NotAllowed) as caught:
        grants.container(settings)
    key, text = next(iter(says.items()))
    assert str(caught.value).startswith(f"cannot use {key}={text.partition(':')[0] if key == 'tmpfs' else text}")


@pytest.mark.parametrize(
    ("kernelspec", "says"),
    [
        ({"memory": "512m"}, {"memory": "256m", "pids": "64", "cpus": "0.5", "time": "1h", "output": "1m", "cell-time": "9s"}),
        ({"memory": "512m"}, {"memory": "512m"}),
        ({"cpuset": "0-3"}, {"cpuset": "1,2"}),
        ({"network": "bridge", "egress": "all"}, {"egress": "internet"}),
        ({"network": "bridge", "ports": "8000:80 9000:90"}, {"ports": "9000:90"}),
        ({"network": "bridge"}, {"network": "none"}),
        ({"network": "lab"}, {"network": "lab"}),
        ({"mount": "rw"}, {"mount": "ro"}),
        ({"mount": "rw"}, {"mount": "new"}),
        ({"volume": "notes:/n"}, {"volume": "notes:/n:ro"}),
        ({"memory": "1g"}, {"storage": "tmpfs", "tmpfs": "/t"}),
        ({}, {"tmpfs": "/t:size=1m", "hostname": "lab", "kernel": "shell", "image": "python:3"}),
        ({"memory": "1g", "memory-guard": "90%"}, {"memory-guard": "80%:pause"}),
        ({"memory": "none"}, {"memory": "none"}),
    ],
)
def test_metadata_may_take_away_and_choose(kernelspec: dict[str, str], says: dict[str, str]) -> None:
    settings = Settings().over("kernel.json", kernelspec).over("the metadata", says, trust=Trust.METADATA)
    assert grants.container(settings)


@pytest.mark.parametrize(
    ("rules", "is_new", "is_kept"),
    [
        (Policy(), True, True),
        (Policy(mount="ro"), False, False),
        (Policy(mount="new"), True, False),
        (Policy(mount="rw"), True, True),
        (Policy(limits={"disk": "1g"}), False, False),
        (Policy(limits={"disk": "1g"}, mount="new"), True, False),
    ],
)
def test_what_goes_out_and_what_is_written_over_are_a_policys_to_forbid(rules: Policy, *, is_new: bool, is_kept: bool) -> None:
    asked = Settings().over("", {"mount": "new", "disk": "1g"}, trust=Trust.CELL)
    with nullcontext() if is_new else pytest.raises(NotAllowed, match="cannot use mount=new"):
        assert grants.container(asked, rules).folder == "new"
    with nullcontext() if is_kept else pytest.raises(NotAllowed, match="cannot use %keep"):
        assert authorize(KeepRequest(paths=("a/../b",)), Trust.CELL, rules).paths == ("b",)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", ".", "a\0b"])
def test_what_is_kept_is_named_below_the_folder(path: str) -> None:
    with pytest.raises(InvalidSpec, match="it is not in /workspace"):
        authorize(KeepRequest(paths=(path,)), Trust.CELL, Policy())


def test_what_a_policy_s_default_limits_metadata_cannot_lift() -> None:
    rules = Policy(defaults={"memory": "1g"})
    with pytest.raises(NotAllowed, match="cannot use memory=2g of the notebook's metadata"):
        grants.container(Settings().over("", {"memory": "2g"}, trust=Trust.METADATA), rules)
    assert grants.spec(Settings().over("", {"memory": "2g"}, trust=Trust.CELL), rules).limits.memory_bytes == 2 << 30


def test_a_line_of_a_cell_goes_over_the_metadata_and_metadata_read_again_compares_with_what_was_below_it() -> None:
    settings = Settings().over("kernel.json", {"memory": "1g"})
    for text in ("512m", "768m"):
        settings = settings.over("the metadata", {"memory": text}, trust=Trust.METADATA)
    assert grants.spec(settings).limits.memory_bytes == 768 << 20
    assert grants.spec(settings.over("", {"memory": "none"}, trust=Trust.CELL)).limits.memory_bytes is None


def test_an_image_that_is_not_here_is_fetched_for_a_cell_and_not_for_metadata() -> None:
    with pytest.raises(NotAllowed, match="a notebook does not fetch images unasked"):
        authorize(PullRequest(image="python:3"), Trust.METADATA, Policy())
    assert authorize(PullRequest(image="python:3"), Trust.CELL, Policy()).image == "python:3"


@pytest.mark.parametrize(
    "asked",
    [
        [1],
        1,
        "memory=1g",
        True,
        None,
        {"memory": {"a": 1}},
        {"memory": None},
        {"memory": True},
        {"memory": [1, 2]},
        {"memory": [["1g"]]},
        {"memory": 1e400},
        {"memory": 10**400},
        {"memory": "1g" * 100_000},
        {"memory": "\x1b[2J"},
        {"\x1b[2J": "1"},
        {"x" * 100_000: "1"},
        {"volume": "'"},
        {"ports": "1-2-3"},
        {"image": "\x00"},
    ],
)
def test_garbage_in_metadata_is_a_sentence_and_not_in_pythons_words(tmp_path: Path, asked: Any) -> None:
    (tmp_path / "n.ipynb").write_text(json.dumps({"metadata": {"cellhold": asked}}))
    settings, failure = sources.collect(None, tmp_path / "n.ipynb")
    if failure is None:
        with pytest.raises((InvalidSpec, NotAllowed)) as caught:
            grants.container(settings, Policy(limits={"memory": "4g"}))
        failure = caught.value
    text = f"{failure} {failure.hint}"
    assert str(failure).startswith("cannot ")
    assert text.isprintable()
    assert len(text) < 2000
    for word in ("object has no", "NoneType", "Traceback", "dict", "'list'", "int string", "Error"):
        assert word not in text
