"""A network without root, by slirp4netns and by pasta: published ports, egress policies, rates; in the tests' own namespaces."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from smallworld import HOST, METADATA, PRIVATE, PUBLIC, inside

from boxes import eventually
from cellhold.container import logs
from cellhold.container.detached import Detached
from cellhold.store.home import Home
from nameservers import upstream
from outside import world
from people import furnish, person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from people import Person

pytestmark = pytest.mark.requires(  # root: to make the users
    "root", "rootless", "subordinate-ids", "user-namespace", "overlayfs", "mount-api", "seccomp", "rootless-network"
)

# All at once, printed in their order. Not at once the end of what is sent: pasta of 2023 does not tell the end of what comes after that.
_TRY = """busybox mkdir -p /answers
for host in "$@"; do { sleep 0.5 | busybox nc -w 3 "$host" 80 || echo "$host refused"; } >"/answers/$host" & done
wait
for host in "$@"; do cat "/answers/$host"; done
"""
_SERVE = 'echo up; while true; do echo "$HOSTNAME answers" | busybox nc -l -p 80; done'
# As udev has it everywhere; on some machines only root may open it.
_TUN = "mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200"
# The programs ask the first server of the file, which is that of the tests.
_RESOLVER = "echo nameserver 127.0.0.1 >/dev/net/resolv.conf && mount --bind /dev/net/resolv.conf /etc/resolv.conf"
_AS_IT = f'{_TUN} && {_RESOLVER} && exec setpriv --reuid="$1" --regid="$2" --clear-groups -- env -i "${{@:3}}"'


@pytest.fixture(scope="module", params=["ranged", "single"])
def anybody(request: pytest.FixtureRequest, busybox_root: Path) -> Iterator[Person]:
    with world(), person(f"n{request.param[0]}", subordinate=request.param == "ranged") as who:
        furnish(who, busybox_root)
        yield who
        assert eventually(lambda: not who.processes())
        assert who.containers() == []


def cellhold(who: Person, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as the user, where /dev/net/tun is everybody's."""
    return subprocess.run(line(who, *words), capture_output=True, text=True, check=False, timeout=120, cwd=who.place)


def output_of(who: Person, name: str) -> str:
    """What a container of the user's has written to standard output."""
    home = Home(who.store)
    return b"".join(line.text for line in logs.lines(Detached.find(name, home), home=home) if line.stream == 1).decode()


