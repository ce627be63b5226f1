"""What has gone over a network device, by proc_pid_net(5)."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

# Where the numbers stand in a line of /proc/net/dev, after the device's name.
_RECEIVED_BYTES, _RECEIVED_PACKETS, _SENT_BYTES, _SENT_PACKETS = 0, 1, 8, 9


class Traffic(NamedTuple):
    """Bytes and packets since the device was made; None where it is gone."""

    received_bytes: int | None = None
    sent_bytes: int | None = None
    received_packets: int | None = None
    sent_packets: int | None = None

    def at_peer(self) -> Traffic:
        """Return it as the other end of the same veth pair counts it."""
        return Traffic(self.sent_bytes, self.received_bytes, self.sent_packets, self.received_packets)


def read(process: str, device: str) -> Traffic:
    """Read the counters of a device in the network namespace of a process. process: a pid, or "thread-self"."""
    with suppress(OSError), open(f"/proc/{process}/net/dev", encoding="ascii") as file:  # it has just ended
        for line in file:
            name, colon, words = line.partition(":")
            if colon and name.strip() == device:
                numbers = [int(word) for word in words.split()]
                return Traffic(numbers[_RECEIVED_BYTES], numbers[_SENT_BYTES], numbers[_RECEIVED_PACKETS], numbers[_SENT_PACKETS])
    return Traffic()
