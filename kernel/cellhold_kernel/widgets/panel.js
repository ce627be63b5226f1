// The container panel: one module, no dependency. It draws what the host kernel sends, and asks it for what a button says.
//
//   host -> view   {t: "full", ...}  everything      {t: "s", s: [sample, ...]}  new samples      {t: "state", ...}  what has changed
//                  {t: "ack", id, ok, text}          what became of a click
//                  {t: "which", path, steps}  which layer answers for a path      {t: "browse", layer, path, entries}  what one has there
//                  {t: "compare", other, paths}  how the image differs from another
//   view -> host   {do: "hello" | "awake" | "asleep", view}      {do: "act", id, action, arguments}
//                  {do: "which", path}      {do: "browse", layer, path}      {do: "compare", other}
//
// A sample is [seconds, cores, memory, memory without page cache, bytes read/s, written/s, processes, writable layer, throttled, paused,
// the shares of time in which tasks waited for processors, memory, I/O, and bytes received/s, sent/s over its networks]; null is "not measured", never 0.
// The model's `parts` says what of all that is drawn.

const PROXIED = "From any machine. A page that comes this way may do at the notebook server what you may: only for cells that you trust.";
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 330, HEIGHT = 132, LEFT = 8, TOP = 22, RIGHT = 8, BOTTOM = 26;
const PRESSURE = 16; // how high a pressure of 100 % is drawn
const POINTS = 300;
const CELLS = 200;
const SHORTEST = 30; // seconds: the axis of a panel that has just been opened
const WINDOWS = [[60, "1 min"], [300, "5 min"], [3600, "1 h"]];
const ICONS = { created: "○", running: "▶", paused: "‖", stopped: "■", removed: "✕" };
const WORDS = { created: "starting" };
const CONFIRM = { kill: "kill it?", restart: "lose its files?", remove: "remove it?" };
const PLACES = { created: [50, 26], running: [176, 26], paused: [302, 26], stopped: [176, 92], removed: [50, 92] };
const MOVES = [
  ["created", "running", "start"], ["running", "paused", "pause"], ["paused", "running", "unpause"],
  ["running", "stopped", "stop · kill"], ["stopped", "running", "start"], ["stopped", "removed", "remove"],
];
const SIGNALS = ["KILL", "TERM", "INT", "HUP", "QUIT", "USR1", "USR2"];
const KINDS = { A: ["+", "added"], C: ["~", "changed"], D: ["−", "deleted"] };
const MARKS = { oom: "✖ OOM kill", pids: "⊘ fork refused", ended: "■ ended", started: "▶ started" };

let serial = 0;

// A field to type into: its keys are its own, and not the notebook's.
function field(parent, attributes) {
  const input = add(parent, "input", { type: "text", "data-lm-suppress-shortcuts": "true", ...attributes });
  input.addEventListener("keydown", (event) => event.stopPropagation());
  return input;
}

function add(parent, kind, attributes = {}, text = null) {
  const isSvg = kind.startsWith("svg:");
  const element = isSvg ? document.createElementNS(SVG, kind.slice(4)) : document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  parent?.append(element);
  return element;
}

// ------------------------------------------------------------------------------------------------------------------------- values

function bytes(value) {
  if (value === null || value === undefined) return "not measured";
  for (const [unit, factor] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (value >= factor) return `${(value / factor).toFixed(value >= 100 * factor ? 0 : 1)} ${unit}`;
  }
  return `${Math.round(value)} bytes`;
}
const cores = (value) => (value === null ? "not measured" : value.toFixed(2));
const count = (value) => (value === null ? "not measured" : String(Math.round(value)));
const rate = (value) => (value === null ? "not measured" : `${bytes(value)}/s`);
const seconds = (value) => (value === null ? "–" : value < 60 ? `${value.toFixed(1)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`);
const ago = (value) => (value < 60 ? `−${Math.round(value)} s` : `−${Math.round(value / 60)} min`);

function against(now, limit, show, unit) {
  if (now === null) return "not measured";
  const suffix = unit ? ` ${unit}` : "";
  return limit ? `${show(now)} / ${show(limit)}${suffix} (${Math.round((100 * now) / limit)} %)` : `${show(now)}${suffix}, no limit`;
}

