"""Containers on a bridge of the host's: addresses, names, published ports, and who reaches whom. In namespaces of the tests' own."""

from __future__ import annotations

import json
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from smallworld import HOST, HOST6, PUBLIC, PUBLIC6, output

import nameservers
from boxes import command, eventually, run, started
from cellhold.container.container import Container
from cellhold.container.detached import Detached
from cellhold.errors import InvalidSpec, NetworkNotFound, NotAllowed
from cellhold.linux.capabilities import DEFAULT
from cellhold.network import leases, networks
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Port, Spec
from cellhold.store.home import open_home
from outside import world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smallworld import World

    from boxes import Ran
    from cellhold.network.model import Lease

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "bridge-networks")

ASK = "import socket, sys; one = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); print(one.makefile().readline(), end='')"
SERVE = """
import os, socket
one = socket.create_server(("0.0.0.0", 80))
print("up", flush=True)
while True:
    back, who = one.accept()
    back.sendall(f"{os.uname().nodename} answers {who[0]}\\n".encode())
    back.close()
"""


@pytest.fixture(scope="module", autouse=True)
def outside() -> Iterator[World]:
    with world() as beyond:
        yield beyond


def ask(address: str, port: int = 80, **values: object) -> Ran:
    """Connect from a container, and print what comes."""
    return run(Spec(args=("python3", "-c", ASK, address, str(port)), **{"network": "bridge", **values}))  # type: ignore[arg-type]


def server(**values: object) -> Spec:
    return Spec(args=("python3", "-c", SERVE), **{"network": "bridge", **values})  # type: ignore[arg-type]


def asked(address: str, port: int) -> str:
    """From the host."""
    with socket.create_connection((address, port), 3) as one:
        return one.makefile().readline()


def lease(box: Container) -> Lease:
    return next(one for _network, one in leases.every(open_home()) if one.container == box.id)


def nothing_is_left() -> bool:
    """Of devices and rules of ours."""
    return not any(output(*words.split()) for words in ("ip link show type bridge", "nft list tables"))


def test_a_container_has_an_address_and_reaches_the_world_by_the_hosts() -> None:
    script = "cat /sys/class/net/eth0/address; grep -c eth0 /proc/net/route; cat /etc/resolv.conf"
    ran = run(Spec(args=("sh", "-c", script), network="bridge"))
    assert re.fullmatch(r"02:43:0a:57:00:[0-9a-f]{2}\n2\nnameserver 10\.87\.0\.1\n", ran.out), ran
    assert ask(PUBLIC).out == f"{PUBLIC} answers {HOST}\n"


def test_nothing_is_left_of_it_on_the_host() -> None:
    ask(PUBLIC)
    assert eventually(nothing_is_left)
    assert list(leases.every(open_home())) == []


def test_a_published_port_is_answered_on_the_hosts_loopback_and_where_it_was_asked_for(outside: World) -> None:
    ports = (Port(container=80, host=3000), Port(container=80), Port(container=80, host=3001, address="0.0.0.0"))  # noqa: S104
    with started(server(hostname="web", ports=ports)) as (box, out):
        assert eventually(lambda: "up" in out.so_far)
        found = lease(box).ports[1].host
        assert found is not None
        assert asked("127.0.0.1", 3000) == "web answers 10.87.0.1\n"
        assert asked("127.0.0.1", found).startswith("web answers")
        assert asked("127.0.0.1", 3001).startswith("web answers")
        assert asked(HOST, 3001).startswith("web answers")
        with pytest.raises(OSError, match="refused"):
            asked(HOST, 3000)
        code = ASK.replace("sys.argv[1]", repr(HOST)).replace("sys.argv[2]", "3001")
        assert outside.run("python3", "-c", code).startswith("web answers 192.0.2.2")
        with pytest.raises(InvalidSpec, match=rf"cannot publish port 3000/tcp: container {box.name} has it"):
            run(server(ports=(Port(container=80, host=3000),)))
        assert ask(HOST, 3001).out.startswith("web answers")  # and from a container, by the host's address


def test_a_port_of_a_process_of_the_host_is_not_taken_from_it() -> None:
    with (
        socket.create_server(("127.0.0.1", 3000)),
        pytest.raises(InvalidSpec, match=r"cannot publish port 127.0.0.1:3000: Address already"),
    ):
        run(server(ports=(Port(container=80, host=3000),)))


