"""What Spec.network can say beside the name of a network.

These are the words of docker's `--network`.
"""

from __future__ import annotations

from cellhold.spec.spec import shares_network

NONE = "none"
BRIDGE = "bridge"  # the network that is always there
RESERVED = (NONE, "host", "container", "default", "slirp4netns", "pasta")  # not names of networks


def is_own(word: str) -> bool:
    """Whether a container has an address of its own on that."""
    return word != NONE and not shares_network(word)