const CHARTS = [
  { key: "cpu", name: "CPU", at: 1, limit: "cpus", show: cores, unit: "cores", floor: 0.1, throttled: true, wait: 10 },
  { key: "memory", name: "Memory", at: 2, area: 3, limit: "memory", show: bytes, floor: 1 << 20, wait: 11, note: "area: without page cache" },
  { key: "io", name: "Block I/O", at: (s) => (s[4] === null ? null : s[4] + s[5]), show: rate, floor: 1 << 16, wait: 12, note: "read and written" },
  { key: "pids", name: "Processes", at: 6, limit: "pids", show: count, floor: 4 },
  { key: "disk", name: "Writable layer", at: 7, limit: "disk", show: bytes, floor: 1 << 16 },
  { key: "received", name: "Received", at: 13, limit: "received", show: rate, floor: 1 << 12, needs: "network" },
  { key: "sent", name: "Sent", at: 14, limit: "sent", show: rate, floor: 1 << 12, needs: "network" },
];

// ------------------------------------------------------------------------------------------------------------------------- charts

class Chart {
  constructor(parent, kind) {
    this.kind = kind;
    this.figure = add(parent, "figure", { tabindex: 0, class: "ch-chart", "data-chart": kind.key });
    this.hatch = `ch-hatch-${kind.key}-${++serial}`;
  }

  value(sample) {
    return typeof this.kind.at === "function" ? this.kind.at(sample) : sample[this.kind.at];
  }

