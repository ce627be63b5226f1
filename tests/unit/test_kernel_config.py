"""The words of %container, kernelspecs and command line, and what they become."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import pytest

import grants
from cellhold.errors import InvalidSpec
from cellhold.spec.limits import PIDS_DEFAULT
from cellhold_kernel import install
from cellhold_kernel.settings import sources
from cellhold_kernel.settings.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def of(**texts: str) -> Settings:
    return Settings().over("", {key.replace("_", "-"): text for key, text in texts.items()})


def test_every_word_fills_its_field() -> None:
    asked = of(image="/srv/root", memory="512m", memory_swap="1g", cpus="1.5", cpuset="0-1", pids="64", disk="2g", time="1m30s")
    spec = grants.spec(asked.over("", {"network": "none", "storage": "tmpfs", "hostname": "lab"}))
    limits = spec.limits
    assert (spec.image, spec.network, spec.storage, spec.hostname) == ("/srv/root", "none", "tmpfs", "lab")
    assert (limits.memory_bytes, limits.memory_swap_bytes, limits.cpus, limits.cpuset) == (512 << 20, 1 << 30, 1.5, "0-1")
    assert (limits.pids, limits.disk_bytes, limits.seconds) == (64, 2 << 30, 90)


def test_nothing_said_is_the_built_in_spec() -> None:
    spec = grants.spec(Settings())
    assert (spec.image, spec.network, spec.limits.memory_bytes, spec.limits.pids) == ("host", "none", None, PIDS_DEFAULT)


def test_what_is_said_later_is_stronger_and_the_rest_stays() -> None:
    settings = of(memory="1g", pids="64").over("", {"memory": "512m"})
    assert settings.texts() == {"memory": "512m", "pids": "64"}


def test_none_lifts_a_limit() -> None:
    assert grants.spec(of(memory="1g").over("", {"memory": "none"})).limits.memory_bytes is None


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("memory", "512mb4", "cannot use memory=512mb4: not a size"),
        ("memory", "1k", "cannot use memory=1024: the smallest limit is 6m"),
        ("cpus", "-1", "cannot use cpus=-1: not a number of processors above 0"),
        ("cpus", "0", "cannot use cpus=0"),
        ("pids", "many", "cannot use pids=many: not a whole number"),
        ("pids", "\u0661\u0662", "cannot use pids=\u0661\u0662"),
        ("time", "soon", "cannot use time=soon: not a time"),
        ("disk", "1k", "cannot use disk=1024: the smallest writable layer is 1m"),
        ("storage", "cloud", "cannot use storage=cloud"),
        ("hostname", "-", "cannot use hostname='-'"),
        ("cpuset", "all", "cannot use cpuset=all"),
        ("image", "", "cannot use image=''"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_key_and_value(key: str, text: str, says: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        grants.spec(Settings().over("here", {key: text}))
    assert str(caught.value).startswith(says)
    assert str(caught.value).endswith("(in here)")
    assert "\n" not in str(caught.value)


def test_a_key_that_does_not_exist_is_told_with_the_nearest_that_does() -> None:
    with pytest.raises(InvalidSpec, match="cannot use memroy: there is no such key") as caught:
        of(memroy="1g")
    assert "did you mean memory?" in str(caught.value.hint)


def test_a_kernelspec_says_it_in_its_metadata(tmp_path: Path) -> None:
    (tmp_path / "kernel.json").write_text(json.dumps({"metadata": {"cellhold": {"memory": "512m", "cpus": 2}}}))
    limits = grants.spec(sources.of_kernelspec(tmp_path)).limits
    assert (limits.memory_bytes, limits.cpus) == (512 << 20, 2)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"metadata": 1}', '{"metadata": {"cellhold": []}}', '{"metadata": {"cellhold": {"memroy": "1g"}}}']
)
def test_a_broken_kernelspec_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "kernel.json").write_text(text)
    with pytest.raises(InvalidSpec):
        sources.of_kernelspec(tmp_path)


def test_what_install_writes_is_read_back(tmp_path: Path) -> None:
    texts = {"memory": "512m", "network": "none"}
    directory = install.install(tmp_path, name="small", texts=texts)
    assert directory == tmp_path / "kernels" / "small"
    written: dict[str, Any] = json.loads((directory / "kernel.json").read_text())
    assert (written["interrupt_mode"], written["metadata"]["debugger"], written["language"]) == ("message", True, "python")
    assert written["display_name"] == "Python (container, memory 512m, network none)"
    assert sources.of_kernelspec(directory).texts() == texts
    assert (directory / "logo-64x64.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_writes_what_may_be_said_again_and_the_idle_time(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    install.commands(parser.add_subparsers())
    words = ["--volume", "/a:/a:ro", "--volume", "/b:/b", "--cull-idle-timeout", "30m", "--cell-time", "1m"]
    given = parser.parse_args(["kernel", "install", "--prefix", str(tmp_path), *words])
    assert given.run(given) == 0
    directory = tmp_path / "share/jupyter/kernels/cellhold"
    written: dict[str, Any] = json.loads((directory / "kernel.json").read_text())
    assert written["metadata"]["cull_idle_timeout"] == 1800
    settings = sources.of_kernelspec(directory)
    assert [mount.target for mount in grants.spec(settings).mounts] == ["/a", "/b"]
    assert grants.cell_limits(settings).seconds == 60


def test_a_notebook_says_it_in_its_metadata(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"memory": "1g", "pids": 64, "tmpfs": ["/a", "/b:size=1m"]}
    (tmp_path / "n.ipynb").write_text(json.dumps({"metadata": {"cellhold": asked}}))
    settings, failure = sources.collect(None, tmp_path / "n.ipynb")
    assert failure is None
    spec = grants.spec(settings)
    assert (spec.limits.memory_bytes, spec.limits.pids, [mount.target for mount in spec.mounts]) == (1 << 30, 64, ["/a", "/b"])


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"metadata": 1}', '{"metadata": {"cellhold": {"memroy": "1g"}}}'])
def test_a_notebook_that_cannot_be_read_asks_for_nothing_and_that_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "n.ipynb").write_text(text)
    (tmp_path / "kernel.json").write_text('{"metadata": {"cellhold": {"memory": "1g"}}}')
    settings, failure = sources.collect(tmp_path, tmp_path / "n.ipynb")
    assert "n.ipynb" in str(failure)
    assert settings.texts() == {"memory": "1g"}


def test_a_notebook_that_is_not_saved_yet_says_nothing(tmp_path: Path) -> None:
    assert sources.collect(None, tmp_path / "n.ipynb")[1] is None


@pytest.mark.parametrize(("name", "texts"), [("small", {"memory": "512mb4"}), ("../small", {}), ("Small", {})])
def test_install_checks_before_it_writes(tmp_path: Path, name: str, texts: dict[str, str]) -> None:
    with pytest.raises(InvalidSpec):
        install.install(tmp_path, name=name, texts=texts)
    assert list(tmp_path.iterdir()) == []


def test_a_memory_guard_is_a_share_and_something_to_do() -> None:
    asked = Settings().over("", {"memory": "1g", "memory-guard": "85%:pause"})
    assert grants.cell_limits(asked).guard == (0.85, "pause")
    assert grants.cell_limits(Settings().over("", {"memory": "1g", "memory-guard": "90"})).guard == (0.9, "warn")


@pytest.mark.parametrize("text", ["", "%", "0%", "100%", "9.5%", "1e1", "90%:explode", "90%:", "-5%", "٩%"])
def test_a_memory_guard_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="cannot use memory-guard"):
        grants.cell_limits(Settings().over("", {"memory": "1g", "memory-guard": text}))


def test_a_memory_guard_needs_a_memory_limit() -> None:
    with pytest.raises(InvalidSpec, match="there is no memory limit to guard"):
        grants.cell_limits(Settings().over("", {"memory-guard": "90%"}))
