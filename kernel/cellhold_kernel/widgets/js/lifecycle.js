// The states of a container, and the buttons for its actions.

import { add, fresh } from "./dom.js";

export const ICONS = { created: "○", running: "▶", paused: "‖", stopped: "■", removed: "✕" };
export const WORDS = { created: "starting" };
const CONFIRM = { kill: "kill it?", restart: "lose its files?", remove: "remove it?" };
const PLACES = { created: [50, 26], running: [176, 26], paused: [302, 26], stopped: [176, 92], removed: [50, 92] };
const MOVES = [
  ["created", "running", "start"], ["running", "paused", "pause"], ["paused", "running", "unpause"],
  ["running", "stopped", "stop · kill"], ["stopped", "running", "start"], ["stopped", "removed", "remove"],
];
const SIGNALS = ["KILL", "TERM", "INT", "HUP", "QUIT", "USR1", "USR2"];

export function diagram(parent, state) {
  const svg = add(parent, "svg:svg", { viewBox: "0 0 352 118", role: "img", class: "ch-states", "aria-label": `Lifecycle: the container is ${WORDS[state] ?? state}` });
  const arrow = fresh("ch-arrow");
  const marker = add(add(svg, "svg:defs"), "svg:marker", { id: arrow, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" });
  add(marker, "svg:path", { d: "M0 0L8 4L0 8z", class: "ch-arrow" });
  for (const [from, to, words] of MOVES) {
    const [x1, y1] = PLACES[from], [x2, y2] = PLACES[to];
    const length = Math.hypot(x2 - x1, y2 - y1), ux = (x2 - x1) / length, uy = (y2 - y1) / length;
    const both = MOVES.some(([a, b]) => a === to && b === from), aside = both ? 6 : 0, far = Math.abs(ux) * 40 + Math.abs(uy) * 14;
    const on = from === state ? " on" : "";
    add(svg, "svg:line", {
      x1: x1 + ux * far - uy * aside, y1: y1 + uy * far + ux * aside, x2: x2 - ux * far - uy * aside, y2: y2 - uy * far + ux * aside,
      class: `ch-edge${on}`, "marker-end": `url(#${arrow})`,
    });
    const upright = Math.abs(uy) > 0.5;
    add(svg, "svg:text", {
      x: (x1 + x2) / 2 + (upright ? (uy > 0 ? -11 : 11) : 0), y: (y1 + y2) / 2 + (upright ? 3 : ux > 0 ? (both ? 17 : -5) : both ? -10 : -5),
      class: `ch-small${on}`, "text-anchor": upright ? (uy > 0 ? "end" : "start") : "middle",
    }, words);
  }
  for (const [name, [x, y]] of Object.entries(PLACES)) {
    const on = name === state ? ` on ${name}` : "";
    add(svg, "svg:rect", { x: x - 38, y: y - 12, width: 76, height: 24, rx: 5, class: `ch-node${on}` });
    add(svg, "svg:text", { x, y: y + 4, class: `ch-node-text${on}`, "text-anchor": "middle" }, `${ICONS[name]} ${WORDS[name] ?? name}`);
  }
}

export class Buttons {
  constructor(parent, act, only = null) {
    this.act = act;
    this.only = only;
    this.bar = add(parent, "div", { class: "ch-bar", role: "toolbar", "aria-label": "Container actions" });
    this.buttons = {};
    this.bar.addEventListener("keydown", (event) => this.move(event));
  }

  show(actions) {
    for (const [action, why] of Object.entries(actions)) {
      if (this.only && !this.only.includes(action)) continue;
      const button = (this.buttons[action] ??= this.make(action));
      button.setAttribute("aria-disabled", String(why !== null));
      button.title = why === null ? action : `${action}: ${why}`;
      if (why === null) button.removeAttribute("aria-description");
      else button.setAttribute("aria-description", why);
      if (why !== null) this.ask(button, action, false);
    }
    if (this.signal) this.signal.disabled = actions.kill !== null;
  }

  make(action) {
    const button = add(this.bar, "button", { type: "button", class: `ch-button${action in CONFIRM ? " danger" : ""}`, "data-action": action }, action);
    button.tabIndex = Object.keys(this.buttons).length ? -1 : 0;
    button.addEventListener("click", () => this.click(button, action));
    if (action === "kill" && !this.only) {
      this.signal = add(this.bar, "select", { class: "ch-signal", "aria-label": "Signal that kill sends", title: "the signal that kill sends" });
      for (const name of SIGNALS) add(this.signal, "option", { value: name }, name);
    }
    return button;
  }

  click(button, action) {
    if (button.getAttribute("aria-disabled") === "true") return;
    const signal = action === "kill" ? this.signal?.value ?? "KILL" : null;
    if (action in CONFIRM && !button.dataset.asked && (signal === null || signal === "KILL")) {
      this.ask(button, action, true);
      return;
    }
    this.ask(button, action, false);
    this.act(action, ...(signal === null || signal === "KILL" ? [] : [signal]));
  }

  ask(button, action, asks) {
    clearTimeout(button.timer);
    button.textContent = asks ? CONFIRM[action] : action;
    if (asks) {
      button.dataset.asked = "1";
      button.timer = setTimeout(() => this.ask(button, action, false), 4000);
    } else delete button.dataset.asked;
  }

  move(event) {
    if (event.target === this.signal) return;
    const all = [...this.bar.querySelectorAll("button")];
    const at = all.indexOf(document.activeElement);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    for (const one of all) one.tabIndex = -1;
    const chosen = all[(next + all.length) % all.length];
    chosen.tabIndex = 0;
    chosen.focus();
  }
}
