// The container's connections: outside, host, bridge, veth; published ports, and refused packets.

import { add } from "./dom.js";

const PROXIED = "Works from any machine. A page that is opened this way can do at the notebook server whatever you can: only for cells that you trust.";

export function wires(root, connections) {
  root.replaceChildren();
  root.hidden = !connections?.length;
  for (const one of connections ?? []) {
    const label = `${one.inside} ${one.address}${one.address6 ? ` and ${one.address6}` : ""} on network ${one.name}, through ${one.device} and ${one.bridge}, ${one.gateway}; egress ${one.policy}`;
    const svg = add(root, "svg:svg", { viewBox: "0 0 680 74", role: "img", "aria-label": label });
    const boxes = [
      [4, 96, one.internal ? "no outside" : "outside", one.internal ? "internal" : `egress ${one.policy}`],
      [150, 96, "this host", one.internal ? "" : "NAT"],
      [296, 166, one.bridge, `${one.gateway} · ${one.subnet}`],
      [512, 164, `${one.inside} · container`, one.address],
    ];
    boxes.forEach(([x, width, name, note], index) => {
      add(svg, "svg:rect", { x, y: 18, width, height: 38, rx: 5, class: index === 3 ? "ch-node on running" : "ch-node" });
      add(svg, "svg:text", { x: x + width / 2, y: 34, class: "ch-node-text", "text-anchor": "middle" }, shorter(name, width));
      add(svg, "svg:text", { x: x + width / 2, y: 48, class: "ch-small", "text-anchor": "middle" }, shorter(note, width));
      const before = boxes[index - 1];
      if (before && !(index === 1 && one.internal)) add(svg, "svg:line", { x1: before[0] + before[1], y1: 37, x2: x, y2: 37, class: "ch-edge on" });
    });
    add(svg, "svg:text", { x: 487, y: 12, class: "ch-small", "text-anchor": "middle" }, one.received === null ? "packets not measured" : `${one.device}: ${one.received} packets in, ${one.sent} out`);
    if (one.ports.length) {
      const list = add(root, "p", { class: "ch-note" }, "published: ");
      one.ports.forEach((port, index) => {
        const elsewhere = { target: "_blank", rel: "noopener noreferrer" };
        if (port.straight) add(list, "a", { href: port.straight, ...elsewhere }, port.told);
        else add(list, "span", {}, port.told);
        if (port.proxied) {
          add(list, "span", {}, " or ");
          add(list, "a", { href: port.proxied, title: PROXIED, ...elsewhere }, "through the notebook server");
        }
        if (index + 1 < one.ports.length) add(list, "span", {}, ", ");
      });
    }
    if (one.refused.length) {
      const details = add(root, "details", { class: "ch-files", open: "" });
      add(details, "summary", {}, `refused by egress ${one.policy}: ${one.places_refused} place${one.places_refused === 1 ? "" : "s"}`);
      const list = add(details, "ul", { class: "ch-paths" });
      for (const place of one.refused) {
        const item = add(list, "li");
        add(item, "span", {}, "⊘");
        add(item, "span", {}, `${place.protocol} ${place.where}`);
        add(item, "span", { class: "ch-number" }, `${place.packets} packet${place.packets === 1 ? "" : "s"}`);
      }
    }
  }
}
const shorter = (text, width) => (text.length * 5.4 > width ? `${text.slice(0, Math.floor(width / 5.4) - 1)}…` : text);
