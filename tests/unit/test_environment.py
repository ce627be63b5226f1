"""The environment of a notebook's container: what is said, what of this machine's is passed on, and what the policy allows."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import pytest

import grants
from cellhold.errors import InvalidSpec, NotAllowed
from cellhold_kernel import install
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import RunRequest
from cellhold_kernel.settings import environment, policy, sources
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.settings.settings import Settings, Trust

if TYPE_CHECKING:
    from pathlib import Path


def kernelspec(directory: Path, **document: Any) -> Settings:
    """What a kernel.json asks for."""
    (directory / "kernel.json").write_text(json.dumps({"metadata": {}, **document}))
    return sources.of_kernelspec(directory)


def test_variables_are_written_as_in_a_shell() -> None:
    assert grants.spec(Settings().over("", {"env": "A=1 B='two words' C= D=a=b"})).env == {"A": "1", "B": "two words", "C": "", "D": "a=b"}


@pytest.mark.parametrize("text", ["A", "=1", "A=1 B", "A='", "A=" + "x" * (65 << 10), "A=\0"])
def test_what_is_no_variable_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="env"):
        grants.spec(Settings().over("a cell", {"env": text}))


def test_metadata_may_have_a_list_of_them(tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_text(json.dumps({"metadata": {"cellhold": {"env": ["A=1", "B=two words"]}}}))
    settings, failure = sources.collect(None, tmp_path / "n.ipynb")
    assert failure is None
    assert grants.spec(settings).env == {"A": "1", "B": "two words"}


def test_the_servers_environment_stays_outside_but_for_what_the_kernelspec_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OWN", "JUPYTERHUB_USER", "JUPYTERHUB_API_TOKEN", "SECRET"):
        monkeypatch.setenv(name, f"value of {name}")
    settings = kernelspec(
        tmp_path, env={"OWN": "as Jupyter has set it", "UNSET": "1"}, metadata={"cellhold": {"env_passthrough": ["JUPYTERHUB_U*"]}}
    )
    assert grants.spec(settings).env == {"OWN": "value of OWN", "JUPYTERHUB_USER": "value of JUPYTERHUB_USER"}
    over = settings.over("a cell", {"env": "OWN=mine"}, trust=Trust.CELL)
    assert grants.spec(over).env["OWN"] == "mine"
    assert grants.spec(over.over("a cell", {"memory": "1g"}, trust=Trust.CELL)).env["JUPYTERHUB_USER"] == "value of JUPYTERHUB_USER"


@pytest.mark.parametrize("value", [["*"], ["?A"], ["A B"], ["[A-Z]*"], "PATH", [1], [""]])
def test_no_kernelspec_passes_all_of_it_on(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InvalidSpec, match="env_passthrough"):
        kernelspec(tmp_path, metadata={"cellhold": {"env_passthrough": value}})


def test_a_notebooks_own_metadata_passes_nothing_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3kr1t")
    (tmp_path / "n.ipynb").write_text(json.dumps({"env": {"SECRET": ""}, "metadata": {"cellhold": {"env_passthrough": ["SECRET"]}}}))
    settings, failure = sources.collect(None, tmp_path / "n.ipynb")
    assert "env_passthrough" in str(failure)
    assert grants.spec(settings).env == {}


def test_the_time_zone_is_this_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/Europe/Vienna")
    monkeypatch.setattr(environment, "_LOCALTIME", str(tmp_path / "localtime"))
    assert environment.locale({"LANG": "C.UTF-8", "HOME": "/root"}) == {"TZ": "Europe/Vienna", "LANG": "C.UTF-8"}
    assert environment.locale({"TZ": "UTC"}) == {"TZ": "UTC"}
    monkeypatch.setattr(environment, "_LOCALTIME", str(tmp_path / "missing"))
    assert environment.locale({}) == {}


@pytest.mark.parametrize(
    ("listed", "allowed", "forbidden"),
    [
        (None, ["A", "LD_PRELOAD"], []),
        (["OMP_*"], ["OMP_NUM_THREADS"], ["A", "omp_x"]),
        (["!LD_*"], ["A"], ["LD_PRELOAD"]),
        (["*", "!*_TOKEN"], ["A"], ["API_TOKEN"]),
        ([], [], ["A"]),
    ],
)
def test_the_policy_says_which_names(tmp_path: Path, listed: list[str] | None, allowed: list[str], forbidden: list[str]) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("" if listed is None else f"[ceilings]\nenv = {json.dumps(listed)}\n")
    rules = policy.read(path)
    for name in allowed:
        assert grants.spec(Settings().over("", {"env": f"{name}=1"}), rules).env == {name: "1"}
    for name in forbidden:
        with pytest.raises(NotAllowed, match=f"env={name}"):
            grants.spec(Settings().over("", {"env": f"{name}=1"}), rules)
        with pytest.raises(NotAllowed, match=f"env={name}"):
            authorize(RunRequest(image="host", command=("true",), flags={"env": [f"{name}=1"]}), Trust.CELL, rules)


def test_what_the_policy_forbids_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "s3kr1t")
    monkeypatch.setenv("TZ", "UTC")
    settings = kernelspec(tmp_path, env={"API_TOKEN": "", "A": ""}, metadata={"cellhold": {}})
    granted = grants.container(settings, Policy(env=("!*_TOKEN", "!TZ")))
    assert "API_TOKEN" not in granted.spec.env
    assert "TZ" not in granted.locale


def test_a_container_of_a_cell_has_only_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OWN", "1")
    settings = kernelspec(tmp_path, env={"OWN": "1"}).over("a cell", {"env": "B=2"}, trust=Trust.CELL)
    granted = authorize(RunRequest(settings=settings, image="host", command=("true",), flags={"env": ["C=3"]}), Trust.CELL, Policy())
    assert granted.spec.env == {"C": "3"}


def test_the_command_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    parser = argparse.ArgumentParser()
    install.commands(parser.add_subparsers())
    words = ["--env", "A=1", "--env", "B=two words", "--env-passthrough", "JUPYTERHUB_*"]
    given = parser.parse_args(["kernel", "install", "--prefix", str(tmp_path), *words])
    assert given.run(given) == 0
    directory = tmp_path / "share/jupyter/kernels/cellhold"
    assert json.loads((directory / "kernel.json").read_text())["display_name"] == "Python (container)"
    assert grants.spec(sources.of_kernelspec(directory)).env == {"A": "1", "B": "two words", "JUPYTERHUB_USER": "ada"}
    wrong = parser.parse_args(["kernel", "install", "--prefix", str(tmp_path), "--env-passthrough", "*"])
    with pytest.raises(InvalidSpec, match="whole environment"):
        wrong.run(wrong)
