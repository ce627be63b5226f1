"""Link-local addresses are answered by nothing but neighbour discovery, whatever the egress policy is: metadata services are there."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from smallworld import METADATA, output

from boxes import eventually, run, started
from cellhold.errors import InvalidSpec
from cellhold.network import egress, leases, networks
from cellhold.network.model import hardware_address, link_local
from cellhold.spec.spec import Spec
from cellhold.store.home import open_home
from outside import world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smallworld import World

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "bridge-networks")

_TRY = """
import socket, sys
for word in sys.argv[1:]:
    host, _, port = word.rpartition(":")
    for bound in (False, True):
        family, kind, protocol, _name, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        one = socket.socket(family, kind, protocol)
        one.settimeout(3)
        if bound:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        try:
            one.connect(where)
            print(word, "answers")
        except OSError as error:
            print(word, type(error).__name__)
"""
_SERVE = """
import socket
one = socket.create_server(("::", 80), family=socket.AF_INET6)
print("up", flush=True)
while True: one.accept()
"""


@pytest.fixture(scope="module", autouse=True)
def outside() -> Iterator[World]:
    with world() as beyond:
        output("ip", "address", "add", "169.254.7.7/32", "dev", "up0")  # the host has one as well
        kind = {"family": socket.AF_INET6, "dualstack_ipv6": True} if socket.has_dualstack_ipv6() else {}
        with socket.create_server(("", 80), backlog=64, **kind):  # type: ignore[arg-type]  # and serves there
            yield beyond


def answers(*places: str, network: str = "bridge") -> list[str]:
    ran = run(Spec(args=("python3", "-c", _TRY, *places), network=network, egress="all"))
    assert ran.out.count("\n") == 2 * len(places), ran
    return [line for line in ran.out.splitlines() if line.endswith("answers")]


def test_with_egress_all_no_link_local_address_of_ipv4_answers() -> None:
    assert answers(f"{METADATA}:80", "169.254.7.7:80") == []
    assert len(answers("192.0.2.1:80")) == 2  # the host's other address


@pytest.mark.requires("ipv6")
def test_with_egress_all_neither_the_host_nor_a_neighbour_answers_at_a_link_local_address_of_ipv6() -> None:
    networks.create("lab", open_home())
    try:
        with started(Spec(args=("python3", "-c", _SERVE), network="lab", egress="all")) as (box, out):
            assert eventually(lambda: "up" in out.so_far)
            (lease,) = leases.of_container(box.id, open_home())
            gateway = networks.find("lab", open_home()).gateway
            near = [link_local(hardware_address(address)) for address in (gateway, lease.address)]
            assert answers(*(f"{address}%eth0:80" for address in near), network="lab") == []
            assert len(answers(f"{lease.address6}:80", network="lab")) == 2  # neighbours are found
    finally:
        assert eventually(lambda: not list((open_home().networks / "lab/leases").iterdir()))
        networks.remove("lab", open_home())


@pytest.mark.parametrize("place", [METADATA, f"{METADATA}:80", "169.254.0.0/16", "fe80::/10", "[fe80::1]:80"])
def test_a_list_with_a_link_local_address_is_refused(place: str) -> None:
    with pytest.raises(InvalidSpec, match="is link-local, and a container reaches no such address"):
        egress.parse(f"allow=9.9.9.9,{place}")