def answer(port: int) -> str:
    """What the host hears on that port of its loopback; nothing where nobody listens yet."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as one:
        return one.makefile().readline()
    return ""


def line(who: Person, *words: str) -> list[str]:
    """Its command line."""
    variables = [f"{name}={value}" for name, value in who.as_it()["env"].items() if name != "CELLHOLD_NETWORK"]
    return ["unshare", "--mount", "bash", "-c", _AS_IT, "bash", str(who.uid), str(who.gid), *variables, *who.cellhold(*words)]


@pytest.mark.parametrize("program", ["slirp4netns", "pasta"])
def test_it_reaches_the_world_and_the_host_reaches_its_published_ports(anybody: Person, program: str) -> None:
    root = ("--rootfs", str(anybody.place / "image"))
    ran = cellhold(anybody, "run", "--rm", "--network", program, *root, "sh", "-c", _TRY, "sh", PUBLIC, HOST)
    assert ran.stdout.splitlines()[0] == f"{PUBLIC} answers {HOST}", ran
    assert (ran.returncode, anybody.containers()) == (0, []), ran
    for number, name in ((3000, "one"), (3001, "two")):
        words = ("--network", program, "--name", name, "--hostname", name, "-p", f"{number}:80")
        made = cellhold(anybody, "run", "-d", *words, *root, "sh", "-c", _SERVE)
        assert made.returncode == 0, made.stderr
        assert eventually(lambda number=number, name=name: answer(number) == f"{name} answers\n"), name  # type: ignore[misc]
    assert "127.0.0.1:3001->80/tcp" in cellhold(anybody, "ps").stdout
    taken = cellhold(anybody, "run", "--rm", "-p", "3000:80", *root, "true")
    assert (taken.returncode, "container one has it" in taken.stderr) == (125, True), taken.stderr
    assert cellhold(anybody, "rm", "-f", "one", "two").returncode == 0
    assert eventually(lambda: not anybody.processes())
    assert os.listdir(anybody.store / "networks/bridge/leases") == []


@pytest.mark.parametrize("program", ["slirp4netns", "pasta"])
def test_the_hosts_loopback_is_not_reached_and_policies_hold(anybody: Person, program: str) -> None:
    root = ("--rootfs", str(anybody.place / "image"))
    with socket.create_server(("127.0.0.1", 80)):
        ran = cellhold(anybody, "run", "--rm", "--network", program, *root, "sh", "-c", _TRY, "sh", "10.87.0.2", "127.0.0.1")
        assert ran.stdout == "10.87.0.2 refused\n127.0.0.1 refused\n", ran
    places = (PUBLIC, PRIVATE, METADATA, HOST)
    ran = cellhold(anybody, "run", "--rm", "--network", program, "--egress", "internet", *root, "sh", "-c", _TRY, "sh", *places)
    assert ran.stdout.splitlines() == [f"{PUBLIC} answers {HOST}", *(f"{place} refused" for place in places[1:])], ran


_ASK = """
timeout 8 busybox nslookup another.example && echo resolved &
for at in 10.87.0.3 10.87.0.2 169.254.169.254; do
    timeout 4 busybox nslookup secret.example "$at" >/dev/null 2>&1 && echo "$at answers over UDP" &
    echo x | timeout 4 busybox nc -w 3 "$at" 53 >/dev/null && echo "$at takes TCP" &