  draw(data, samples, begin, end) {
    const { kind } = this;
    this.figure.hidden = Boolean(kind.needs) && !data[kind.needs]?.length;
    if (this.figure.hidden) return;
    const limit = kind.limit ? data.limits[kind.limit] : null;
    const known = samples.map((sample) => this.value(sample)).filter((value) => value !== null);
    const now = known.length ? known[known.length - 1] : null;
    const peak = known.length ? Math.max(...known) : null;
    const top = Math.max((limit ?? 0) * 1.12, (peak ?? 0) * 1.08, kind.floor);
    const width = WIDTH - LEFT - RIGHT, height = HEIGHT - TOP - BOTTOM;
    const x = (time) => (LEFT + (width * (time - begin)) / (end - begin)).toFixed(1);
    const y = (value) => (TOP + height * (1 - value / top)).toFixed(1);
    const svg = add(null, "svg:svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    const pattern = add(add(svg, "svg:defs"), "svg:pattern", {
      id: this.hatch, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
    });
    add(pattern, "svg:line", { x1: 0, y1: 0, x2: 0, y2: 5, class: "ch-hatch" });
    data.cells.filter((cell) => (cell.end ?? end) > begin && cell.begin < end).forEach((cell, index) => {
      const from = Math.max(cell.begin, begin), to = Math.min(cell.end ?? end, end);
      add(svg, "svg:rect", { x: x(from), y: TOP, width: Math.max(x(to) - x(from), 1), height, class: `ch-cell${index % 2}` });
      if (x(to) - x(from) > 14) add(svg, "svg:text", { x: (+x(from) + +x(to)) / 2, y: TOP + height + 10, class: "ch-small", "text-anchor": "middle" }, `[${cell.number}]`);
    });
    if (kind.throttled) for (const [from, to] of bands(samples, 8)) {
      add(svg, "svg:rect", { x: x(from), y: TOP, width: Math.max(x(to) - x(from), 1), height, fill: `url(#${this.hatch})`, class: "ch-throttled" });
    }
    for (const [from, to] of bands(samples, 9)) {
      add(svg, "svg:rect", { x: x(from), y: TOP, width: Math.max(x(to) - x(from), 1), height, class: "ch-paused" });
      add(svg, "svg:text", { x: (+x(from) + +x(to)) / 2, y: TOP + height / 2 + 4, class: "ch-mark", "text-anchor": "middle" }, "‖");
    }
    if (kind.wait) for (const run of runs(samples, (sample) => sample[kind.wait] ?? null)) {
      const points = run.map(([time, value]) => `${x(time)},${(TOP + height - PRESSURE * Math.min(value, 1)).toFixed(1)}`);
      add(svg, "svg:polygon", { points: [`${x(run[0][0])},${TOP + height}`, ...points, `${x(run.at(-1)[0])},${TOP + height}`].join(" "), class: "ch-pressure" });
    }
    add(svg, "svg:rect", { x: LEFT, y: TOP, width, height, class: "ch-frame" });
    if (limit) {
      add(svg, "svg:line", { x1: LEFT, x2: LEFT + width, y1: y(limit), y2: y(limit), class: "ch-limit" });
      const above = +y(limit) - 2.5;
      add(svg, "svg:text", { x: LEFT + 3, y: above < TOP + 9 ? +y(limit) + 9 : above, class: "ch-small ch-limit-text" }, `limit ${kind.show(limit)}`);
    }
    if (kind.area) for (const run of runs(samples, (sample) => sample[kind.area])) {
      const points = run.map(([time, value]) => `${x(time)},${y(value)}`);
      add(svg, "svg:polygon", { points: [`${x(run[0][0])},${y(0)}`, ...points, `${x(run.at(-1)[0])},${y(0)}`].join(" "), class: "ch-area" });
    }
    for (const run of runs(samples, (sample) => this.value(sample))) {
      add(svg, "svg:polyline", { points: run.map(([time, value]) => `${x(time)},${y(value)}`).join(" "), class: "ch-line" });
    }
    const shown = data.marks.filter((mark) => mark.time > begin && (mark.kind !== "pids" || kind.key === "pids") && (mark.kind !== "oom" || kind.key === "memory"));
    for (const mark of shown) {
      add(svg, "svg:line", { x1: x(mark.time), x2: x(mark.time), y1: TOP, y2: TOP + height, class: `ch-event ch-${mark.kind}` });
      const late = x(mark.time) > WIDTH / 2;
      if (mark.kind === "oom" || mark.kind === "pids") {
        add(svg, "svg:text", { x: +x(mark.time) + (late ? -3 : 3), y: TOP + height - 4, class: "ch-mark", "text-anchor": late ? "end" : "start" }, MARKS[mark.kind]);
      }
    }
    add(svg, "svg:text", { x: LEFT, y: 13, class: "ch-name" }, kind.name);
    add(svg, "svg:text", { x: LEFT + width, y: 13, class: "ch-now", "text-anchor": "end" }, against(now, limit, kind.show, kind.unit));
    add(svg, "svg:text", { x: LEFT, y: HEIGHT - 4, class: "ch-small" }, ago(end - begin));
    const throttled = kind.throttled ? share(samples, 8) : null;
    const wait = kind.wait ? samples.at(-1)?.[kind.wait] ?? null : null;
    const after = kind.key === "disk" && !limit && now !== null ? "measured after each cell" : null;
    const notes = [after, throttled ? `▨ held back by the limit: ${Math.round(100 * throttled)} %` : kind.note, wait === null ? null : `▁ pressure ${Math.round(100 * wait)} %`];
    const note = notes.filter(Boolean).join(" · ");
    add(svg, "svg:text", { x: LEFT + width, y: HEIGHT - 4, class: "ch-small", "text-anchor": "end" }, note);
    this.figure.replaceChildren(svg);
    const events = shown.filter((mark) => mark.kind in MARKS).map((mark) => mark.text).join(" ");
    const says = `${kind.name}: now ${against(now, limit, kind.show, kind.unit)}${peak === null ? "" : `, peak ${kind.show(peak)}`}. ${note} ${events}`;
    this.figure.setAttribute("aria-label", says.trim());
  }
}

function bands(samples, at) {
  const found = [];
  samples.forEach((sample, index) => {
    if (!sample[at]) return;
    const from = index ? samples[index - 1][0] : sample[0];
    const last = found.at(-1);
    if (last && last[1] >= from - 0.01) last[1] = sample[0];
    else found.push([from, sample[0]]);
  });
  return found;
}

function share(samples, at) {
  const known = samples.filter((sample) => sample[at] !== null);
  return known.length ? known.reduce((sum, sample) => sum + sample[at], 0) / known.length : null;
}

