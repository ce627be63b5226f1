// Elements of the page.

const SVG = "http://www.w3.org/2000/svg";

let serial = 0;

// Return an id that no other element of the page has.
export const fresh = (name) => `${name}-${++serial}`;

// Add a text field whose keys do not reach the notebook.
export function field(parent, attributes) {
  const input = add(parent, "input", { type: "text", "data-lm-suppress-shortcuts": "true", ...attributes });
  input.addEventListener("keydown", (event) => event.stopPropagation());
  return input;
}

export function add(parent, kind, attributes = {}, text = null) {
  const isSvg = kind.startsWith("svg:");
  const element = isSvg ? document.createElementNS(SVG, kind.slice(4)) : document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  parent?.append(element);
  return element;
}
