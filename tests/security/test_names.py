"""Names are not authority: what one container is called means nothing to another owner's, and nothing in place of a public name."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import dns.edns
import dns.message
import dns.opcode
import dns.query
import dns.rcode
import dns.update
import pytest
from smallworld import PUBLIC

from boxes import command, eventually, started
from cellhold.container.container import Container
from cellhold.errors import InvalidSpec
from cellhold.network import leases, networks
from cellhold.spec.spec import Spec
from cellhold.store import record
from cellhold.store.home import open_home
from nameservers import ADDRESS, GATEWAY, ask, inside, upstream
from outside import store, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellhold.network.model import Lease
    from nameservers import Upstream

pytestmark = pytest.mark.requires("root", "user-namespace", "overlayfs", "mount-api", "seccomp", "cgroups", "bridge-networks")

ZONE = {name: {"A": [PUBLIC]} for name in ("python.org", "PYTHON.org", "files.python.org", "host.docker.internal", "ai")}


@pytest.fixture(scope="module", autouse=True)
def beyond() -> Iterator[Upstream]:
    with world(), store(dns=ADDRESS), upstream(ZONE) as serving:
        yield serving


@contextmanager
def box(name: str | None = None, owner: str = "", network: str = "bridge", **values: object) -> Iterator[Container]:
    spec = Spec(args=("sleep", "1000"), network=network, name=name, owner=owner, **values)  # type: ignore[arg-type]
    with started(spec) as (made, _out):
        yield made


@contextmanager
def lab() -> Iterator[str]:
    """A network of one's own; gives its name server's address."""
    made = networks.create("lab", open_home(), dns=[ADDRESS])
    try:
        yield made.gateway
    finally:
        assert eventually(lambda: not list(made.leases(open_home()).iterdir()))
        networks.remove("lab", open_home())


def lease(of: Container, network: str = "bridge") -> Lease:
    return next(one for one in leases.of_container(of.id, open_home()) if one.network == network)


def test_on_the_default_network_nobody_takes_an_alias(beyond: Upstream) -> None:
    with pytest.raises(
        InvalidSpec, match=r"cannot use network-alias=python\.org with network=bridge: aliases are for networks of your own"
    ):
        Container.create(Spec(args=("true",), network="bridge", aliases=("python.org",)))
    refused = command("run", "--rm", "--network", "bridge", "--network-alias", "python.org", "host", "true")
    assert (refused.returncode, "aliases are for networks of your own" in refused.stderr) == (125, True), refused
    with lab(), box() as asker:
        made = command("run", "-d", "--name", "late", "--network", "lab", "host", "sleep", "1000")
        assert made.returncode == 0, made.stderr
        try:
            refused = command("network", "connect", "--alias", "python.org", "bridge", "late")
            assert (refused.returncode, "aliases are for networks of your own" in refused.stderr) == (1, True), refused
            assert ask(asker.pid, "python.org").texts == [PUBLIC]
            assert "python.org" in beyond.names()
        finally:
            command("rm", "-f", "late")


@pytest.mark.parametrize("name", ["python.org", "PYTHON.ORG", "files.python.org", "host.docker.internal", "python.org."])
def test_a_container_called_as_a_public_name_is_found_by_its_id_alone(name: str) -> None:
    with box(name) as liar, box("asker") as asker:
        for asked in (name, name.upper(), name.lower()):
            assert ask(asker.pid, asked).texts == [PUBLIC], asked
        assert ask(asker.pid, liar.id).texts == [lease(liar).address]
        told = ask(asker.pid, f"{'.'.join(reversed(lease(liar).address.split('.')))}.in-addr.arpa", "PTR")
        assert told.texts == [f"{liar.id}."]


def test_a_container_that_is_renamed_comes_by_no_public_name_either() -> None:
    made = command("run", "-d", "--name", "late", "--network", "bridge", "host", "sleep", "1000")
    assert made.returncode == 0, made.stderr
    try:
        with box() as asker:
            found = ask(asker.pid, "late").texts
            assert command("rename", "late", "python.org").returncode == 0
            assert ask(asker.pid, "python.org").texts == [PUBLIC]
            assert ask(asker.pid, "late").code == "NXDOMAIN"
            assert ask(asker.pid, made.stdout.strip()).texts == found
            assert command("rename", "python.org", "later").returncode == 0
            assert ask(asker.pid, "later").texts == found
    finally:
        command("rm", "-f", made.stdout.strip())


@pytest.mark.parametrize("name", ["localhost", "wpad", "isatap", "WPAD"])
def test_a_container_called_as_what_programs_trust_is_found_by_its_id_alone(name: str) -> None:
    with lab() as gateway, box(name, network="lab", aliases=("a.localhost", "pc.local")) as liar, box(network="lab") as asker:
        address = lease(liar, "lab").address
        for asked in (name, "a.localhost"):
            assert address not in ask(asker.pid, asked, at=gateway).texts
        for asked in (liar.id, "pc.local"):
            assert ask(asker.pid, asked, at=gateway).texts == [address]


def test_localhost_is_whoever_asks_and_nobody_else_is_asked(beyond: Upstream) -> None:
    with box() as asker:
        for name in ("localhost", "LocalHost", "a.localhost"):
            assert ask(asker.pid, name).texts == ["127.0.0.1"]
            assert ask(asker.pid, name, "AAAA").texts == ["::1"]
            assert ask(asker.pid, name, "TXT").texts == []
        assert not {name for name in beyond.names() if "localhost" in name.lower()}


def test_the_containers_of_a_notebook_are_known_to_those_of_the_same_one_alone() -> None:
    with ExitStack() as closing:
        ours, theirs, nobodys = (closing.enter_context(box(f"db-{owner or 'cli'}", owner)) for owner in ("one", "two", ""))
        mate = closing.enter_context(box("mate", "one"))
        for asker, known in ((ours, {ours, mate}), (theirs, {theirs}), (nobodys, {nobodys})):
            for other in (ours, theirs, nobodys, mate):
                expected = [lease(other).address] if other in known else []
                for asked in (other.name, other.id, other.name.upper()):
                    assert ask(asker.pid, asked).texts == expected, (asker.name, asked)
                backwards = ".".join(reversed(lease(other).address.split(".")))
                told = ask(asker.pid, f"{backwards}.in-addr.arpa", "PTR")
                assert told.texts == ([f"{other.name}."] if other in known else []), (asker.name, other.name)


def test_what_is_asked_backwards_about_a_network_goes_to_nobody_else(beyond: Upstream) -> None:
    with box() as asker:
        told = ask(asker.pid, "77.0.87.10.in-addr.arpa", "PTR")
        assert (told.code, told.texts) == ("NXDOMAIN", [])
        assert not any(name.endswith("87.10.in-addr.arpa") for name in beyond.names())


def test_on_a_network_of_ones_own_a_name_of_the_world_means_a_container_of_the_same_owner_or_of_the_command_line() -> None:
    with lab() as gateway, ExitStack() as closing:
        evil = closing.enter_context(box("evil", "one", "lab", aliases=("python.org", "cache")))
        mate, other, nobodys = (closing.enter_context(box(None, owner, "lab")) for owner in ("one", "two", ""))
        address = lease(evil, "lab").address
        assert ask(mate.pid, "python.org", at=gateway).texts == [address]
        for asker in (other, nobodys):
            assert ask(asker.pid, "python.org", at=gateway).texts == [PUBLIC]
            assert ask(asker.pid, "evil", at=gateway).texts == ask(asker.pid, "cache", at=gateway).texts == [address]
        mirror = closing.enter_context(box("mirror", "", "lab", aliases=("Python.org",)))
        for asker in (other, nobodys):
            assert ask(asker.pid, "python.org", at=gateway).texts == [lease(mirror, "lab").address]


def test_of_containers_with_one_name_those_of_the_asker_go_first_then_the_command_lines_and_equals_are_all_told() -> None:
    with lab() as gateway, ExitStack() as closing:
        boxes = [closing.enter_context(box(None, owner, "lab", aliases=("db",))) for owner in ("one", "one", "", "", "two")]
        addresses = [lease(one, "lab").address for one in boxes]
        askers = [closing.enter_context(box(None, owner, "lab")) for owner in ("one", "", "two", "three")]
        for asker, expected in zip(askers, (addresses[:2], addresses[2:4], addresses[4:], addresses[2:4]), strict=True):
            assert ask(asker.pid, "db", at=gateway).texts == sorted(expected)


def test_an_id_goes_before_a_name_that_looks_like_it() -> None:
    with lab() as gateway, box(network="lab") as victim, box(network="lab", aliases=(victim.id,)), box(network="lab") as asker:
        assert ask(asker.pid, victim.id, at=gateway).texts == [lease(victim, "lab").address]


@pytest.mark.parametrize("kind", ["AAAA", "SRV", "TXT", "MX", "CNAME", "NS", "SOA", "HTTPS"])
def test_what_else_is_asked_about_a_containers_name_is_answered_here_with_nothing(beyond: Upstream, kind: str) -> None:
    with lab_without_ipv6() as gateway, box("db", network="four") as made:
        told = ask(made.pid, "db", kind, at=gateway)
        assert (told.code, told.texts) == ("NOERROR", [])
        assert ask(made.pid, "DB", "ANY", at=gateway, over="tcp").texts == [lease(made, "four").address]
        assert "db" not in {name.lower() for name in beyond.names()}


@contextmanager
def lab_without_ipv6() -> Iterator[str]:
    made = networks.create("four", open_home(), dns=[ADDRESS], ipv6=False)
    try:
        yield made.gateway
    finally:
        assert eventually(lambda: not list(made.leases(open_home()).iterdir()))
        networks.remove("four", open_home())


def test_a_name_too_long_for_the_system_of_names_hurts_nobody() -> None:
    long = "a" * 128
    with box(long) as made, box("asker") as asker:
        assert ask(asker.pid, made.id).texts == [lease(made).address]
        told = ask(asker.pid, f"{'.'.join(reversed(lease(made).address.split('.')))}.in-addr.arpa", "PTR")
        assert told.texts == [f"{made.id}."]


def test_an_answer_that_does_not_fit_is_cut_short_and_whole_over_a_stream() -> None:
    home, count = open_home(), 60
    with lab() as gateway, box(network="lab") as asker:
        network = networks.find("lab", home)
        with home.networks_locked():
            for number in range(count):  # as many containers, without their processes
                leases.acquire(
                    network,
                    home,
                    container=f"{number:012x}",
                    names=(f"n{number}", f"{number:012x}", "many"),
                    ports=(),
                    policy="all",
                    is_raw=False,
                )
        try:
            told = ask(asker.pid, "many", at=gateway)
            assert told.is_cut
            assert len(ask(asker.pid, "many", at=gateway, over="tcp").texts) == count
        finally:
            with home.networks_locked():
                for number in range(count):
                    leases.release(f"{number:012x}", home)


def test_the_second_network_of_a_container_brings_its_names_along() -> None:
    made = command("run", "-d", "--name", "both", "--network", "bridge", "host", "sleep", "1000")
    assert made.returncode == 0, made.stderr
    try:
        with lab(), box("db", network="lab", aliases=("store.internal",)) as db:
            assert command("network", "connect", "lab", "both").returncode == 0
            pid = record.find("both", open_home().containers).pid
            for name in ("db", "store.internal"):
                assert ask(pid, name).texts == [lease(db, "lab").address]
            assert command("network", "disconnect", "lab", "both").returncode == 0
    finally:
        command("rm", "-f", "both")


@pytest.mark.parametrize(
    ("kind", "code"), [("AXFR", "REFUSED"), ("IXFR", "REFUSED"), ("TKEY", "REFUSED"), ("update", "NOTIMP"), ("notify", "NOTIMP")]
)
def test_nothing_but_questions_goes_out_in_the_hosts_name(beyond: Upstream, kind: str, code: str) -> None:
    if kind == "update":
        asked: dns.message.Message = dns.update.UpdateMessage("corp")
        asked.add("evil", 60, "A", "9.9.9.9")  # type: ignore[attr-defined]
    else:
        asked = dns.message.make_query("corp", "SOA" if kind == "notify" else kind)
        asked.set_opcode(dns.opcode.NOTIFY if kind == "notify" else dns.opcode.QUERY)
    text = asked.to_wire()
    with box() as asker:
        for over in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            answer = inside(asker.pid, lambda over=over: _sent(text, over))  # type: ignore[misc]
            assert isinstance(answer, bytes)
            assert (answer[:2], answer[3] & 0xF) == (text[:2], dns.rcode.from_text(code))
        assert ask(asker.pid, "python.org").texts == [PUBLIC]
    assert ("corp" in beyond.names(), beyond.others) == (False, [])


def _sent(text: bytes, kind: socket.SocketKind) -> bytes:
    is_stream = kind == socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as one:
        one.settimeout(5)
        one.connect((GATEWAY, 53))
        one.sendall(len(text).to_bytes(2) * is_stream + text)
        return one.recv(4096)[2 * is_stream :]


def test_the_options_of_a_question_do_not_go_out(beyond: Upstream) -> None:
    seen: list[dns.message.Message] = []
    respond = beyond.respond
    beyond.respond = lambda question: (seen.append(question), respond(question))[1]  # type: ignore[func-returns-value]
    try:
        with box() as asker:
            asked = dns.message.make_query(
                "python.org", "A", use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.make(65001), b"secret")]
            )
            answer = inside(asker.pid, lambda: dns.query.udp(asked, GATEWAY, timeout=5))
            assert isinstance(answer, dns.message.Message)
            assert answer.id == asked.id
            assert [item.to_text() for entry in answer.answer for item in entry] == [PUBLIC]
    finally:
        beyond.respond = respond
    assert [(one.options, one.id == asked.id) for one in seen] == [((), False)]