function runs(samples, value) {
  const found = [];
  let run = [];
  for (const sample of samples) {
    const known = value(sample);
    if (known === null) {
      if (run.length) found.push(run);
      run = [];
    } else run.push([sample[0], known]);
  }
  if (run.length) found.push(run);
  return found.filter((one) => one.length > 1);
}

function thinned(samples) {
  const each = Math.ceil(samples.length / POINTS);
  if (each < 2) return samples;
  const kept = [];
  for (let index = 0; index < samples.length; index += each) {
    const group = samples.slice(index, index + each);
    kept.push(group[0].map((_, at) => (at === 0 ? group.at(-1)[0] : group.reduce((most, one) => (one[at] === null ? most : Math.max(most ?? one[at], one[at])), null))));
  }
  return kept;
}

// ---------------------------------------------------------------------------------------------------------------------- the states

function diagram(parent, state) {
  const svg = add(parent, "svg:svg", { viewBox: "0 0 352 118", role: "img", class: "ch-states", "aria-label": `Lifecycle: the container is ${WORDS[state] ?? state}` });
  const arrow = `ch-arrow-${++serial}`;
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

class Buttons {
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

// ----------------------------------------------------------------------------------------------------------------- layers and cells

const counts = (found) => `+${found.added} ~${found.changed} −${found.deleted}`;
const of = (kind) => KINDS[kind] ?? ["", "there for what is in it"];

// Rows of [kind, path, bytes] as a list. after: what a row's text goes on with.
function paths(parent, rows, unlisted, after = () => "") {
  const list = add(parent, "ul", { class: "ch-paths", tabindex: 0 }); // which may scroll
  for (const row of rows) {
    const [sign, words] = of(row[0]);
    const item = add(list, "li", { title: `${words}: ${row[1]}` });
    add(item, "b", { "aria-label": words }, sign);
    add(item, "span", { class: "ch-instruction" }, row[1]);
    add(item, "span", { class: "ch-number" }, row[2] ? bytes(row[2]) : "");
    add(item, "span", { class: "ch-note" }, after(row));
  }
  if (unlisted) add(list, "li", {}, `… and ${unlisted} more`);
}

class LayerStack {
  constructor(parent, ask) {
    this.ask = ask;
    this.tree = add(parent, "ul", { class: "ch-layers", "aria-label": "Layers, the topmost first" });
    this.waste = add(parent, "div", { class: "ch-waste" });
    this.look = add(parent, "form", { class: "ch-look" });
    this.text = field(this.look, { placeholder: "/a/path, or an image to compare with", "aria-label": "A path of the image, or an image to compare it with" });
    add(this.look, "button", { type: "submit", class: "ch-button", title: "which of the layers answers for the path" }, "which layer?");
    this.compare = add(this.look, "button", { type: "button", class: "ch-button", title: "what this image has that the other has not: a name, or a number of its own lowest layers" }, "compare");
    this.answer = add(parent, "div", { class: "ch-answer", "aria-live": "polite" });
    this.look.addEventListener("submit", (event) => this.asked(event, { do: "which", path: this.text.value.trim() }));
    this.compare.addEventListener("click", (event) => this.asked(event, { do: "compare", other: this.text.value.trim() }));
  }

  asked(event, question) {
    event.preventDefault();
    if (this.text.value.trim()) this.ask(question);
  }

  show(data) {
    const { disk, layers, written } = data;
    const known = JSON.stringify([layers, written, data.waste, data.limits.disk]);
    if (known !== this.known) this.draw(data);
    this.known = known;
    const size = disk ?? written.bytes ?? null;
    const limit = data.limits.disk;
    this.size.textContent = size === null ? "not measured" : limit ? `${bytes(size)} / ${bytes(limit)}` : bytes(size);
    const largest = Math.max(1, size ?? 0, ...layers.map((layer) => layer.size ?? 0));
    this.bars.forEach(([bar, own]) => (bar.style.width = `${Math.max(2, 100 * Math.sqrt((own ?? size ?? 0) / largest))}%`));
  }

  draw(data) {
    const open = new Set([...this.tree.querySelectorAll("details[open]")].map((one) => one.dataset.layer));
    this.tree.replaceChildren();
    this.bars = [];
    const { layers, written } = data;
    const most = (written.most ?? []).map(([place, size]) => `${place} ${bytes(size)}`);
    const text = most.length ? `most below ${most.join(", ")}` : "what this container has written";
    const own = this.row({ name: "writable", text, changes: "added" in written ? counts(written) : "", shared: "its own", own: true });
    this.size = own.querySelector(".ch-of");
    if (written.paths?.length) {
      const cells = data.cells.filter((cell) => cell.end);
      const cellOf = (time) => cells.find((cell, at) => time > (cells[at - 1]?.end ?? 0) && time <= cell.end + 0.01);
      this.more(own, "written", "what it has written: the files of a commit", open, (parent) =>
        paths(parent, written.paths, written.unlisted, ([kind, , , time]) => {
          const cell = time ? cellOf(time) : null;
          const what = kind === "C" ? "copied up" : kind === "D" ? "whiteout" : "";
          return [what, cell ? `cell [${cell.number}]` : ""].filter(Boolean).join(" · ");
        }));
    }
    layers.forEach((layer, index) => {
      const row = this.row(layer);
      if (layer.size !== null) this.more(row, String(layers.length - index), `the files of ${layer.name}`, open, (parent) => this.browse(parent, layers.length - index, ""));
    });
    this.waste.textContent = data.waste;
    this.waste.title = data.waste;
    this.waste.hidden = !data.waste;
    this.look.hidden = !layers.some((layer) => layer.size !== null);
  }

  row(layer) {
    const item = add(this.tree, "li", { class: layer.own ? "own" : "" });
    const row = add(item, "div", { class: "ch-layer" });
    add(row, "span", { class: "ch-digest" }, layer.name);
    const bar = add(row, "span", { class: "ch-size", "aria-hidden": "true" });
    this.bars.push([add(bar, "i"), layer.own ? null : layer.size ?? 0]);
    add(row, "span", { class: "ch-number ch-of" }, layer.own ? "" : layer.size === null ? "not measured" : bytes(layer.size));
    add(row, "span", { class: "ch-instruction", title: layer.text }, layer.text);
    add(row, "span", { class: "ch-number" }, layer.changes ?? "");
    add(row, "span", { class: "ch-number" }, layer.shared);
    return item;
  }

  // A part that is filled when it is opened.
  more(item, key, words, open, fill) {
    const details = add(item, "details", { class: "ch-files", "data-layer": key });
    add(details, "summary", {}, words);
    const inside = add(details, "div");
    details.addEventListener("toggle", () => details.open && !inside.childNodes.length && fill(inside));
    if (open.has(key)) details.open = true;
  }

  browse(parent, layer, path) {
    parent.dataset.browse = `${layer}:${path}`;
    parent.textContent = "…";
    this.ask({ do: "browse", layer: String(layer), path });
  }

  browsed({ layer, path, entries, unlisted, text }) {
    for (const parent of this.tree.querySelectorAll("[data-browse]")) {
      if (parent.dataset.browse !== `${layer}:${path}`) continue;
      delete parent.dataset.browse;
      parent.replaceChildren();
      if (!entries) {
        parent.textContent = text;
        continue;
      }
      const list = add(parent, "ul", { class: "ch-paths" });
      for (const [kind, name, size, isDirectory] of entries) {
        const [sign, words] = of(kind);
        const item = add(list, "li", { title: words });
        add(item, "b", { "aria-label": words }, sign);
        if (isDirectory) {
          const details = add(item, "details");
          add(details, "summary", { class: "ch-instruction" }, `${name}/`);
          const inside = add(details, "div");
          details.addEventListener("toggle", () => details.open && !inside.childNodes.length && this.browse(inside, layer, path ? `${path}/${name}` : name));
        } else {
          add(item, "span", { class: "ch-instruction" }, name);
          add(item, "span", { class: "ch-number" }, kind === "D" ? "whiteout" : bytes(size));
        }
      }
      if (!entries.length) add(list, "li", {}, "nothing");
      if (unlisted) add(list, "li", {}, `… and ${unlisted} more`);
    }
  }

  answered({ path, steps, text }) {
    this.answer.replaceChildren();
    const list = add(this.answer, "ol", { class: "ch-which", "aria-label": "Which layer answers" });
    add(list, "li", { class: "ch-instruction" }, steps?.length ? path : text);
    for (const [name, said] of steps ?? []) add(list, "li", { class: said === "has it" ? "hit" : "" }, `${name} ${said}`);
  }

  compared({ other, paths: rows, unlisted, text, ...found }) {
    this.answer.replaceChildren();
    const against = /^\d+$/.test(other) ? `its own lowest ${other} layers` : other;
    add(this.answer, "div", {}, rows ? `against ${against}: ${counts(found)}` : text);
    if (rows?.length) paths(this.answer, rows, unlisted);
  }
}

const COLUMNS = [
  ["cell", (cell) => `[${cell.number}]`], ["wall", (cell) => seconds(cell.wall)], ["CPU", (cell) => seconds(cell.cpu)],
  ["held back", (cell) => seconds(cell.throttled)], ["memory peak", (cell) => (cell.peak === null ? "–" : bytes(cell.peak))],
  ["change", (cell) => (cell.memory_change === null ? "–" : `${cell.memory_change < 0 ? "−" : "+"}${bytes(Math.abs(cell.memory_change))}`)],
  ["read / written", (cell) => (cell.read === null ? "–" : `${bytes(cell.read)} / ${bytes(cell.written)}`)],
  ["files", (cell) => (cell.files === null ? "–" : String(cell.files))], ["result", (cell, state) => (cell.end === null && state === "paused" ? "‖ stands still" : cell.result) + (cell.paused ? ` · stood still ${seconds(cell.paused)}` : "")],
];

function table(parent, cells, state) {
  parent.replaceChildren();
  const drawn = add(parent, "table", { class: "ch-table" });
  add(drawn, "caption", {}, "Cells");
  const head = add(add(drawn, "thead"), "tr");
  for (const [name] of COLUMNS) add(head, "th", { scope: "col" }, name);
  const body = add(drawn, "tbody");
  for (const cell of cells.slice(-8)) {
    const row = add(body, "tr");
    COLUMNS.forEach(([, text], index) => add(row, index ? "td" : "th", index ? {} : { scope: "row" }, text(cell, state)));
  }
}

function story(parent, steps) {
  parent.replaceChildren();
  const whole = Math.max(...steps.map((step) => step.at + step.took), 1e-6);
  const list = add(parent, "ol", { class: "ch-steps" });
  for (const step of steps) {
    const row = add(list, "li");
    const name = add(row, "span", { class: "ch-digest" });
    const calls = add(null, "pre", { class: "ch-calls", hidden: "" }, (step.calls ?? []).join("\n"));
    if (step.calls?.length) {
      const button = add(name, "button", { type: "button", class: "ch-open", "aria-expanded": "false", title: "its system calls" }, `▸ ${step.name}`);
      button.addEventListener("click", () => {
        calls.hidden = !calls.hidden;
        button.setAttribute("aria-expanded", String(!calls.hidden));
        button.textContent = `${calls.hidden ? "▸" : "▾"} ${step.name}`;
      });
    } else name.textContent = step.name;
    const line = add(row, "span", { class: "ch-span", "aria-hidden": "true" });
    const bar = add(line, "i");
    bar.style.marginLeft = `${(97 * step.at) / whole}%`;
    bar.style.width = `${Math.max(0.7, (97 * step.took) / whole)}%`;
    add(row, "span", { class: "ch-number" }, `${(1000 * step.took).toFixed(2)} ms`);
    add(row, "span", { class: "ch-instruction", title: step.detail }, step.detail);
    if (step.calls?.length) row.append(calls);
  }
}

// --------------------------------------------------------------------------------------------------------------------------- panel

// How the container is connected: the world, this host, the bridge, the cable; what the host answers for it, and what it was refused.
function wires(root, connections) {
  root.replaceChildren();
  root.hidden = !connections?.length;
  for (const one of connections ?? []) {
    const told = `${one.inside} ${one.address}${one.address6 ? ` and ${one.address6}` : ""} on network ${one.name}, by ${one.device} and ${one.bridge}, ${one.gateway}; egress ${one.policy}`;
    const svg = add(root, "svg:svg", { viewBox: "0 0 680 74", role: "img", "aria-label": told });
    const boxes = [
      [4, 96, one.internal ? "nothing beyond" : "the world", one.internal ? "internal" : `egress ${one.policy}`],
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

class Panel {
  constructor(model, root) {
    this.model = model;
    this.view = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
    this.data = null;
    this.window = 300;
    this.waiting = new Map();
    this.root = root;
    root.classList.add("ch");
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", "Container");
    const head = add(root, "div", { class: "ch-head" });
    this.title = add(head, "b", {}, "container");
    this.badge = add(head, "span", { class: "ch-badge" }, "…");
    this.about = add(head, "span", { class: "ch-about" });
    const parts = new Set(model.get("parts") ?? []);
    root.classList.toggle("ch-compact", parts.has("few"));
    const top = add(root, "div", { class: "ch-row" });
    if (parts.has("life")) this.buildLife(add(top, "section", { class: "ch-life", "aria-label": "Lifecycle" }));
    if (parts.has("actions")) this.buttons = new Buttons(top, (...words) => this.act(...words), ["pause", "unpause", "stop", "restart"]);
    if (parts.has("layers")) this.stack = new LayerStack(add(top, "section", { class: "ch-stack", "aria-label": "Layers" }), (question) => this.tell(question));
    if (!this.says) this.says = add(root, "div", { class: "ch-says", role: "status", "aria-live": "polite" });
    if (parts.has("charts")) this.buildWindows(add(root, "div", { class: "ch-windows", role: "group", "aria-label": "Time shown" }));
    const kinds = parts.has("charts") ? CHARTS : parts.has("few") ? CHARTS.slice(0, 2) : [];
    const grid = kinds.length ? add(root, "div", { class: "ch-charts", role: "group", "aria-label": "Resource use against limits" }) : null;
    this.charts = kinds.map((kind) => new Chart(grid, kind));
    if (parts.has("charts")) this.wires = add(root, "section", { class: "ch-wires", "aria-label": "Network", hidden: "" });
    if (parts.has("cells")) this.cells = add(root, "div", { class: "ch-cells" });
    if (parts.has("story")) {
      const details = add(root, "details", { class: "ch-story" });
      add(details, "summary", {}, "How this container was made");
      this.steps = add(details, "div");
    }
    this.listen();
  }

  buildLife(life) {
    this.states = add(life, "div");
    this.buttons = new Buttons(life, (...words) => this.act(...words));
    this.name = add(life, "form", { class: "ch-commit", hidden: "" });
    this.field = field(this.name, { placeholder: "NAME:TAG", "aria-label": "Name of the image" });
    add(this.name, "button", { type: "submit", class: "ch-button" }, "make the image");
    this.preview = add(this.name, "div", { class: "ch-preview" });
    this.name.addEventListener("submit", (event) => this.commit(event));
    this.says = add(life, "div", { class: "ch-says", role: "status", "aria-live": "polite" });
  }

  buildWindows(choice) {
    for (const [length, words] of WINDOWS) {
      const button = add(choice, "button", { type: "button", class: "ch-button", "aria-pressed": String(length === this.window) }, words);
      button.addEventListener("click", () => {
        this.window = length;
        for (const one of choice.children) one.setAttribute("aria-pressed", String(one === button));
        this.draw();
      });
    }
  }

  listen() {
    this.hear = (message) => this.receive(message);
    this.model.on("msg:custom", this.hear);
    this.seen = false;
    this.observer = new IntersectionObserver((entries) => this.notice(entries.at(-1).isIntersecting));
    this.observer.observe(this.root);
    this.change = () => this.notice(this.onScreen);
    document.addEventListener("visibilitychange", this.change);
    this.beat = setInterval(() => this.seen && this.tell({ do: "awake" }), 10000);
    this.tell({ do: "hello" });
  }

  notice(onScreen) {
    this.onScreen = onScreen;
    const seen = onScreen && document.visibilityState === "visible";
    if (seen === this.seen) return;
    this.seen = seen;
    this.tell({ do: seen ? "hello" : "asleep" });
  }

  close() {
    this.tell({ do: "asleep" });
    this.model.off("msg:custom", this.hear);
    this.observer.disconnect();
    document.removeEventListener("visibilitychange", this.change);
    clearInterval(this.beat);
  }

  tell(content) {
    this.model.send({ ...content, view: this.view });
  }

  act(action, ...words) {
    if (action === "commit" && !words.length) {
      this.name.hidden = !this.name.hidden;
      const { written } = this.data;
      this.preview.textContent = "added" in written ? `its top layer would hold ${counts(written)}, ${bytes(written.bytes)} of files` : "";
      if (!this.name.hidden) this.field.focus();
      return;
    }
    const id = `${this.view}-${++serial}`;
    this.waiting.set(id, action);
    this.say(`${action} …`);
    this.tell({ do: "act", id, action, arguments: words });
  }

  commit(event) {
    event.preventDefault();
    if (!this.field.value.trim()) return;
    this.name.hidden = true;
    this.act("commit", this.field.value.trim());
  }

  say(text) {
    this.says.textContent = text;
  }

  receive(message) {
    if (message.t === "full") {
      this.data = message;
      this.whole();
    } else if (!this.data) return;
    else if (message.t === "s") {
      this.data.samples.push(...message.s);
      const oldest = message.s.at(-1)[0] - 3700;
      while (this.data.samples.length && this.data.samples[0][0] < oldest) this.data.samples.shift();
      if ("disk" in message) this.data.disk = message.disk;
      this.soon();
    } else if (message.t === "state") {
      const { cells = [], ...rest } = message.changed; // of the cells, those that have changed
      const known = new Map([...this.data.cells, ...cells].map((cell) => [cell.begin, cell]));
      Object.assign(this.data, rest, { cells: [...known.values()].slice(-CELLS) });
      this.whole();
    } else if (message.t === "which") this.stack?.answered(message);
    else if (message.t === "browse") this.stack?.browsed(message);
    else if (message.t === "compare") this.stack?.compared(message);
    else if (message.t === "ack" && this.waiting.delete(message.id)) this.say(message.text);
  }

  whole() {
    const { data } = this;
    const state = data.state;
    this.title.textContent = data.id ? `container ${data.id}` : "no container";
    const stopping = data.stopping === null || data.stopping === undefined ? "" : ` · stopping, killed in ${data.stopping} s`;
    this.badge.textContent = `${ICONS[state]} ${WORDS[state] ?? state}${stopping}`;
    this.badge.className = `ch-badge ${state}`;
    this.about.textContent = data.about;
    if (this.states) {
      this.states.replaceChildren();
      diagram(this.states, state);
    }
    this.buttons?.show(data.actions);
    if (data.says && data.says !== this.said) {
      this.said = data.says;
      this.say(data.says);
    }
    if (this.wires) wires(this.wires, data.network);
    if (this.cells) table(this.cells, data.cells, state);
    if (this.steps && data.steps !== this.told) story(this.steps, (this.told = data.steps));
    this.draw();
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    if (!this.data) return;
    const { samples } = this.data;
    const end = samples.length ? samples.at(-1)[0] : Date.now() / 1000;
    const begin = Math.max(end - this.window, Math.min(samples[0]?.[0] ?? end, end - SHORTEST));
    const shown = thinned(samples.filter((sample) => sample[0] >= begin));
    for (const chart of this.charts) chart.draw(this.data, shown, begin, end);
    this.stack?.show(this.data);
  }
}

// The picture for front ends without this panel stands in the next output: while the panel lives, it is hidden.
function hidePicture(root) {
  const next = root.closest(".jp-OutputArea-child")?.nextElementSibling;
  if (!next?.querySelector("img") || next.querySelector(".ch")) return null;
  next.classList.add("ch-static-hidden");
  return () => next.classList.remove("ch-static-hidden");
}

export default {
  render({ model, el }) {
    const panel = new Panel(model, el);
    let show = null;
    const timer = setInterval(() => {
      if (el.isConnected) show ??= hidePicture(el);
      if (show) clearInterval(timer);
    }, 500);
    return () => {
      clearInterval(timer);
      show?.();
      panel.close();
    };
  },
};
