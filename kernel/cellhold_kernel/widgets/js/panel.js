// The container panel: it draws what the host kernel sends, and sends what its buttons request.
//
//   host -> view   {t: "full", fields, ...}             everything
//                  {t: "s", s: [sample, ...]}           new samples
//                  {t: "state", ...}                    what has changed
//                  {t: "ack", id, ok, text}             the outcome of a click
//                  {t: "which", path, steps}            which layer a path comes from
//                  {t: "browse", layer, path, entries}  what a layer has at a path
//                  {t: "compare", other, paths}         how the image differs from another
//   view -> host   {do: "hello" | "awake" | "asleep", view}
//                  {do: "act", id, action, arguments}
//                  {do: "which", path}
//                  {do: "browse", layer, path}
//                  {do: "compare", other}
//
// A sample is sent as a list; `fields` names its values (Sample of sampler.py). null is
// "not measured", never 0. The model's `parts` says what is drawn.

import { table, story } from "./cells.js";
import { CHARTS, Chart, thinned } from "./charts.js";
import { add, field, fresh } from "./dom.js";
import { LayerStack, counts } from "./layers.js";
import { Buttons, ICONS, WORDS, diagram } from "./lifecycle.js";
import { wires } from "./network.js";
import { bytes } from "./values.js";

const CELLS = 200; // kept, at most
const SHORTEST = 30; // seconds: the axis of a panel that has just been opened
const WINDOWS = [[60, "1 min"], [300, "5 min"], [3600, "1 h"]];

const named = (fields, sample) => Object.fromEntries(fields.map((name, index) => [name, sample[index]]));

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
    add(this.name, "button", { type: "submit", class: "ch-button" }, "create image");
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
    const id = fresh(this.view);
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
      this.data = { ...message, samples: message.samples.map((sample) => named(message.fields, sample)) };
      this.whole();
    } else if (!this.data) return;
    else if (message.t === "s") {
      this.data.samples.push(...message.s.map((sample) => named(this.data.fields, sample)));
      const oldest = this.data.samples.at(-1).time - 3700;
      while (this.data.samples.length && this.data.samples[0].time < oldest) this.data.samples.shift();
      if ("disk" in message) this.data.disk = message.disk;
      this.soon();
    } else if (message.t === "state") {
      const { cells = [], ...rest } = message.changed; // only the cells that have changed
      const merged = new Map([...this.data.cells, ...cells].map((cell) => [cell.begin, cell]));
      Object.assign(this.data, rest, { cells: [...merged.values()].slice(-CELLS) });
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
    if (data.says && data.says !== this.lastMessage) {
      this.lastMessage = data.says;
      this.say(data.says);
    }
    if (this.wires) wires(this.wires, data.network);
    if (this.cells) table(this.cells, data.cells, state);
    if (this.steps && data.steps !== this.drawnSteps) story(this.steps, (this.drawnSteps = data.steps));
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
    const end = samples.length ? samples.at(-1).time : Date.now() / 1000;
    const begin = Math.max(end - this.window, Math.min(samples[0]?.time ?? end, end - SHORTEST));
    const shown = thinned(samples.filter((sample) => sample.time >= begin));
    for (const chart of this.charts) chart.draw(this.data, shown, begin, end);
    this.stack?.show(this.data);
  }
}

// The next output has the picture for front ends without this panel: hide it while the panel lives.
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
