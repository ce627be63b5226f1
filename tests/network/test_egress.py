"""Whom a container may talk to: each policy tried from inside, against addresses of the tests' own namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from smallworld import HOST, HOST6, METADATA, METADATA6, PRIVATE, PRIVATE6, PUBLIC, PUBLIC6

from boxes import eventually, run, started
from cellhold.container.container import Container
from cellhold.errors import InvalidSpec, NotAllowed
from cellhold.network import egress, networks
from cellhold.spec.spec import Spec
from cellhold.store.home import open_home
from outside import world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smallworld import World

    from boxes import Reader

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "bridge-networks")

_TRY = """
import socket, sys
for word in sys.argv[1:]:
    host, _, port = word.rpartition(":")
    try:
        one = socket.create_connection((host, int(port)), 3)
        print(word, one.makefile().readline().split()[1])
    except OSError as error:
        print(word, type(error).__name__, error.errno)
"""
_ANSWERS = "answers"
_PROHIBITED = "OSError 113"  # EHOSTUNREACH: ICMP says "administratively prohibited"
_PROHIBITED6 = "PermissionError 13"  # EACCES: the same word of IPv6's ICMP
_NAMESERVER = """
import socket, sys
import dns.message, dns.rrset
names = dict(word.split("=") for word in sys.argv[1:])
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("127.0.0.1", 53))
print("up", flush=True)
while True:
    text, who = one.recvfrom(4096)
    asked = dns.message.from_wire(text)
    answer = dns.message.make_response(asked)
    name = asked.question[0].name
    known = names.get(name.to_text(omit_final_dot=True))
    if known and asked.question[0].rdtype == 1:
        answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", known))
    one.sendto(answer.to_wire(), who)
