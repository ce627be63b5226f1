"""pasta(1) of passt, and a shell that ends it.

The shell is at our end of the gate, and sees there that PID 1 has ended.

Both are in the container's user namespace, where it may enter the network namespace,
and in nothing else of the container's.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cellhold.errors import SetupFailed
from cellhold.network import usermode_process

if TYPE_CHECKING:
    from cellhold.network.usermode_process import Endpoint
    from cellhold.spec.spec import Port

PROGRAM = "pasta"
FILES = _PID, _LOG = ("pasta.pid", "pasta.log")
_SECONDS = 30.0
# Standard input is our end of the gate, standard output is closed when pasta has ended.
# The namespace is pasta's standard input, as some versions close all other descriptors
# before they look for it.
_KEEPER = """
log=$1 namespace=$2; shift 2
exec 3<&0
"$@" --netns /proc/self/fd/0 <"/proc/self/fd/$namespace" >/dev/null 2>"$log" 3<&- &
pasta=$!
{ read -r _ <&3; kill "$pasta"; } >/dev/null 2>&1 &
watching=$!
wait "$pasta"
kill "$watching"
"""
_START = 'exec 3<&0; "$0" "$@" <&3 2>/dev/null 3<&- &'


def start(at: Endpoint) -> None:
    """Connect a container by it, with its ports published. Raises SetupFailed."""
    pid, log = at.directory / _PID, at.directory / _LOG
    pid.unlink(missing_ok=True)
    words = [
        *("nsenter", f"--user=/proc/self/fd/{at.user}", "--preserve-credentials", "--"),
        *("/bin/sh", "-c", _KEEPER, "cellhold", str(log), str(at.namespace)),
        *(PROGRAM, "--foreground", "--config-net", "--ipv4-only", "--no-map-gw", "--netns-only"),
        *("--ns-ifname", at.lease.inside, "--mtu", str(usermode_process.MTU), "--pid", str(pid)),
        *("--address", at.lease.address, "--netmask", str(at.network.prefix), "--gateway", at.network.gateway),
        *("--dns-forward", at.names),
        *_ports("tcp", at.lease.ports),
        *_ports("udp", at.lease.ports),
        *("--tcp-ns", "none", "--udp-ns", "none"),
    ]
    ended, tell = os.pipe()
    os.set_blocking(at.gate, True)  # a time-out of ours would be the shell's as well
    try:
        usermode_process.start(words, script=_START, pass_fds=[at.namespace, at.user], stdin=at.gate, stdout=tell)
        os.close(tell)
        tell = -1
        os.set_blocking(ended, False)
        until = time.monotonic() + _SECONDS
        while not (pid.exists() and pid.read_text(encoding="ascii")):
            with suppress(BlockingIOError):
                os.read(ended, 1)
                raise SetupFailed(f"cannot connect a container: {_failure(log.read_text(errors='replace'))}", step="network.connect")
            if time.monotonic() > until:
                raise SetupFailed(f"cannot connect a container: {PROGRAM} was not ready within {_SECONDS:g} s", step="network.connect")
            time.sleep(0.002)
    finally:
        for fd in (ended, tell):
            if fd >= 0:
                os.close(fd)


def _ports(protocol: str, ports: tuple[Port, ...]) -> list[str]:
    """The options that publish those of a protocol, and no others."""
    texts = [f"{port.address}/{port.host}:{port.container}" for port in ports if port.protocol == protocol]
    return [word for text in texts or ["none"] for word in (f"--{protocol}-ports", text)]


def _failure(text: str) -> str:
    """Return the last line of its log that is about its failure.

    It writes lines on the system log, which it does not reach, as well.
    """
    lines = [line for line in text.splitlines() if not line.startswith("Failed to send")]
    return f"{PROGRAM}: {lines[-1]}" if lines else f"{PROGRAM} has ended at once"
