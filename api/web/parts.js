// Elements and numbers. Whatever comes from data becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("p", {class: "note"}, "text", other). */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function s(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

const shown = new Map();

/** Put what `make` returns into the element, if `data` is new to it: a reader's place and focus stay where nothing changed. */
export function put(id, data, make) {
  const text = JSON.stringify(data ?? null);
  if (shown.get(id) === text) return;
  shown.set(id, text);
  byId(id).replaceChildren(...[make(data)].flat(Infinity).filter((child) => child !== null && child !== undefined));
}

const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const MISSING = "not computed";

const known = (value) => typeof value === "number" && Number.isFinite(value);
const signed = (value, text) => (value > 0 ? "+" : value < 0 ? "−" : "±") + text;

export const count = (value) => (known(value) ? whole.format(value) : MISSING);

/** A value in the unit of its metric: share, ms, bits, count, or a plain number. */
export function amount(value, kind) {
  if (!known(value)) return MISSING;
  if (kind === "share") return `${(100 * value).toFixed(1)}\u00a0%`;
  if (kind === "ms") return `${whole.format(value)}\u00a0ms`;
  if (kind === "bits") return `${number.format(value)}\u00a0bits`;
  return kind === "count" ? whole.format(value) : number.format(value);
}

/** A difference: a share's is told in percentage points. */
export function change(value, kind) {
  if (!known(value)) return MISSING;
  const size = Math.abs(value);
  if (kind === "share") return `${signed(Math.round(1000 * value), (100 * size).toFixed(1))}\u00a0points`;
  return signed(value, amount(size, kind));
}

/** "+2.7 points [−0.4, +6.0]" */
export function interval({ estimate, lower, upper }, kind) {
  if (!known(estimate)) return MISSING;
  const ends = known(lower) && known(upper) ? ` [${bare(lower, kind)},\u00a0${bare(upper, kind)}]` : "";
  return change(estimate, kind) + ends;
}

const bare = (value, kind) => change(value, kind).replace(/\u00a0(points|ms|bits)$/, "");

export function time(iso) {
  const date = iso ? new Date(iso) : null;
  if (!date || Number.isNaN(date.getTime())) return h("span", {}, "–");
  return h("time", { datetime: iso }, moment.format(date));
}

/** "rolled_back" as "rolled back" */
export const words = (name) => String(name).replaceAll("_", " ");

/** A definition list; pairs without a value are left out. */
export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    ...pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value instanceof Node ? value : String(value)))),
  );
}

/** A table whose first column names its rows. */
export function table(caption, columns, rows) {
  return h(
    "table",
    {},
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, ...columns.map((name) => h("th", { scope: "col" }, name)))),
    h(
      "tbody",
      {},
      ...rows.map(([name, ...cells]) =>
        h("tr", {}, h("th", { scope: "row" }, name), ...cells.map((cell) => h("td", {}, cell instanceof Node ? cell : String(cell)))),
      ),
    ),
  );
}

const LIGHTS = {
  ok: ["OK", s("circle", { cx: 12, cy: 12, r: 11 }), "M6.5 12.5 l4 4 l7 -8"],
  watch: ["Watch", s("path", { d: "M12 1 L23.5 22 H0.5 Z" }), "M12 8.5 v6.5 M12 18 v.6"],
  breach: ["Breach", s("path", { d: "M7.5 1 h9 L23 7.5 v9 L16.5 23 h-9 L1 16.5 v-9 Z" }), "M8 8 l8 8 M16 8 l-8 8"],
  unknown: ["Not computed", s("rect", { x: 1.5, y: 1.5, width: 21, height: 21, rx: 3 }), "M9 9.5 a3 3 0 1 1 3 3.6 v1.6 M12 17.6 v.6"],
};

/** A traffic light: colour, shape, sign and word each say the state alone. */
export function light(state, name = null) {
  const [word, shape, sign] = LIGHTS[state] ?? LIGHTS.unknown;
  const kind = LIGHTS[state] ? state : "unknown";
  return h(
    "span",
    { class: `light ${kind}` },
    s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, shape.cloneNode(), s("path", { class: "sign", d: sign })),
    h("span", {}, name ?? word),
  );
}
