"""Networks: whether containers can be connected to anything.

Tried in a network namespace that ends with the trial.
"""

from __future__ import annotations

import shutil

from cellhold.doctor.feature import Feature, MissingError
from cellhold.doctor.trial import trial
from cellhold.network import sysctl
from cellhold.network.kinds import usermode


def _usermode() -> str:
    if (why := usermode.missing()) is not None:
        raise MissingError(why)
    return ", ".join(filter(shutil.which, usermode.PROGRAMS))


def _ipv6() -> str:
    if not sysctl.has_ipv6():
        raise MissingError("/proc/sys/net/ipv6/conf/all/disable_ipv6 is not 0")
    return "yes"


FEATURES = (
    Feature(
        name="bridge-networks",
        can="connect containers to each other and to the world (network=bridge)",
        attempt=trial("network"),
        remedy="run as root, with nftables (apt install nftables) and a kernel with bridge, veth and nf_tables (NAT, fib, bridge family)",
    ),
    Feature(
        name="ipv6",
        can="give containers on a bridge IPv6 addresses, too",
        attempt=_ipv6,
        remedy="sysctl net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0, where this host is to speak IPv6",
    ),
    Feature(
        name="rootless-network",
        can="connect containers to the world without root",
        attempt=_usermode,
        remedy="apt install slirp4netns (or passt), and let everybody open /dev/net/tun (chmod 666, modprobe tun)",
    ),
)
