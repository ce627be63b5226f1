"""`%network` alone shows how the container is connected and what it was refused; `%network egress=...` changes the policy while it runs."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from cellhold.errors import CellholdError, NotSupported
from cellhold.network import NONE, egress, ports
from cellhold.spec.spec import shares_network
from cellhold_kernel.protocol.text import escape
from cellhold_kernel.settings.visiting import proxied, straight
from cellhold_kernel.widgets.network_view import refused_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cellhold_kernel.engine.local.cell_kernel import CellKernel
    from cellhold_kernel.engine.session import Session


def change(session: Session, texts: Mapping[str, str]) -> str:
    """Change the policy now; gives a sentence. Raises NotSupported, NotAllowed (the machine's policy) or InvalidSpec."""
    for key, text in texts.items():
        if key != "egress":
            raise NotSupported(
                f"cannot change {key} of a running container by %network",
                hint=f"%container {key}={text} makes a fresh one, without the variables",
            )
    session.restrict(texts["egress"])
    return f"egress changed: {egress.parse(texts['egress'])}"


def mime_bundle(session: Session) -> dict[str, str]:
    """How it is connected, as text and as HTML with links to what is published."""
    kernel = session.current
    if kernel is None:
        raise CellholdError("cannot show the network: no container runs", hint="%container starts one")
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
    shown = html.escape(value)
    return f'<a href="{html.escape(link)}" target="_blank" rel="noopener noreferrer">{shown}</a>' if link else shown


def _rows(kernel: CellKernel) -> Iterator[tuple[str, str, str]]:
    """Name, value, link."""
    if shares_network(kernel.spec.network):
        yield "network", f"{kernel.spec.network}: nothing of it is the container's own, and nothing is limited", ""
        return
    for one in kernel.box.connections():
        lease, network = one.lease, one.network
        yield "network", f"{network.name} ({network.subnet})", ""
        addresses = f"{lease.address} {lease.address6}".rstrip()
        yield "container", f"{lease.inside} {addresses}, its cable is {lease.device}", ""
        yield "host", f"{network.bridge} {network.gateway}", ""
        for port in lease.ports:
            yield "published", ports.format(port), straight(port)
            if path := proxied(port):
                yield "", "through the notebook server (only for cells that you trust)", path
        yield "egress", lease.policy, ""
        if one.received_bytes is not None:
            yield "received", f"{one.received_packets} packets, {one.received_bytes} bytes", ""
            yield "sent", f"{one.sent_packets} packets, {one.sent_bytes} bytes", ""
    for place in refused_by(kernel):
        yield "refused", f"{escape(place.protocol)} {escape(place.where)}, {place.packets} packets", ""
