"""`%network` shows the container's connections and what was refused.

`%network egress=...` changes the policy of the running container.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, NotSupported
from cellhold.network import egress
from cellhold.spec.networks import NONE
from cellhold.spec.spec import shares_network
from cellhold_kernel.engine.base import Topic
from cellhold_kernel.protocol.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cellhold_kernel.engine.cell_kernel import CellKernel
    from cellhold_kernel.engine.session import Session


def change(session: Session, texts: Mapping[str, str]) -> str:
    """Change the egress policy now; return a message for the user.

    Raises NotSupported, NotAllowed (the machine's policy) or InvalidSpec.
    """
    for key, text in texts.items():
        if key != "egress":
            raise NotSupported(
                f"cannot change {key} of a running container by %network",
                hint=f"%container {key}={text} makes a fresh one, without the variables",
            )
    session.restrict(texts["egress"])
    return f"egress changed: {egress.parse(texts['egress'])}"


def mime_bundle(session: Session) -> dict[str, str]:
    """Return the connections as text, and as HTML with links to published ports."""
    kernel = session.current
    if kernel is None:
        raise CellholdError("cannot show the network: no container runs", hint="%container makes one")
    if kernel.spec.network == NONE:
        return {"text/plain": "network none: loopback only; %container network=bridge makes a fresh container with a network"}
    rows = list(_rows(kernel))
    width = max(len(name) for name, _value, _link in rows)
    text = "\n".join(f"{name:<{width}}  {value}" for name, value, _link in rows)
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th><td style="text-align:left">{_html(value, link)}</td></tr>'
        for name, value, link in rows
    )
    return {"text/plain": text, "text/html": f"<table>{cells}</table>"}


def _html(value: str, link: str) -> str:
    text = html.escape(value)
    return f'<a href="{html.escape(link)}" target="_blank" rel="noopener noreferrer">{text}</a>' if link else text


def _rows(kernel: CellKernel) -> Iterator[tuple[str, str, str]]:
    """Yield rows of name, value and link."""
    if shares_network(kernel.spec.network):
        yield "network", f"{kernel.spec.network}: shared with its owner, and not limited", ""
        return
    connections = kernel.sandbox.inspect(Topic.NETWORK)["connections"]
    for one in connections:
        addresses = f"{one['address']} {one['address6']}".rstrip()
        yield "network", f"{one['name']} ({one['subnet']})", ""
        yield "container", f"{one['inside']} {addresses}, device on the host {one['device']}", ""
        yield "host", f"{one['bridge']} {one['gateway']}", ""
        for port in one["ports"]:
            yield "published", port["told"], port["straight"]
            if port["proxied"]:
                yield "", "through the notebook server (only for cells that you trust)", port["proxied"]
        yield "egress", one["policy"], ""
        if one["received_bytes"] is not None:
            yield "received", f"{one['received']} packets, {one['received_bytes']} bytes", ""
            yield "sent", f"{one['sent']} packets, {one['sent_bytes']} bytes", ""
    for row in connections[0]["refused"] if connections else ():
        yield "refused", f"{escape(row['protocol'])} {escape(row['where'])}, {row['packets']} packets", ""
