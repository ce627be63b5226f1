// The layers of the image and what the container has written: browse, search, compare.

import { add, field } from "./dom.js";
import { bytes } from "./values.js";

const KINDS = { A: ["+", "added"], C: ["~", "changed"], D: ["−", "deleted"] };

export const counts = (found) => `+${found.added} ~${found.changed} −${found.deleted}`;
const kindOf = (kind) => KINDS[kind] ?? ["", "unchanged: its content changed"];

// Rows of [kind, path, bytes] as a list. after: a function for a note behind each row.
function paths(parent, rows, unlisted, after = () => "") {
  const list = add(parent, "ul", { class: "ch-paths", tabindex: 0 }); // focusable: it may scroll
  for (const row of rows) {
    const [sign, words] = kindOf(row[0]);
    const item = add(list, "li", { title: `${words}: ${row[1]}` });
    add(item, "b", { "aria-label": words }, sign);
    add(item, "span", { class: "ch-instruction" }, row[1]);
    add(item, "span", { class: "ch-number" }, row[2] ? bytes(row[2]) : "");
    add(item, "span", { class: "ch-note" }, after(row));
  }
  if (unlisted) add(list, "li", {}, `… and ${unlisted} more`);
}

export class LayerStack {
  constructor(parent, ask) {
    this.ask = ask;
    this.tree = add(parent, "ul", { class: "ch-layers", "aria-label": "Layers, the topmost first" });
    this.waste = add(parent, "div", { class: "ch-waste" });
    this.look = add(parent, "form", { class: "ch-look" });
    this.text = field(this.look, { placeholder: "/a/path, or an image to compare with", "aria-label": "A path of the image, or an image to compare it with" });
    add(this.look, "button", { type: "submit", class: "ch-button", title: "find the layer that a path comes from" }, "which layer?");
    this.compare = add(this.look, "button", { type: "button", class: "ch-button", title: "list what this image has and another has not: write its name, or a number of this image's own lowest layers" }, "compare");
    this.answer = add(parent, "div", { class: "ch-answer", "aria-live": "polite" });
    this.look.addEventListener("submit", (event) => this.submit(event, { do: "which", path: this.text.value.trim() }));
    this.compare.addEventListener("click", (event) => this.submit(event, { do: "compare", other: this.text.value.trim() }));
  }

  submit(event, question) {
    event.preventDefault();
    if (this.text.value.trim()) this.ask(question);
  }

  show(data) {
    const { disk, layers, written } = data;
    const content = JSON.stringify([layers, written, data.waste, data.limits.disk]);
    if (content !== this.drawn) this.draw(data);
    this.drawn = content;
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
      this.more(own, "written", "written files: what a commit adds", open, (parent) =>
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

  // Add a part that is filled when it is opened.
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
        const [sign, words] = kindOf(kind);
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
    for (const [name, result] of steps ?? []) add(list, "li", { class: result === "has it" ? "hit" : "" }, `${name} ${result}`);
  }

  compared({ other, paths: rows, unlisted, text, ...found }) {
    this.answer.replaceChildren();
    const against = /^\d+$/.test(other) ? `its own lowest ${other} layers` : other;
    add(this.answer, "div", {}, rows ? `against ${against}: ${counts(found)}` : text);
    if (rows?.length) paths(this.answer, rows, unlisted);
  }
}
