"""A network to try things in, with nothing of this machine's: a network namespace that looks like a host's, and a world beyond it.

    [containers] -- bridge -- the namespace that enter() moves into, HOST -- up0 .. out0 -- BEYOND, the world's namespace

In the world there is a service at each of ADDRESSES: it says by which address it sees who asks, and on STREAM it sends SIZE bytes.
It takes root, ip (iproute2) and nsenter (util-linux).
"""

from __future__ import annotations

import os
import subprocess
import sys
from ctypes import CDLL, get_errno
from typing import NamedTuple

PUBLIC, METADATA, PRIVATE = "9.9.9.9", "169.254.169.254", "10.1.2.3"
PUBLIC6, METADATA6, PRIVATE6 = "2620:fe::9", "fd00:ec2::254", "fd12:3456::3"
ADDRESSES = (PUBLIC, METADATA, PRIVATE, PUBLIC6, METADATA6, PRIVATE6)
HOST, BEYOND = "192.0.2.1", "192.0.2.2"
HOST6, BEYOND6 = "2001:db8::1", "2001:db8::2"
PORTS, STREAM, SIZE = (80, 81), 82, 8_000_000
_CLONE_NEWNET = 0x40000000
_SERVICE = """
import socket, sys, threading
stream, size, *ports = map(int, sys.argv[1:])
kind = dict(family=socket.AF_INET6, dualstack_ipv6=True) if socket.has_dualstack_ipv6() else {}
def answer(back, who, port):
    words = f"{back.getsockname()[0]} answers {who[0]}\\n".replace("::ffff:", "")  # as IPv6 writes an address of IPv4
    back.sendall(bytes(size) if port == stream else words.encode())
    back.close()
def serve(one, port):
    while True:
        threading.Thread(target=answer, args=(*one.accept(), port)).start()
for port in (stream, *ports):
    threading.Thread(target=serve, args=(socket.create_server(("", port), **kind), port)).start()
print("up", flush=True)
"""


class World(NamedTuple):
    """The world: the process that serves there."""

    serving: subprocess.Popen[str]

    def run(self, *words: str) -> str:
        """Run a program there; what it prints."""
        return output("nsenter", f"--net=/proc/{self.serving.pid}/ns/net", "--", *words)

    def end(self) -> None:
        """Let it go."""
        self.serving.kill()
        self.serving.communicate()


def output(*words: str) -> str:
    """What a program prints, here."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def enter() -> World:
    """Move this thread, and all that it starts from now on, into a new network namespace, and make a world beyond it."""
    if CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(get_errno(), "cannot make a network namespace: it takes root")
    numbers = map(str, (STREAM, SIZE, *PORTS))
    serving = subprocess.Popen(
        ["unshare", "--net", "--", sys.executable, "-I", "-S", "-c", _SERVICE, *numbers], stdout=subprocess.PIPE, text=True
    )
    world = World(serving)
    assert serving.stdout is not None
    serving.stdout.readline()
    output("ip", "link", "set", "lo", "up")
    output("ip", "link", "add", "up0", "type", "veth", "peer", "name", "out0", "netns", str(serving.pid))
    output("ip", "link", "set", "up0", "up")
    world.run("ip", "link", "set", "lo", "up")
    world.run("ip", "link", "set", "out0", "up")
    for ours, theirs in ((HOST, BEYOND), (HOST6, BEYOND6)) if has_ipv6() else ((HOST, BEYOND),):
        output("ip", "address", "add", *_length(ours, 24, 64), "dev", "up0")
        world.run("ip", "address", "add", *_length(theirs, 24, 64), "dev", "out0")
        output("ip", "route", "add", "default", "via", theirs)
    for address in ADDRESSES if has_ipv6() else ADDRESSES[:3]:
        world.run("ip", "address", "add", *_length(address, 32, 128), "dev", "lo")
    return world


def has_ipv6() -> bool:
    """Whether this machine speaks it."""
    return os.path.exists("/proc/sys/net/ipv6")


def _length(address: str, ipv4: int, ipv6: int) -> tuple[str, ...]:
    """Words of ip(8) for an address; one of IPv6 can be used at once."""
    return (f"{address}/{ipv6}", "nodad") if ":" in address else (f"{address}/{ipv4}",)


def inside(pid: int, *words: str) -> str:
    """Run a program in the network namespace of a process; what it prints."""
    return output("nsenter", f"--net=/proc/{pid}/ns/net", "--", *words)


if __name__ == "__main__":  # a shell in it
    os.environ["PS1"] = "small world # "
    made = enter()
    subprocess.run([os.environ.get("SHELL", "/bin/sh")], check=False)
    made.end()