def test_containers_on_a_network_find_each_other_by_name_and_nobody_on_another() -> None:
    home = open_home()
    for name in ("front", "back"):
        networks.create(name, home, dns=[nameservers.ADDRESS])
    try:
        with (
            nameservers.upstream({}),  # who knows of nobody, and says so at once
            started(server(name="db", network="back", aliases=("store.internal",))) as (box, out),
        ):
            assert eventually(lambda: "up" in out.so_far)
            for name in ("db", "DB", box.id, "store.internal", lease(box).address):
                assert ask(name, network="back").out.startswith(f"{box.hostname} answers {lease(box).address[:8]}"), name
            assert "Name or service not known" in ask("db", network="front").err
            assert "TimeoutError" in ask(lease(box).address, network="front").err
            with pytest.raises(NotAllowed, match=f"cannot remove network back: container {box.id} is on it"):
                networks.remove("back", home)
    finally:
        for name in ("front", "back"):
            networks.remove(name, home)


@pytest.mark.crowd
def test_fifty_at_once_have_addresses_of_their_own_and_all_names_are_known() -> None:
    count = 50
    with ThreadPoolExecutor(8) as pool:
        boxes = list(
            pool.map(lambda number: Container.create(Spec(args=("sleep", "1000"), network="bridge", name=f"one-{number}")), range(count))
        )
        try:
            list(pool.map(Container.start, boxes))
            assert len({lease(box).address for box in boxes}) == count
            code = f"import socket; print(len({{socket.gethostbyname(f'one-{{n}}') for n in range({count})}}))"
            assert run(Spec(args=("python3", "-c", code), network="bridge")).out == f"{count}\n"
        finally:
            list(pool.map(lambda box: box.remove(force=True), boxes))
    assert eventually(nothing_is_left)


def test_one_who_asks_too_much_keeps_nobody_waiting_for_names() -> None:
    flood = "import socket, time\nheld = [socket.create_connection(('10.87.0.1', 53)) for _ in range(64)]\n"
    flood += "print('up', flush=True)\ntime.sleep(100)"
    code = "import socket, time\nbegun = time.monotonic()\nsocket.gethostbyname('flood')\nprint(time.monotonic() - begun)"
    with started(Spec(args=("python3", "-c", flood), network="bridge", name="flood")) as (_box, out):
        assert eventually(lambda: "up" in out.so_far)
        assert float(run(Spec(args=("python3", "-c", code), network="bridge")).out) < 4  # a question may take 5


_FLOOD = """
import socket, sys, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(1, int(sys.argv[2])):
    one.sendto(b"x", (sys.argv[1], port))
print("done", flush=True)
time.sleep(1000)
"""