done
wait
"""


@pytest.mark.parametrize("program", ["slirp4netns", "pasta"])
@pytest.mark.parametrize("policy", ["none", "allow=9.9.9.9", "allow=10.0.0.0/8,9.9.9.9", "allow=10.87.0.3:53", "internet"])
def test_a_policy_that_names_no_names_lets_no_question_out(anybody: Person, program: str, policy: str) -> None:
    zone = {name: {"A": [PUBLIC]} for name in ("secret.example", "another.example")}
    with upstream(zone) as beyond:
        words = ("run", "--rm", "--network", program, "--egress", policy, "--rootfs", str(anybody.place / "image"))
        ran = cellhold(anybody, *words, "sh", "-c", _ASK)
        assert ran.returncode == 0, ran
        if policy == "internet":
            assert ("another.example" in beyond.names(), "resolved" in ran.stdout) == (True, True), ran
        else:
            assert (beyond.asked, beyond.others) == ([], [])
            assert ("answers" in ran.stdout, "resolved" in ran.stdout) == (False, False), ran


@pytest.mark.parametrize("program", ["slirp4netns", "pasta"])
def test_link_local_addresses_are_refused_with_egress_all(anybody: Person, program: str) -> None:
    root = ("--rootfs", str(anybody.place / "image"))
    ran = cellhold(anybody, "run", "--rm", "--network", program, *root, "sh", "-c", _TRY, "sh", METADATA, PRIVATE)
    assert ran.stdout.splitlines() == [f"{METADATA} refused", f"{PRIVATE} answers {HOST}"], ran


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--network lab", "cannot use network=lab without root"),
        ("-p [::]:3000:80", "cannot publish on :: without root"),
        ("--network pasta -p 3000:80 --net-egress 1mbit", "cannot limit what goes by published ports with pasta"),
        ("--network bridge --egress allow=mirror.example", "cannot use egress=allow=mirror.example without root"),
        ("-p 80:80", "cannot publish port 80: those below 1024 are root's"),
    ],
)
def test_what_takes_root_is_refused(anybody: Person, words: str, told: str) -> None:
    refused = cellhold(anybody, "run", "--rm", *words.split(), "--rootfs", str(anybody.place / "image"), "true")
    assert (refused.returncode, told in refused.stderr) == (125, True), refused.stderr


@pytest.mark.parametrize("program", ["slirp4netns", "pasta"])
def test_when_the_command_is_killed_its_network_ends_with_it(anybody: Person, program: str) -> None:
    words = line(anybody, "run", "--rm", "--network", program, "-p", "3002:80", "--rootfs", str(anybody.place / "image"), "sleep", "1000")
    with subprocess.Popen(words, cwd=anybody.place) as killed:
        assert eventually(lambda: any(_command(pid).startswith(program) for pid in anybody.processes()))
        assert eventually(lambda: any(_command(pid).startswith("sleep 1000") for pid in anybody.processes()))
        killed.kill()
    assert eventually(lambda: not anybody.processes())
    ran = cellhold(anybody, "run", "--rm", "-p", "3002:80", "--rootfs", str(anybody.place / "image"), "true")
    assert (ran.returncode, anybody.containers()) == (0, []), ran
    assert os.listdir(anybody.store / "networks/bridge/leases") == []


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            return file.read().replace("\0", " ")
    except OSError:
        return ""


def test_the_hosts_network_is_the_hosts_and_another_containers_is_nobody_elses(anybody: Person) -> None:
    root = ("--rootfs", str(anybody.place / "image"))
    script = "cut -s -d: -f1 /proc/net/dev; touch /sys/class/net/lo/mtu || echo held; busybox ip link set lo down 2>/dev/null || echo held"
    ran = cellhold(anybody, "run", "--rm", "--network", "host", *root, "sh", "-c", script)
    assert ran.stdout.split() == ["lo", "up0", "held", "held"], ran
    assert cellhold(anybody, "run", "-d", "--name", "one", *root, "sleep", "1000").returncode == 0
    ran = cellhold(anybody, "run", "--rm", "--network", "container:one", *root, "true")
    assert (ran.returncode, "nobody but root may enter another container's network" in ran.stderr) == (125, True), ran.stderr
    assert cellhold(anybody, "rm", "-f", "one").returncode == 0


_CHANGE = """
import sys
from cellhold.container.detached import Detached
from cellhold.store.home import open_home
box = Detached.find(sys.argv[1], open_home())
print(*(f"{place.address}:{place.port}" for place in box.refused()))
box.restrict(sys.argv[2])
print(*(one.network.bridge for one in box.connections()), *(one.sent_packets > 0 for one in box.connections()))
"""


def test_a_policy_changes_while_it_runs_what_was_refused_is_counted_and_rates_hold(anybody: Person) -> None:
    root = ("--rootfs", str(anybody.place / "image"))
    rates = ("--net-ingress", "8mbit", "--net-egress", "2mbit")
    words = ("--network", "slirp4netns", "--egress", "internet", *rates, *root, "sh", "-c", f"while true; do {_TRY} done", "sh")
    assert cellhold(anybody, "run", "-d", "--name", "one", *words, PRIVATE, PUBLIC).returncode == 0
    try:
        assert eventually(lambda: f"{PUBLIC} answers" in output_of(anybody, "one"))
        changing = [*line(anybody)[: -len(anybody.cellhold())], anybody.python, "-c", _CHANGE, "one", "allow=10.1.2.3"]
        changed = subprocess.run(changing, capture_output=True, text=True, cwd=anybody.place, timeout=60, check=False)
        assert changed.stdout.splitlines() == [f"{PRIVATE}:80", "slirp4netns True"], changed
        assert eventually(lambda: f"{PRIVATE} answers" in output_of(anybody, "one"))
        pid = json.loads(cellhold(anybody, "inspect", "one").stdout)[0]["State"]["Pid"]
        kinds = inside(pid, "tc", "qdisc", "show")
        assert "qdisc tbf 1: dev eth0 root refcnt 2 rate 2Mbit" in kinds
        assert "qdisc tbf 1: dev ifb-in root refcnt 2 rate 8Mbit" in kinds
    finally:
        cellhold(anybody, "rm", "-f", "one")
