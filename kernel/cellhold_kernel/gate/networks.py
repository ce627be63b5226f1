"""The network of a notebook's container: which one, its egress, its ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellhold.errors import NotAllowed
from cellhold.spec.fields import BY_KEY
from cellhold.spec.networks import NONE, is_own
from cellhold.spec.spec import LOOPBACK, shares_network
from cellhold_kernel.settings.policy import EGRESSES
from cellhold_kernel.settings.settings import Trust

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cellhold.spec.spec import Port
    from cellhold_kernel.settings.policy import Policy

ITS_KEYS = ("ports", "egress", *(key for key, field in BY_KEY.items() if field.needs_network))  # that need a network of its own
_EGRESS = "internet"  # of a notebook that has a network and sets no egress
_PORTS_MOST = 256
_FIRST_PORT = 1024  # lower ones need root, which no cell is (ip_unprivileged_port_start of ip-sysctl)


def check(values: Mapping[str, Any], policy: Policy) -> None:
    """Raise NotAllowed for a network that the policy does not list.

    "host" and "container:NAME", which belong to others, must be listed.
    """
    network = str(values.get("network", NONE))
    word = network.partition(":")[0]
    if policy.networks is None and shares_network(network):
        raise NotAllowed(
            f"cannot use network={network}: it is not the notebook's own, and reaches whatever its owner reaches",
            hint=f'network=bridge, or the administrator writes networks = ["none", "{word}"] in {policy.path}, [ceilings]',
        )
    if policy.networks is not None and word not in policy.networks:
        raise policy.above(f"network={network}", "networks", policy.networks)


def complete(values: dict[str, Any], policy: Policy) -> None:
    """Set the egress policy if it is not set. Raises NotAllowed above the ceiling."""
    if not is_own(str(values.get("network", NONE))):
        return
    default = EGRESSES[min(EGRESSES.index(_EGRESS), EGRESSES.index(policy.egress))]
    asked = str(values.setdefault("egress", default))
    rank = EGRESSES.index(asked) if asked in EGRESSES else len(EGRESSES) - 1  # what a list allows cannot be compared
    if rank > EGRESSES.index(policy.egress):
        raise policy.above(f"egress={asked}", "egress", policy.egress)


def check_ports(ports: Sequence[Port], trust: Trust) -> None:
    """Raise NotAllowed for ports that a notebook cannot publish.

    trust: of the source of the request.
    """
    if beyond := next((port for port in ports if port.address != LOOPBACK), None):
        raise NotAllowed(
            f"cannot publish on {beyond.address}: a notebook publishes on {LOOPBACK} only",
            hint=f"{beyond.host or beyond.container}:{beyond.container}",
        )
    if trust is Trust.HOST:
        return
    if low := next((port for port in ports if port.host is not None and port.host < _FIRST_PORT), None):
        raise NotAllowed(
            f"cannot publish port {low.host}: those below {_FIRST_PORT} are root's",
            hint=f"{low.container} alone takes any free port",
        )
    if len(ports) > _PORTS_MOST:
        raise NotAllowed(f"cannot publish {len(ports)} ports: a notebook's container has at most {_PORTS_MOST}")
