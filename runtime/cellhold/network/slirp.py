"""slirp4netns(1), which ends by its exit descriptor.

That is our end of the gate, which says that PID 1 has ended.

Published TCP ports go by forwarding.py, as podman has its own program for them; those
of UDP, and those of containers with a rate, by slirp4netns.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from cellhold.errors import SetupFailed
from cellhold.network import forwarding, usermode_process

if TYPE_CHECKING:
    from pathlib import Path

    from cellhold.network.usermode_process import Endpoint
    from cellhold.spec.spec import Port

PROGRAM = "slirp4netns"
SOCKET = "slirp"
_SECONDS = 30.0
_MOST = 4096
_NS_GET_PARENT = 0xB702  # ioctl_ns(2)


def start(at: Endpoint) -> None:
    """Connect a container by it, and publish its ports. Raises SetupFailed."""
    control = at.directory / SOCKET
    control.unlink(missing_ok=True)
    forwarded = [port for port in at.lease.ports if port.protocol == "tcp" and not at.has_rates]
    with ExitStack() as closing:
        ready = forwarding.start(at, forwarded, closing)
        _start(at, control)
        for port in at.lease.ports:
            if port not in forwarded:
                _publish(control, port)
        if forwarded and not os.read(ready, 1):
            raise SetupFailed("cannot publish ports: the process that was to do it has ended at once", step="network.connect")


def _start(at: Endpoint, control: Path) -> None:
    """Start the program, and wait until the device is there."""
    ready, tell = os.pipe()
    ours = -1
    try:
        ours = fcntl.ioctl(at.user, _NS_GET_PARENT)  # the user namespace of our launcher: its sandbox takes a root to be made
        words = [
            "nsenter",
            f"--user=/proc/self/fd/{ours}",
            "--preserve-credentials",
            "--",
            PROGRAM,
            "--configure",
            f"--mtu={usermode_process.MTU}",
            "--disable-host-loopback",
            "--enable-sandbox",
            "--enable-seccomp",
            f"--cidr={at.network.subnet}",
            f"--exit-fd={at.gate}",
            f"--ready-fd={tell}",
            f"--api-socket={control}",
            "--netns-type=path",
            f"--userns-path=/proc/self/fd/{at.user}",
            f"/proc/self/fd/{at.namespace}",
            at.lease.inside,
        ]
        usermode_process.start(words, pass_fds=[at.gate, tell, at.namespace, at.user, ours])
        os.close(tell)
        tell = -1
        if not os.read(ready, 1):
            raise SetupFailed(
                f"cannot connect a container: {PROGRAM} has ended at once", step="network.connect", hint="is /dev/net/tun there?"
            )
    finally:
        for fd in (ready, ours, tell):
            if fd >= 0:
                os.close(fd)


def _publish(control: Path, port: Port) -> None:
    """Have the program answer for a port. Raises SetupFailed."""
    request = {
        "execute": "add_hostfwd",
        "arguments": {"proto": port.protocol, "host_addr": port.address, "host_port": port.host, "guest_port": port.container},
    }
    answer: dict[str, Any] = {}
    until = time.monotonic() + _SECONDS
    while not answer:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
                asking.settimeout(_SECONDS)
                asking.connect(str(control))
                asking.sendall(json.dumps(request).encode())
                asking.shutdown(socket.SHUT_WR)
                answer = json.loads(asking.recv(_MOST))
        except (OSError, ValueError) as error:
            if time.monotonic() > until:
                raise SetupFailed(f"cannot publish port {port.host}: {PROGRAM} does not answer: {error}", step="network.connect") from error
            time.sleep(0.01)
    if "error" in answer:
        raise SetupFailed(f"cannot publish port {port.host}: {answer['error'].get('desc', 'refused')}", step="network.connect")
