"""Networks: whether containers can be connected to something, tried in a network namespace that goes with the trial."""

from __future__ import annotations

from cellhold.doctor.feature import Feature
from cellhold.doctor.trial import trial

FEATURES = (
    Feature(
        name="bridge-networks",
        can="connect containers to each other and to the world (network=bridge)",
        attempt=trial("network"),
        remedy="run as root, with nftables (apt install nftables) and a kernel with bridge, veth and nf_tables (NAT, fib, bridge family)",
    ),
)