def test_one_who_opens_too_many_connections_leaves_the_hosts_table_to_others() -> None:
    with open("/proc/sys/net/netfilter/nf_conntrack_max", encoding="ascii") as file:
        most = min(16384, int(file.read()) // 8)
    before = _entries()
    flood = Spec(args=("python3", "-c", _FLOOD, PUBLIC, str(min(2 * most, 65536))), network="bridge")
    with started(flood) as (_box, out):
        assert eventually(lambda: "done" in out.so_far, seconds=120)
        assert most // 2 < _entries() <= most + before + 100
        assert ask(PUBLIC).out == f"{PUBLIC} answers {HOST}\n"


def _entries() -> int:
    with open("/proc/thread-self/net/stat/nf_conntrack", encoding="ascii") as file:
        return int(file.readlines()[1].split()[0], 16)


def test_rates_hold_both_ways() -> None:
    with started(Spec(args=("sleep", "1000"), network="bridge", limits=Limits(ingress_bits=8_000_000, egress_bits=2_000_000))) as (
        box,
        _out,
    ):
        device = lease(box).device
        assert "tbf" in output("tc", "qdisc", "show", "dev", device)
        assert "rate 8Mbit" in output("tc", "qdisc", "show", "dev", device)
        inside = output("nsenter", f"--net=/proc/{box.pid}/ns/net", "tc", "qdisc", "show", "dev", "eth0")
        assert "rate 2Mbit" in inside


def test_a_spoofed_address_goes_nowhere() -> None:
    """A container that was given NET_RAW, as docker gives it to all, cannot speak for its neighbour."""
    code = (
        "import socket\n"
        "from struct import pack\n"
        "one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
        "one.bind(('eth0', 0))\n"
        "mac = open('/sys/class/net/eth0/address').read().strip().replace(':', '')\n"
        "head = bytes.fromhex('ff' * 6 + mac) + b'\\x08\\x06'\n"
        "arp = pack('!HHBBH', 1, 0x800, 6, 4, 1) + bytes.fromhex(mac) + socket.inet_aton({0!r})\n"
        "arp += bytes(6) + socket.inet_aton('10.87.0.1')\n"
        "for number in range(3): one.send(head + arp)\n"
        "print('sent')\n"
    )
    with started(Spec(args=("sleep", "1000"), network="bridge")) as (box, _out):
        bridge = networks.find("bridge", open_home()).bridge
        address = lease(box).address
        with pytest.raises(ConnectionRefusedError):
            asked(address, 9)  # so that the host knows whose the address is
        ran = run(Spec(args=("python3", "-c", code.format(address)), network="bridge", capabilities=DEFAULT | {"CAP_NET_RAW"}))
        assert ran.out == "sent\n", ran
        known = output("ip", "neigh", "show", "dev", bridge)
        assert f"{address} lladdr {lease(box).hardware_address}" in known, known


def test_the_command_makes_lists_and_removes_networks() -> None:
    assert command("network", "create", "--subnet", "10.99.0.0/24", "lab").returncode == 0
    rows = [json.loads(line) for line in command("network", "ls", "--format", "json").stdout.splitlines()]
    assert {(row["name"], row["subnet"]) for row in rows} == {("bridge", "10.87.0.0/24"), ("lab", "10.99.0.0/24")}
    for words, told in (
        ("network create lab", "a network of that name exists already"),
        ("network create --subnet 10.99.0.128/25 other", "it overlaps with 10.99.0.0/24, network lab"),
        ("network create --subnet 192.0.2.0/24 other", "device up0 of this host"),
        ("network create --subnet 10.99.1.1/24 other", "has host bits set"),
        ("network create host", "the name means something else"),
        ("network rm bridge", "it is the one that is always there"),
        ("network rm nosuch", "there are bridge, lab"),
        ("run --rm --network nosuch host true", "there are bridge, lab"),
        ("network create --subnet fd00:99::/48 other", "IPv6 subnets must be /64"),
        ("network create --subnet 10.98.0.0/24 --subnet 10.97.0.0/24 other", "there is 10.98.0.0/24 already"),
        ("network create --no-ipv6 --subnet fd00:99::/64 other", "cannot use subnet=fd00:99::/64 without IPv6"),
        ("network create --subnet 2001:db8::/64 other", "device up0 of this host"),
        ("run --rm --network host -p 80 host true", "that network is not the container's own"),
        ("run --rm --network container:nosuch host true", "cannot find container"),
        ("run --rm -p 80 host true", "cannot use ports with network=none"),
        ("run --rm --network bridge -p 99999:80 host true", "not from 1 to 65535"),
        ("run --rm --network bridge -p 8000-8009:80 host true", "10 ports of the host for 1 of the container"),
        ("run --rm --network bridge --net-egress 10 host true", "not a rate"),
        ("run --rm --network bridge --egress some host true", "not internet, all, none or allow="),
        ("run --rm --network bridge --egress internet --cap-add NET_RAW host true", "can undo the policy"),
    ):
        refused = command(*words.split())
        assert refused.returncode in (1, 125), words
        assert told in refused.stderr, refused.stderr
    assert command("network", "rm", "lab").returncode == 0
    with pytest.raises(NetworkNotFound):
        networks.find("lab", open_home())


def test_a_detached_one_is_on_its_network_as_long_as_it_runs_and_can_be_connected_to_another() -> None:
    made = command("run", "-d", "--name", "web", "--network", "bridge", "-p", "3000:80", "host", "python3", "-c", SERVE)
    assert made.returncode == 0, made.stderr
    try:
        assert eventually(lambda: "up" in command("logs", "web").stdout)
        assert asked("127.0.0.1", 3000).endswith("answers 10.87.0.1\n")
        assert "127.0.0.1:3000->80/tcp" in command("ps").stdout
        assert command("network", "create", "lab").returncode == 0
        assert command("network", "connect", "--alias", "site", "lab", "web").returncode == 0
        with started(server(name="neighbour", network="lab")) as (_box, out):
            assert eventually(lambda: "up" in out.so_far)
            found = command("exec", "web", "python3", "-c", ASK, "neighbour", "80")  # by the name server of its first network
            assert "answers 10.87.1." in found.stdout, found
        assert command("rename", "web", "www").returncode == 0
        assert ask("www").out.endswith("\n")
        assert command("rename", "www", "web").returncode == 0
        assert "answers 10.87.1." in ask("site", network="lab").out
        there = ("nsenter", f"--net=/proc/{Detached.find('web').record.pid}/ns/net", "nft", "list", "table", "ip6", "cellhold")
        own = networks.find("lab", open_home()).subnet6.removesuffix("/64")
        assert own in output(*there)
        assert command("network", "disconnect", "lab", "web").returncode == 0
        assert own not in output(*there)
        assert "not on it" in command("network", "disconnect", "lab", "web").stderr
        assert command("network", "rm", "lab").returncode == 0
        assert command("stop", "-t", "0", "web").returncode == 0
        assert eventually(lambda: list(leases.every(open_home())) == [])
        assert command("start", "web").returncode == 0
        assert eventually(lambda: command("logs", "web").stdout.count("up") == 2)
        assert asked("127.0.0.1", 3000).endswith("answers 10.87.0.1\n")
    finally:
        command("rm", "-f", "web")
    assert os.listdir(open_home().networks / "bridge/leases") == []


@pytest.mark.requires("ipv6")
def test_with_ipv6_it_has_an_address_of_that_and_reaches_the_world_by_the_hosts() -> None:
    assert ask(PUBLIC6).out == f"{PUBLIC6} answers {HOST6}\n"
    script = "grep -c eth0 /proc/net/if_inet6; cat /proc/sys/net/ipv6/conf/eth0/accept_ra"
    assert run(Spec(args=("sh", "-c", script), network="bridge")).out == "2\n0\n"  # and a link-local one


@pytest.mark.requires("ipv6")
def test_with_ipv6_containers_find_each_other_and_a_port_is_published_where_that_is_asked_for(outside: World) -> None:
    home = open_home()
    networks.create("six", home, subnets=["fd00:99::/64"])
    ports = (Port(container=80, host=3000, address="::"),)
    code = SERVE.replace('("0.0.0.0", 80)', '("::", 80), family=socket.AF_INET6, dualstack_ipv6=True')
    try:
        with started(Spec(args=("python3", "-c", code), network="six", hostname="web", ports=ports, name="web")) as (box, out):
            assert eventually(lambda: "up" in out.so_far)
            address = lease(box).address6
            assert address == "fd00:99::2"
            assert asked(HOST6, 3000) == f"web answers {HOST6}\n"
            outside_asks = ASK.replace("sys.argv[1]", repr(HOST6)).replace("sys.argv[2]", "3000")
            assert outside.run("python3", "-c", outside_asks) == "web answers 2001:db8::2\n"
            assert re.fullmatch(r"web answers fd00:99::[0-9a-f]+\n", ask(address, network="six").out)
            assert ask(address, network="bridge").outcome.status == 1
            names = "import socket; print(socket.getaddrinfo('web', 80, socket.AF_INET6)[0][4][0]); print(socket.getfqdn('fd00:99::2'))"
            assert run(Spec(args=("python3", "-c", names), network="six")).out == "fd00:99::2\nweb\n"
    finally:
        assert eventually(lambda: not list((home.networks / "six/leases").iterdir()))
        networks.remove("six", home)


@pytest.mark.requires("ipv6")
def test_with_ipv6_nobody_speaks_from_anothers_address() -> None:
    hear = "import socket; one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); one.bind(('::', 9)); print('up', flush=True)\n"
    hear += "while True: print(*one.recvfrom(99)[1][:1], flush=True)"
    speak = """
import socket, sys
for kind, source in ((78, sys.argv[2]), (0, "")):  # IPV6_FREEBIND: any address may be bound to
    one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    if kind:
        one.setsockopt(socket.IPPROTO_IPV6, kind, 1)
        one.bind((source, 0))
    try:
        one.sendto(b"x", (sys.argv[1], 9))
    except PermissionError:
        print("refused")
"""
    with started(Spec(args=("python3", "-c", hear), network="bridge")) as (box, out):
        assert eventually(lambda: "up" in out.so_far)
        address = lease(box).address6
        liar = Container.create(Spec(args=("python3", "-c", speak, address, address.replace("::", "::ffff:")), network="bridge"))
        with liar:
            liar.start()
            own = lease(liar).address6
            assert liar.wait().status == 0
        assert eventually(lambda: own in out.so_far)
        assert out.so_far.split() == ["up", own]


@pytest.mark.requires("ipv6")
def test_who_makes_packets_by_hand_has_no_ipv6() -> None:
    with started(Spec(args=("sleep", "1000"), network="bridge", capabilities=frozenset({*DEFAULT, "CAP_NET_RAW"}))) as (box, _out):
        assert lease(box).address6 == ""
        assert output("nsenter", f"--net=/proc/{box.pid}/ns/net", "--", "ip", "-6", "address", "show", "dev", "eth0") == ""
    with pytest.raises(InvalidSpec, match="cannot publish on ::: the container has no IPv6"):
        run(server(ports=(Port(container=80, host=3000, address="::"),), capabilities=frozenset({"CAP_NET_RAW"})))
