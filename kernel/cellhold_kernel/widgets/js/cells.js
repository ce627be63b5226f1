// What each cell used, and how the container was made.

import { add } from "./dom.js";
import { bytes, seconds } from "./values.js";

const COLUMNS = [
  ["cell", (cell) => `[${cell.number}]`], ["wall", (cell) => seconds(cell.wall)], ["CPU", (cell) => seconds(cell.cpu)],
  ["throttled", (cell) => seconds(cell.throttled)], ["memory peak", (cell) => (cell.peak === null ? "–" : bytes(cell.peak))],
  ["change", (cell) => (cell.memory_change === null ? "–" : `${cell.memory_change < 0 ? "−" : "+"}${bytes(Math.abs(cell.memory_change))}`)],
  ["read / written", (cell) => (cell.read === null ? "–" : `${bytes(cell.read)} / ${bytes(cell.written)}`)],
  ["files", (cell) => (cell.files === null ? "–" : String(cell.files))], ["result", (cell, state) => (cell.end === null && state === "paused" ? "‖ paused" : cell.result) + (cell.paused ? ` · paused for ${seconds(cell.paused)}` : "")],
];

export function table(parent, cells, state) {
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

export function story(parent, steps) {
  parent.replaceChildren();
  const whole = Math.max(...steps.map((step) => step.at + step.took), 1e-6);
  const list = add(parent, "ol", { class: "ch-steps" });
  for (const step of steps) {
    const row = add(list, "li");
    const name = add(row, "span", { class: "ch-digest" });
    const calls = add(null, "pre", { class: "ch-calls", hidden: "" }, (step.calls ?? []).join("\n"));
    if (step.calls?.length) {
      const button = add(name, "button", { type: "button", class: "ch-open", "aria-expanded": "false", title: "show its system calls" }, `▸ ${step.name}`);
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
