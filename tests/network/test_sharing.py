"""A network that is not the container's own: this host's, or another container's. In namespaces of the tests' own."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from smallworld import HOST, PUBLIC, output

from boxes import command, eventually, run, started
from cellhold.container.detached import Detached
from cellhold.errors import ContainerNotFound, InvalidSpec, NotAllowed
from cellhold.network import leases
from cellhold.spec.limits import Limits
from cellhold.spec.spec import Port, Spec
from cellhold.store.home import open_home
from outside import world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smallworld import World

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "bridge-networks")

_SEEN = """
import os, socket
print(*sorted(os.listdir("/sys/class/net")))
print(os.readlink("/proc/self/ns/net"))
for path in ("/sys/class/net/lo/mtu", "/proc/sys/net/ipv4/ip_forward"):
    try:
        open(path, "w")
        print("can write", path)
    except OSError as error:
        print(error.strerror)
try:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
    print("can make packets")
except OSError as error:
    print(error.strerror)
"""
_HELD = ["Read-only file system", "Read-only file system", "Operation not permitted"]
_SERVE = "import socket; one = socket.create_server(('127.0.0.1', 80)); print('up', flush=True); "
_SERVE += "[one.accept()[0].sendall(b'hello') for _ in range(2)]"
_ASK = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).recv(99).decode())"


@pytest.fixture(scope="module", autouse=True)
def outside() -> Iterator[World]:
    with world() as beyond:
        yield beyond


def test_the_hosts_network_is_the_hosts_and_can_be_used_but_not_changed() -> None:
    everything = frozenset({"CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"})
    ran = run(Spec(args=("python3", "-c", _SEEN), network="host", capabilities=everything))
    assert ran.out.splitlines() == ["lo up0", os.readlink("/proc/thread-self/ns/net"), *_HELD], ran
    ran = run(Spec(args=("sh", "-c", "hostname; cat /etc/hosts"), network="host", hosts=(("more", "9.9.9.9"),)))
    with open("/etc/hosts", encoding="utf-8") as file:
        assert ran.out == f"{os.uname().nodename}\n{file.read()}9.9.9.9\tmore\n"
    asking = Spec(args=("python3", "-c", _ASK, "127.0.0.1", "3000"), network="host")
    with socket.create_server(("127.0.0.1", 3000)) as serving, started(asking) as (_box, out), serving.accept()[0] as one:
        one.sendall(b"the host")
        assert eventually(lambda: out.so_far == "the host\n")
    assert run(Spec(args=("python3", "-c", _ASK, PUBLIC, "80"), network="host")).out == f"{PUBLIC} answers {HOST}\n\n"
    assert list(leases.every(open_home())) == []


def test_another_containers_network_is_that_ones_with_its_address_its_ports_and_its_policy() -> None:
    serving = Spec(args=("python3", "-c", _SERVE), network="bridge", name="first", egress="none", ports=(Port(container=81, host=3000),))
    with started(serving) as (first, out):
        assert eventually(lambda: "up" in out.so_far)
        with started(Spec(args=("python3", "-c", _SEEN), network="container:first")) as (second, seen):
            second.wait()
            assert eventually(lambda: seen.so_far.count("\n") == 5)
            there = output("readlink", f"/proc/{first.pid}/ns/net").strip()
            assert seen.so_far.splitlines() == ["eth0 lo", there, *_HELD]
        beside: dict[str, Any] = {"network": f"container:{first.id[:6]}"}
        assert run(Spec(args=("python3", "-c", _ASK, PUBLIC, "80"), **beside)).outcome.status == 1
        resolver = "nameserver 10.87.0.1\n"
        assert run(Spec(args=("cat", "/etc/resolv.conf"), **beside)).out == resolver
        assert run(Spec(args=("python3", "-c", _ASK, "127.0.0.1", "80"), **beside)).out == "hello\n"
        port_81 = _SERVE.replace("127.0.0.1", "").replace("80", "81")
        with started(Spec(args=("python3", "-c", port_81), **beside)) as (_other, heard):
            assert eventually(lambda: "up" in heard.so_far)  # below 1024, in a namespace that is not its own
            with socket.create_connection(("127.0.0.1", 3000), 3) as one:
                assert one.recv(99) == b"hello"


def test_who_is_left_in_a_network_whose_owner_has_gone_is_taken_off_it() -> None:
    with started(Spec(args=("sleep", "1000"), network="bridge", name="first")) as (first, _out):
        other = started(Spec(args=("sleep", "1000"), network="container:first"))
        second, _nothing = other.__enter__()
        assert first.connections()
    try:
        words = ("nsenter", f"--net=/proc/{second.pid}/ns/net", "ls", "/proc/self/net/dev_snmp6")
        assert eventually(lambda: "eth0" not in output(*words))
        with pytest.raises(ContainerNotFound):
            run(Spec(args=("true",), network="container:first"))
    finally:
        other.__exit__(None, None, None)


def test_who_comes_again_at_once_keeps_his_cable() -> None:
    made = command("run", "-d", "--network", "bridge", "--name", "again", "host", "sleep", "1000")
    assert made.returncode == 0, made.stderr
    with started(Spec(args=("sleep", "1000"), network="bridge")):  # so that the name server stays
        assert command("restart", "-t", "0", "again").returncode == 0
        time.sleep(2.5)  # longer than the name server waits for a cable to go by itself
        box = Detached.find("again")
        assert "eth0" in output("nsenter", f"--net=/proc/{box.record.pid}/ns/net", "cat", "/proc/self/net/dev")
    assert command("rm", "-f", "again").returncode == 0


def test_what_takes_a_network_of_ones_own_is_refused_there() -> None:
    for network in ("host", "container:first"):
        for values in ({"ports": (Port(container=80),)}, {"aliases": ("x",)}, {"egress": "none"}, {"limits": Limits(egress_bits=8000)}):
            with pytest.raises(InvalidSpec, match=f"with network={network}: that network is not the container's own"):
                Spec(network=network, **values)
    with pytest.raises(InvalidSpec, match="cannot use name="):
        Spec(network="container:../x")
    with started(Spec(args=("sleep", "1000"), network="host")) as (box, _out), pytest.raises(NotAllowed, match="it is on no network"):
        box.restrict("none")