"""


@pytest.fixture(scope="module", autouse=True)
def outside() -> Iterator[World]:
    with world() as beyond:
        yield beyond


def said(out: Reader, word: str) -> bool:
    return eventually(lambda: word in out.so_far)


def tried(policy: str | None, *places: str, network: str = "bridge") -> dict[str, str]:
    ran = run(Spec(args=("python3", "-c", _TRY, *places), network=network, egress=policy))
    assert ran.outcome.status == 0, ran
    return dict(line.split(" ", 1) for line in ran.out.splitlines())


def test_the_internet_is_public_addresses_only() -> None:
    places = [f"{address}:80" for address in (PUBLIC, METADATA, PRIVATE, HOST, "10.87.0.1", "127.0.0.1")]
    assert list(tried("internet", *places).values()) == [_ANSWERS, *[_PROHIBITED] * 4, "ConnectionRefusedError 111"]
    assert list(tried(None, *places[:3]).values()) == [_ANSWERS, _PROHIBITED, _ANSWERS]


@pytest.mark.requires("ipv6")
def test_the_policies_hold_with_ipv6_as_well() -> None:
    gateway = networks.find("bridge", open_home()).gateway6
    places = [f"{address}:80" for address in (PUBLIC6, METADATA6, PRIVATE6, HOST6, gateway, "ff02::1%eth0")]
    assert list(tried("internet", *places[:5]).values()) == [_ANSWERS, *[_PROHIBITED6] * 4]
    assert set(tried("none", *places[:5]).values()) == {_PROHIBITED6}
    assert list(tried("all", *places[:3]).values()) == [_ANSWERS] * 3
    places = [f"{PRIVATE6}:80", f"{PUBLIC6}:80", f"{PUBLIC6}:81", f"{METADATA6}:80", f"{PUBLIC}:80"]
    wanted = [_ANSWERS, _PROHIBITED6, _ANSWERS, _PROHIBITED6, _PROHIBITED]
    assert list(tried("allow=fd12:3456::/32,[2620:fe::9]:81", *places).values()) == wanted


def test_none_lets_nobody_be_talked_to() -> None:
    assert set(tried("none", f"{PUBLIC}:80", f"{METADATA}:80", "10.87.0.1:54").values()) == {_PROHIBITED}


def test_a_list_lets_in_networks_addresses_and_ports() -> None:
    places = (f"{PRIVATE}:80", f"{PUBLIC}:80", f"{PUBLIC}:81", f"{METADATA}:80")
    assert list(tried("allow=10.1.0.0/16,9.9.9.9:81", *places).values()) == [_ANSWERS, _PROHIBITED, _ANSWERS, _PROHIBITED]


def test_a_list_lets_in_what_its_names_are_answered_with_and_asks_for_no_others() -> None:
    with nameserver("mirror.example=9.9.9.9", "evil.example=10.1.2.3", "a.deep.example=10.1.2.3"):
        places = ("mirror.example:80", "mirror.example:81", "evil.example:80", f"{PRIVATE}:80")
        found = tried("allow=mirror.example:80", *places, network="named")
        assert list(found.values()) == [_ANSWERS, _PROHIBITED, "gaierror -3", _PROHIBITED]
        assert list(tried("allow=*.deep.example", "a.deep.example:81", f"{PUBLIC}:80", network="named").values()) == [_ANSWERS, _PROHIBITED]
        assert list(tried("internet", "mirror.example:80", "evil.example:80", network="named").values()) == [_ANSWERS, _PROHIBITED]
        assert list(tried("none", "mirror.example:80", network="named").values()) == ["gaierror -3"]


@contextmanager
def nameserver(*names: str) -> Iterator[None]:
    """One on the host's loopback, and a network "named" that asks it."""
    networks.create("named", open_home(), dns=["127.0.0.1"])
    with subprocess.Popen([sys.executable, "-c", _NAMESERVER, *names], stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            assert serving.stdout.readline() == "up\n"
            yield
        finally:
            serving.kill()
            networks.remove("named", open_home())


def test_neighbours_are_reached_on_a_network_of_ones_own_and_not_on_everybodys() -> None:
    home = open_home()
    networks.create("lab", home)
    try:
        for network, expected in (("lab", "ConnectionRefusedError 111"), ("bridge", _PROHIBITED)):
            with started(Spec(args=("sleep", "1000"), network=network, name="neighbour")):
                assert tried("internet", "neighbour:80", network=network) == {"neighbour:80": expected}
    finally:
        assert eventually(lambda: not list((home.networks / "lab/leases").iterdir()))
        networks.remove("lab", home)


def test_what_was_refused_is_counted_with_where_it_wanted_to_go_and_the_policy_changes_while_it_runs() -> None:
    code = f"import sys\nfor line in sys.stdin: exec({_TRY!r}, {{}}); print('.', flush=True)"
    reading, writing = os.pipe()
    with started(
        Spec(args=("python3", "-c", code, f"{PRIVATE}:80", f"{PUBLIC}:81"), network="bridge", egress="internet"), stdin=reading
    ) as (box, out):
        os.close(reading)
        os.write(writing, b"\n")
        assert eventually(lambda: "." in out.so_far)
        assert out.so_far.splitlines() == [f"{PRIVATE}:80 {_PROHIBITED}", f"{PUBLIC}:81 {_ANSWERS}", "."]
        entries = box.refused()
        assert [entry[:3] for entry in entries] == [(PRIVATE, "tcp", 80)]
        assert entries[0].packets >= 1
        box.restrict("allow=10.1.2.3:80")
        os.write(writing, b"\n")
        assert eventually(lambda: out.so_far.count(".\n") == 2)
        assert out.so_far.splitlines()[3:] == [f"{PRIVATE}:80 {_ANSWERS}", f"{PUBLIC}:81 {_PROHIBITED}", "."]
        box.restrict("all")
        os.write(writing, b"\n")
        assert eventually(lambda: out.so_far.count(".\n") == 3)
        assert out.so_far.splitlines()[6:8] == [f"{PRIVATE}:80 {_ANSWERS}", f"{PUBLIC}:81 {_ANSWERS}"]
        os.close(writing)


def test_where_there_is_no_ipv6_a_policy_can_be_given_up_as_well() -> None:
    networks.create("four", open_home(), ipv6=False)
    reading, writing = os.pipe()
    try:
        code = f"import sys\nfor line in sys.stdin: exec({_TRY!r}, {{}}); print('.', flush=True)"
        spec = Spec(args=("python3", "-c", code, f"{PRIVATE}:80"), network="four", egress="internet")
        with started(spec, stdin=reading) as (box, out):
            os.close(reading)
            for policy, expected in (("internet", _PROHIBITED), ("all", _ANSWERS)):
                box.restrict(policy)
                os.write(writing, b"\n")
                assert said(out, f"{PRIVATE}:80 {expected}")
            os.close(writing)
    finally:
        networks.remove("four", open_home())


_STREAM = """
import socket, sys
with socket.create_connection((sys.argv[1], 82)) as one:
    one.settimeout(5)
    print(len(one.recv(1000)) > 0, flush=True)
    sys.stdin.readline()
    try:
        while one.recv(65536): pass
        print("the end")
    except OSError as error:
        print(type(error).__name__)
"""


def test_a_change_of_the_policy_ends_the_connections_that_it_does_not_allow() -> None:
    for policy, expected in (("allow=9.9.9.9:82", "the end"), ("allow=9.9.9.9:80", "ConnectionResetError")):
        reading, writing = os.pipe()
        with started(Spec(args=("python3", "-c", _STREAM, PUBLIC), network="bridge", egress="internet"), stdin=reading) as (box, out):
            os.close(reading)
            assert said(out, "True")
            box.restrict(policy)
            os.write(writing, b"\n")
            assert said(out, expected), (policy, out.so_far)
            os.close(writing)


def test_one_that_can_undo_a_policy_gets_none() -> None:
    with started(Spec(args=("sleep", "1000"), network="bridge", capabilities=frozenset({"CAP_NET_RAW"}))) as (box, _out):
        with pytest.raises(NotAllowed, match="was given rights by which a program can undo it"):
            box.restrict("internet")
        assert box.connections()[0].lease.policy == "all"


def test_a_container_cannot_change_the_rules() -> None:
    with Container.create(Spec(args=("nft", "flush", "ruleset"), network="bridge", egress="internet")) as box:
        box.start()
        assert box.wait().status != 0


@pytest.mark.parametrize(
    "text",
    ["", "some", "allow=", "allow=,", "allow=10.0.0.0/33", "allow=a b", "allow=x:0", "allow=x:y", "allow=10.0.0.1/8", "allow=9.9.9.9.9"],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="cannot use egress="):
        egress.parse(text)
