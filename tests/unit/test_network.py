"""Networks as values: ports, policies, subnets, addresses, and the rules that are made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cellhold.errors import InvalidSpec, NetworkNotFound, NotAllowed
from cellhold.network import egress, egress_rules, firewall, leases, networks, ports
from cellhold.spec.spec import Port, Spec
from cellhold.store.home import open_home

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.network.model import Lease, Network
    from cellhold.store.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home")


def take(network: Network, home: Home, number: int, **values: object) -> Lease:
    wanted = {"names": (f"n{number}",), "ports": (), "policy": "all", "is_raw": False, **values}
    return leases.acquire(network, home, container=f"{number:012x}", **wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [("127.0.0.1", None, 80, "tcp")]),
        ("8080:80", [("127.0.0.1", 8080, 80, "tcp")]),
        ("0.0.0.0:53:53/udp", [("0.0.0.0", 53, 53, "udp")]),  # noqa: S104  # docker's word
        ("[::]:8080:80", [("::", 8080, 80, "tcp")]),
        ("[2001:db8::1]::80/udp", [("2001:db8::1", None, 80, "udp")]),
        ("127.0.0.1::80", [("127.0.0.1", None, 80, "tcp")]),
        ("8000-8001:9000-9001", [("127.0.0.1", 8000, 9000, "tcp"), ("127.0.0.1", 8001, 9001, "tcp")]),
    ],
)
def test_ports_are_docker_s(text: str, expected: list[tuple[str, int | None, int, str]]) -> None:
    assert [(port.address, port.host, port.container, port.protocol) for port in ports.parse(text)] == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0",
        "65536",
        "80:",
        "-1",
        "1:2:3",
        "[::1]:80:80",
        "[::ffff:9.9.9.9]:80:80",
        "[1.2.3.4]:80:80",
        "[fe80::1%eth0]:80:80",
        "[::",
        "::1:80:80",
        "80/sctp",
        "9-8",
        "8000-8001:80",
        "1.2.3.4.5:1:1",
        "\uff18\uff10",
        "80\n",
    ],
)
def test_what_is_no_port_is_one_sentence(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"cannot (use publish=|publish )"):
        ports.parse(text)


def test_a_port_of_the_library_is_checked_as_well() -> None:
    for wrong in ({"container": 0}, {"container": 80, "address": "1.2.3.4; flush ruleset"}, {"container": 80, "protocol": "tcp }"}):
        with pytest.raises(InvalidSpec):
            Port(**wrong)


@pytest.mark.parametrize(
    "text",
    [
        "all",
        "none",
        "internet",
        "allow=mirror.example:443,10.1.0.0/16,9.9.9.9/32:53,*.deep.example",
        "allow=fd00:1::/32,[2620:fe::9/128]:53",
    ],
)
def test_a_policy_is_told_as_it_is_written(text: str) -> None:
    assert str(egress.parse(text)) == text


def test_names_are_met_whatever_their_case_and_a_star_is_what_lies_below() -> None:
    plain, below = egress.parse("allow=mirror.example,*.deep.example").places
    assert egress.matches(plain, "MIRROR.example.")
    assert not egress.matches(plain, "a.mirror.example")
    assert egress.matches(below, "a.b.deep.example")
    assert not egress.matches(below, "deep.example")
    assert not egress.matches(below, "evildeep.example")


def test_what_a_name_is_answered_with_is_let_in_but_no_place_that_no_name_should_mean() -> None:
    policy = egress.parse("allow=mirror.example:443,*.wide.example")
    assert egress_rules.learn(policy, "mirror.example", ["9.9.9.9"], 60).split() == (
        "add element inet cellhold named_services { 9.9.9.9 . 443 timeout 60s }".split()
    )
    told = egress_rules.learn(policy, "evil.wide.example", ["169.254.169.254", "127.0.0.1", "10.1.2.3"], 60)
    assert told == "add element inet cellhold named { 10.1.2.3 timeout 60s }\n"
    assert egress_rules.learn(policy, "other.example", ["9.9.9.9"], 60) == ""


_PUBLIC = ("python.org", "a.co.uk", "mirror.example.com", "home.arpa.evil.org")
_SITES = ("mirror", "mirror.corp", "a.b.internal", "printer.lan", "x.home.arpa")
_NEVER = (
    *("0.0.0.1", "127.0.0.1", "169.254.169.254", "168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255"),
    *("::", "::1", "::10.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1"),
    *("64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::1", "2001:0:a00:1::1"),
    *("fe80::1", "fec0::1", "ff02::1", "fd00:ec2::254"),
)
_PRIVATE = ("10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "198.18.0.1", "fd12:3456::3", "fc00::1")


@pytest.mark.parametrize("name", [*_PUBLIC, *_SITES])
def test_a_name_of_the_public_system_lets_public_addresses_in_and_one_of_the_site_private_ones_too(name: str) -> None:
    policy = egress.parse(f"allow={name}:80,*.{name}")
    for asked in (name, f"{name}.".upper(), *([f"a.{name}"] if "." in name else [])):
        good = ["9.9.9.9", "2620:fe::9", *(_PRIVATE if name in _SITES else ())]
        script = egress_rules.learn(policy, asked, [*_NEVER, *_PRIVATE, "9.9.9.9", "2620:fe::9"], 60)
        assert {line.split()[6] for line in script.splitlines()} == set(good), asked


def test_a_name_with_a_dot_within_a_label_is_not_below_another() -> None:
    policy = egress.parse("allow=*.github.io")
    assert policy.allows_name("x.github.io")
    assert not policy.allows_name(r"evil\.github.io")


def test_an_answer_lets_nothing_in_once_the_policy_is_another() -> None:
    one, other = egress.parse("allow=mirror.corp"), egress.parse("allow=other.corp")
    first, _, rest = egress_rules.guard(one, "add element").partition("\n")
    words = first.split()
    assert (words[:-1], rest) == (["flush", "chain", "inet", "cellhold"], "add element")
    assert f"chain {words[-1]} {{ }}" in egress_rules.script(one, [])
    assert words[-1] not in egress_rules.script(other, [])


def test_addresses_are_given_out_in_turn_and_not_again_at_once(home: Home) -> None:
    network = networks.create("lab", home, subnets=["10.99.0.0/29"])
    given = [take(network, home, number).address for number in range(5)]
    assert given == [f"10.99.0.{n}" for n in (2, 3, 4, 5, 6)]
    with pytest.raises(NotAllowed, match=r"cannot join network lab: all 5 addresses of 10.99.0.0/29 are taken"):
        take(network, home, 9)
    for number in (0, 1):
        assert leases.release(f"{number:012x}", home) == [network]
    assert take(network, home, 9).address == "10.99.0.2"
    assert {one.address for one in leases.of(network, home)} == {"10.99.0.2", "10.99.0.4", "10.99.0.5", "10.99.0.6"}
    assert leases.of_container("000000000009", home)[0].names == ("n9",)


def test_a_lease_that_was_being_written_when_somebody_was_killed_keeps_no_network(home: Home) -> None:
    network = networks.create("lab", home)
    (network.leases(home) / ".0123456789ab").write_text('{"container": "01')
    assert leases.of(network, home) == []
    leases.reclaim(home)
    assert list(network.leases(home).iterdir()) == []
    (network.leases(home) / ".0123456789ab").touch()
    networks.remove("lab", home)
    assert networks.every(home) == []


def test_networks_are_apart_and_kept(home: Home) -> None:
    lab, other = networks.create("lab", home, internal=True, labels={"a": "b"}), networks.create("other", home)
    assert lab.subnet != other.subnet
    assert networks.find("lab", home) == lab
    assert len(lab.bridge) <= 15  # IFNAMSIZ
    with pytest.raises(InvalidSpec, match="a network of that name exists already"):
        networks.create("lab", home)
    with pytest.raises(InvalidSpec, match="overlaps with"):
        networks.create("third", home, subnets=[lab.subnet])
    for wrong in ("10.0.0.0/31", "10.0.0.1/8", "x", "::/64", "10.0.0.0/24\n"):
        with pytest.raises(InvalidSpec, match="cannot use subnet="):
            networks.create("third", home, subnets=[wrong])
    with pytest.raises(InvalidSpec, match="cannot use gateway="):
        networks.create("third", home, subnets=["10.98.0.0/24"], gateways=["10.97.0.1"])
    with pytest.raises(NetworkNotFound, match="there are lab, other"):
        networks.find("nosuch", home)
    with pytest.raises(InvalidSpec, match="cannot use name="):
        networks.find("../lab", home)


def test_the_rules_name_who_is_there_and_nothing_that_somebody_wrote(home: Home) -> None:
    network = networks.create("lab", home, subnets=["10.99.0.0/24"], internal=True)
    one = take(network, home, 1, names=('"; flush ruleset', "x"), policy="allow=mirror.example", ports=(Port(container=80, host=29999),))
    raw = replace(take(network, home, 2), is_raw=True)
    script = firewall.script("cellhold_test", "chtest-*", [network], [one, raw])
    assert "flush ruleset" not in script
    assert "mirror.example" not in script
    for line in (
        "add element inet cellhold_test gateways { 10.99.0.1 }",
        f'add element inet cellhold_test closed {{ "{network.bridge}" }}',
        "add element inet cellhold_test limited { 10.99.0.2 }",
        "add element inet cellhold_test published { 127.0.0.1 . tcp . 29999 : 10.99.0.2 . 80 }",
        f'add element bridge cellhold_test members {{ "{raw.device}" . 02:43:0a:63:00:03 . 10.99.0.3 }}',
    ):
        assert line in script.splitlines()
    assert one.device not in script


def test_what_takes_a_network_is_refused_without_one() -> None:
    for values in ({"ports": (Port(container=80),)}, {"aliases": ("x",)}, {"egress": "internet"}):
        with pytest.raises(InvalidSpec, match="with network=none: it has loopback only"):
            Spec(**values)
