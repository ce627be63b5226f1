// What the container uses over time, against its limits: one chart per gauge.

import { add, fresh } from "./dom.js";
import { against, ago, bytes, cores, count, rate } from "./values.js";

const WIDTH = 330, HEIGHT = 132, LEFT = 8, TOP = 22, RIGHT = 8, BOTTOM = 26;
const PRESSURE = 16; // the height of a pressure of 100 %
const POINTS = 300;
const MARKS = { oom: "✖ OOM kill", pids: "⊘ fork refused", ended: "■ ended", started: "▶ started" };

export const CHARTS = [
  { key: "cpu", name: "CPU", of: "cpu", limit: "cpus", show: cores, unit: "cores", floor: 0.1, throttled: true, wait: "cpu_wait" },
  { key: "memory", name: "Memory", of: "memory", area: "working", limit: "memory", show: bytes, floor: 1 << 20, wait: "memory_wait", note: "area: without page cache" },
  { key: "io", name: "Block I/O", of: (sample) => (sample.read === null ? null : sample.read + sample.written), show: rate, floor: 1 << 16, wait: "io_wait", note: "read and written" },
  { key: "pids", name: "Processes", of: "pids", limit: "pids", show: count, floor: 4 },
  { key: "disk", name: "Writable layer", of: "disk", limit: "disk", show: bytes, floor: 1 << 16 },
  { key: "received", name: "Received", of: "received", limit: "received", show: rate, floor: 1 << 12, needs: "network" },
  { key: "sent", name: "Sent", of: "sent", limit: "sent", show: rate, floor: 1 << 12, needs: "network" },
];


export class Chart {
  constructor(parent, kind) {
    this.kind = kind;
    this.figure = add(parent, "figure", { tabindex: 0, class: "ch-chart", "data-chart": kind.key });
    this.hatch = fresh(`ch-hatch-${kind.key}`);
  }

  value(sample) {
    return typeof this.kind.of === "function" ? this.kind.of(sample) : sample[this.kind.of];
  }

  draw(data, samples, begin, end) {
    const { kind } = this;
    this.figure.hidden = Boolean(kind.needs) && !data[kind.needs]?.length;
    if (this.figure.hidden) return;
    const limit = kind.limit ? data.limits[kind.limit] : null;
    const values = samples.map((sample) => this.value(sample)).filter((value) => value !== null);
    const now = values.length ? values[values.length - 1] : null;
    const peak = values.length ? Math.max(...values) : null;
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
    if (kind.throttled) for (const [from, to] of bands(samples, "throttled")) {
      add(svg, "svg:rect", { x: x(from), y: TOP, width: Math.max(x(to) - x(from), 1), height, fill: `url(#${this.hatch})`, class: "ch-throttled" });
    }
    for (const [from, to] of bands(samples, "paused")) {
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
    const throttled = kind.throttled ? share(samples, "throttled") : null;
    const wait = kind.wait ? samples.at(-1)?.[kind.wait] ?? null : null;
    const after = kind.key === "disk" && !limit && now !== null ? "measured after each cell" : null;
    const notes = [after, throttled ? `▨ throttled ${Math.round(100 * throttled)} %` : kind.note, wait === null ? null : `▁ pressure ${Math.round(100 * wait)} %`];
    const note = notes.filter(Boolean).join(" · ");
    add(svg, "svg:text", { x: LEFT + width, y: HEIGHT - 4, class: "ch-small", "text-anchor": "end" }, note);
    this.figure.replaceChildren(svg);
    const events = shown.filter((mark) => mark.kind in MARKS).map((mark) => mark.text).join(" ");
    const says = `${kind.name}: now ${against(now, limit, kind.show, kind.unit)}${peak === null ? "" : `, peak ${kind.show(peak)}`}. ${note} ${events}`;
    this.figure.setAttribute("aria-label", says.trim());
  }
}

function bands(samples, name) {
  const found = [];
  samples.forEach((sample, index) => {
    if (!sample[name]) return;
    const from = index ? samples[index - 1].time : sample.time;
    const last = found.at(-1);
    if (last && last[1] >= from - 0.01) last[1] = sample.time;
    else found.push([from, sample.time]);
  });
  return found;
}

function share(samples, name) {
  const known = samples.filter((sample) => sample[name] !== null);
  return known.length ? known.reduce((sum, sample) => sum + sample[name], 0) / known.length : null;
}

function runs(samples, value) {
  const found = [];
  let run = [];
  for (const sample of samples) {
    const known = value(sample);
    if (known === null) {
      if (run.length) found.push(run);
      run = [];
    } else run.push([sample.time, known]);
  }
  if (run.length) found.push(run);
  return found.filter((one) => one.length > 1);
}

export function thinned(samples) {
  const each = Math.ceil(samples.length / POINTS);
  if (each < 2) return samples;
  const kept = [];
  for (let index = 0; index < samples.length; index += each) {
    const group = samples.slice(index, index + each);
    const most = (name) => group.reduce((highest, one) => (one[name] === null ? highest : Math.max(highest ?? one[name], one[name])), null);
    kept.push({ ...Object.fromEntries(Object.keys(group[0]).map((name) => [name, most(name)])), time: group.at(-1).time });
  }
  return kept;
}
