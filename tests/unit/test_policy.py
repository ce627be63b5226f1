"""The machine's policy: what it gives to who says nothing, what it refuses, and who may ask for the host's directories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import grants
from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.spec.limits import PIDS_DEFAULT
from cellhold_kernel.gate.authorize import authorize
from cellhold_kernel.gate.request import RunRequest
from cellhold_kernel.settings import policy
from cellhold_kernel.settings.policy import Policy
from cellhold_kernel.settings.settings import CellLimits, Settings, Trust
from cellhold_kernel.settings.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Policy]:
    def written(text: str) -> Policy:
        path = tmp_path / "policy.toml"
        path.write_text(text)
        return policy.read(path)

    return written


def of(trust: Trust = Trust.CELL, **texts: str) -> Settings:
    return Settings().over("", {key.replace("_", "-"): text for key, text in texts.items()}, trust=trust)


def test_without_a_file_nothing_is_capped(tmp_path: Path) -> None:
    assert grants.spec(of(memory="900g", cpus="64"), policy.read(tmp_path / "none.toml")).limits.memory_bytes == 900 << 30


def test_defaults_are_weaker_than_whatever_anybody_says(write: Callable[[str], Policy]) -> None:
    rules = write('[defaults]\nmemory = "1g"\ncpus = 1.5\npids = 99\noutput = "1m"')
    limits = grants.spec(of(memory="2g"), rules).limits
    assert (limits.memory_bytes, limits.cpus, limits.pids) == (2 << 30, 1.5, 99)
    assert grants.cell_limits(of(), rules) == CellLimits(output_bytes=1 << 20)


def test_who_says_nothing_gets_no_more_than_the_ceilings(write: Callable[[str], Policy]) -> None:
    rules = write('[ceilings]\nmemory = "4g"\ncpus = 2\npids = 64\ntime = "8h"\ndisk = "10g"\ncell-time = "5m"')
    limits = grants.spec(Settings(), rules).limits
    assert (limits.memory_bytes, limits.cpus, limits.pids) == (4 << 30, 2.0, 64)
    assert (limits.seconds, limits.disk_bytes, limits.memory_swap_bytes) == (8 * 3600.0, 10 << 30, None)
    assert grants.cell_limits(Settings(), rules).seconds == 300
    assert grants.spec(Settings(), write("[ceilings]\npids = 9999999")).limits.pids == PIDS_DEFAULT
    assert grants.spec(Settings(), write('[ceilings]\nmemory = "none"')).limits.memory_bytes is None


@pytest.mark.parametrize(
    ("key", "text", "ceiling"),
    [
        ("memory", "8g", "memory = 4g"),
        ("memory", "none", "memory = 4g"),
        ("memory-swap", "5g", "memory-swap = 4g"),
        ("cpus", "2.5", "cpus = 2"),
        ("pids", "none", "pids = 64"),
        ("disk", "11g", "disk = 10g"),
        ("time", "9h", "time = 8h"),
        ("cell-time", "none", "cell-time = 5m"),
        ("image", "/srv/other", "images = [host, /srv/images/*]"),
        ("image", "/srv/images/../other", "images = [host, /srv/images/*]"),
        ("network", "none", "networks = []"),
        ("egress", "all", "egress = internet"),
        ("mount", "rw", "mount = ro"),
        ("volume", "/etc:/x:ro", "volumes = [/srv/data, /srv/scratch:rw]"),
        ("volume", "/srv/data/../..:/x:ro", "volumes = [/srv/data, /srv/scratch:rw]"),
        ("volume", "/srv/data:/x", "volumes = [/srv/data, /srv/scratch:rw]"),
    ],
)
def test_what_is_above_a_ceiling_is_refused_with_ceiling_and_file(
    write: Callable[[str], Policy], tmp_path: Path, key: str, text: str, ceiling: str
) -> None:
    networks = "[]" if key == "network" else '["none", "bridge"]'
    rules = write(
        '[ceilings]\nmemory = "4g"\ncpus = 2\npids = 64\ndisk = "10g"\ntime = "8h"\ncell-time = "5m"\nmount = "ro"\negress = "internet"\n'
        f'images = ["host", "/srv/images/*"]\nnetworks = {networks}\nvolumes = ["/srv/data", "/srv/scratch:rw"]'
    )
    more = {"memory-swap": {"memory": "1g"}, "egress": {"network": "bridge"}}.get(key, {})
    asked = f"{key}={text}" if key != "volume" else "volume="
    for trust in Trust:
        with pytest.raises(NotAllowed) as caught:
            grants.spec(Settings().over("", {key: text, **more}, trust=trust), rules, Workspace(tmp_path))
        assert str(caught.value).startswith(f"cannot use {asked}")
        assert str(caught.value).endswith(f"above the ceiling {ceiling} of {tmp_path / 'policy.toml'}")
        assert caught.value.hint


def test_somebody_elses_network_is_had_only_where_the_list_names_it_and_where_it_is_seen(write: Callable[[str], Policy]) -> None:
    for network in ("host", "container:web"):
        with pytest.raises(NotAllowed, match=f"cannot use network={network}: it is not the notebook's own"):
            grants.spec(of(network=network), write(""))
        with pytest.raises(NotAllowed, match="above the ceiling networks"):
            grants.spec(of(network=network), write('[ceilings]\nnetworks = ["none"]'))
        rules = write('[ceilings]\nnetworks = ["host", "container"]\negress = "none"')
        assert (grants.spec(of(network=network), rules).network, grants.spec(of(network=network), rules).egress) == (network, None)
        with pytest.raises(NotAllowed, match="nobody sees it there"):
            grants.spec(Settings().over("", {"network": network}, trust=Trust.METADATA), rules)


def test_what_is_within_the_ceilings_is_had(write: Callable[[str], Policy]) -> None:
    rules = write('[ceilings]\nmemory = "4g"\nimages = ["host", "/srv/images/*"]\nvolumes = ["/srv/data", "/srv/scratch:rw"]')
    spec = grants.spec(of(memory="4g", image="/srv/images/a", volume="/srv/data/x:/x:ro /srv/scratch:/y /srv/data:/z:O"), rules)
    assert (spec.limits.memory_bytes, spec.image) == (4 << 30, "/srv/images/a")
    assert [(mount.source, mount.kind, mount.read_only) for mount in spec.mounts] == [
        ("/srv/data/x", "bind", True),
        ("/srv/scratch", "bind", False),
        ("/srv/data", "overlay", False),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[ceilings", "cannot use the policy"),
        ("\xff", "cannot use the policy"),
        ("[limits]\nmemory = 1", "there is no table [limits]"),
        ("ceilings = 1", "ceilings is not a table"),
        ("[ceilings]\nmount = 'all'", "mount = 'all' is not one of none, ro, new, rw"),
        ("[ceilings]\nimages = 'host'", "images is not a list of strings"),
        ("[ceilings]\nvolumes = ['da/ta']", "volumes: 'da/ta' is neither an absolute directory"),
        ("[ceilings]\nvolumes = ['data:rwx']", "volumes: 'data:rwx' is neither an absolute directory"),
        ("[ceilings]\ndetached = 'no'", "detached = 'no' is neither true nor false"),
        ("[ceilings]\nmemory = true", "memory is neither a string nor a number"),
        ("[ceilings]\nmemory = '4gg'", "cannot use memory=4gg"),
        ("[ceilings]\nmemroy = '4g'", "there is no ceiling memroy"),
        ("[ceilings]\nhostname = 'x'", "there is no ceiling hostname"),
        ("[defaults]\nmemroy = '4g'", "cannot use memroy: there is no such key"),
    ],
)
def test_a_policy_that_is_not_understood_lets_no_container_be_made(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "policy.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidSpec) as caught:
        grants.spec(Settings(), policy.read(tmp_path / "policy.toml"))
    assert says in str(caught.value)
    assert "policy.toml" in str(caught.value)


def test_a_policy_that_cannot_be_read_lets_no_container_be_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"cannot use the policy .*: Is a directory"):
        policy.read(tmp_path)


# -------------------------------------------------------------------------------------- what a notebook may ask for by itself


@pytest.mark.parametrize("trust", [Trust.METADATA, Trust.CELL])
@pytest.mark.parametrize(("key", "text"), [("volume", "/root/.ssh:/x:ro"), ("image", "/srv/root"), ("image", "./root")])
def test_a_notebook_cannot_take_a_directory_of_the_host_by_itself(trust: Trust, key: str, text: str) -> None:
    with pytest.raises(NotAllowed, match="a notebook cannot take a directory of the host by itself") as caught:
        grants.spec(Settings().over("", {key: text}, trust=trust))
    assert f"--{key} {text}" in str(caught.value.hint)
    assert grants.spec(Settings().over("", {key: text}, trust=Trust.HOST))


def test_its_folder_is_written_to_only_where_everybody_sees_it_asked_for(tmp_path: Path) -> None:
    with pytest.raises(NotAllowed, match="nobody sees it there"):
        grants.spec(of(Trust.METADATA, mount="rw"), None, Workspace(tmp_path))
    for trust in (Trust.CELL, Trust.HOST):
        assert grants.spec(of(trust, mount="rw"), None, Workspace(tmp_path)).mounts[0].kind == "bind"


def test_who_spoke_last_is_who_is_trusted() -> None:
    with pytest.raises(NotAllowed):
        grants.spec(of(Trust.HOST, volume="/srv/data:/x").over("", {"volume": "/etc:/x"}, trust=Trust.METADATA))


@pytest.mark.parametrize(
    ("image", "is_named"),
    [
        ("python:3.12", True),
        ("python:3/x", False),
        ("python:3/x:1", False),
        ("python:8080/python:3", False),
        ("quay.io/ours/a:1", True),
        ("quay.io:5000/ours/a", False),
        ("quay.io/others/a", False),
        ("jupyter/base:1", True),
        ("localhost/jupyter/base:1", False),
    ],
)
def test_a_pattern_for_images_fits_no_other_registry_than_it_says(image: str, is_named: bool) -> None:  # noqa: FBT001  # a parameter
    rules = Policy(images=("python:*", "quay.io/ours/*", "jupyter/*"))
    assert rules.names_image(image) is is_named
    assert Policy(images=("*",)).names_image(image)


def test_volumes_by_name_and_containers_that_stay_are_capped_too(write: Callable[[str], Policy]) -> None:
    rules = write('[ceilings]\nvolumes = ["shared"]\ndetached = false')
    assert grants.spec(of(volume="shared:/s"), rules).mounts[0].kind == "volume"
    with pytest.raises(NotAllowed, match="volume=other"):
        grants.spec(of(volume="other:/s"), rules)
    request = RunRequest(flags={"detach": True}, image="busybox")
    with pytest.raises(NotAllowed, match="detached = false"):
        authorize(request, Trust.CELL, rules)
