// The difference of an arm to base over time, with its confidence sequence, as SVG. Words and a table say the same.

import { amount, change, count, interval, s, table, time } from "./parts.js";

const HEIGHT = 260;
const EDGE = { top: 14, right: 12, bottom: 34, left: 62 };
const ROWS = 40;

/** The points of a metric by arm: {at, units, step, estimate, lower, upper}, where all three are known. */
export function lines(looks, metric) {
  const found = new Map();
  for (const { at, units, step, differences } of looks) {
    for (const [arm, ends] of Object.entries(differences?.[metric] ?? {})) {
      if (!Array.isArray(ends) || !ends.every(Number.isFinite)) continue;
      if (!found.has(arm)) found.set(arm, []);
      found.get(arm).push({ at, units, step, estimate: ends[0], lower: ends[1], upper: ends[2] });
    }
  }
  return found;
}

/** What the curve says, in a sentence for each arm. */
export function sentences(found, metric) {
  return [...found].map(([arm, points]) => {
    const last = points.at(-1);
    const size = ({ estimate, lower, upper }) => interval({ estimate, lower, upper }, metric.kind);
    const lies = last.lower > 0 ? "The whole interval lies above no difference." : last.upper < 0 ? "The whole interval lies below no difference." : "No difference is still possible.";
    return `${metric.label}, ${arm} minus base, after ${count(last.units)} units: ${size(last)}. ${lies} It holds at every look.`;
  });
}

/** The curve as a table of at most 40 rows, the last look among them. */
export function rows(found, metric) {
  const every = [...found].flatMap(([arm, points]) => {
    const stride = Math.ceil(points.length / ROWS);
    return points.filter((_, place) => (points.length - 1 - place) % stride === 0).map((point) => [arm, point]);
  });
  return table(
    `${metric.label}: difference to base`,
    ["Units", "Arm", "Difference", "From", "To", "Time"],
    every.map(([arm, { at, units, estimate, lower, upper }]) => [
      count(units), arm, change(estimate, metric.kind), change(lower, metric.kind), change(upper, metric.kind), time(at),
    ]),
  );
}

/** The drawing, as wide as there is room. `limit`: the rise at which a guardrail fires, if the metric has one. */
export function drawing(found, metric, limit, width) {
  const every = [...found.values()].flat();
  const units = every.map((point) => point.units);
  const [first, last] = [Math.min(...units), Math.max(...units)];
  // The first looks know next to nothing: the scale is that of the later half, and what is wider is cut off.
  const later = every.filter((point) => point.units >= (first + last) / 2);
  const marks = [0, ...(Number.isFinite(limit) ? [limit] : [])];
  const low = Math.min(...marks, ...later.map((point) => point.lower));
  const high = Math.max(...marks, ...later.map((point) => point.upper));
  const room = (high - low || 1) * 0.08;
  const right = width - EDGE.right;
  const floor = HEIGHT - EDGE.bottom;
  const x = (value) => (first === last ? (EDGE.left + right) / 2 : EDGE.left + ((value - first) / (last - first)) * (right - EDGE.left));
  const y = (value) => floor - ((value - low + room) / (high - low + 2 * room)) * (floor - EDGE.top);
  const at = (value, side) => `${x(value.units).toFixed(1)},${y(value[side]).toFixed(1)}`;
  const level = (value, kind, text) => [
    s("line", { class: kind, x1: EDGE.left, x2: right, y1: y(value), y2: y(value) }),
    text ? s("text", { class: "mark", x: right, y: y(value) - 5, "text-anchor": "end" }, text) : null,
  ];
  const beside = (place) => (first === last ? 14 * (place - (found.size - 1) / 2) : 0);
  /** The newest interval as an upright line: of a single look the band has no width. */
  const whole = (point, place) => ({ x1: x(point.units) + beside(place), x2: x(point.units) + beside(place), y1: y(point.upper), y2: y(point.lower) });
  /** The arms' names at the end of their lines, none upon another. */
  const names = () => {
    let free = EDGE.top + 10;
    return [...found]
      .map(([arm, points]) => [arm, y(points.at(-1).estimate) - 8])
      .sort(([, a], [, b]) => a - b)
      .map(([arm, wanted]) => {
        const place = Math.max(free, wanted);
        free = place + 14;
        return s("text", { class: "mark", x: right - 8, y: place, "text-anchor": "end" }, arm);
      });
  };
  const steps = new Map();
  for (const { units: reached, step } of every) if (step > 0 && !steps.has(step)) steps.set(step, reached);

  return s(
    "svg",
    { class: "curve", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-labelledby": "curve-name curve-words" },
    s("title", { id: "curve-name" }, `${metric.label}: difference to base over the units seen`),
    s("clipPath", { id: "inside" }, s("rect", { x: EDGE.left, y: EDGE.top, width: right - EDGE.left, height: floor - EDGE.top })),
    ...ticks(low - room, high + room, 5).flatMap((value) => [
      s("line", { class: "grid", x1: EDGE.left, x2: right, y1: y(value), y2: y(value) }),
      s("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, change(value, metric.kind).replace(/\s*(points|bits|ms)$/, "")),
    ]),
    ...ticks(first, last, Math.max(2, Math.floor(width / 130))).map((value) =>
      s("text", { x: x(value), y: floor + 17, "text-anchor": "middle" }, amount(value, "count")),
    ),
    s("text", { x: EDGE.left, y: HEIGHT - 3 }, metric.kind === "share" ? "units seen; differences in percentage points" : "units seen"),
    ...[...steps].flatMap(([step, reached]) => [
      s("line", { class: "step", x1: x(reached), x2: x(reached), y1: EDGE.top, y2: floor }),
      s("text", { class: "mark", x: x(reached) + 4, y: EDGE.top + 10 }, `step ${step + 1}`),
    ]),
    ...level(0, "zero", null),
    ...(Number.isFinite(limit) ? level(limit, "limit", "guardrail") : []),
    s(
      "g",
      { "clip-path": "url(#inside)" },
      ...[...found].flatMap(([, points], place) => [
        s("polygon", {
          class: `band arm-${place % 4}`,
          points: [...points.map((point) => at(point, "upper")), ...points.toReversed().map((point) => at(point, "lower"))].join(" "),
        }),
        s("polyline", { class: `line arm-${place % 4}`, points: points.map((point) => at(point, "estimate")).join(" ") }),
        s("line", { class: `line arm-${place % 4}`, ...whole(points.at(-1), place) }),
        s("circle", { class: `last arm-${place % 4}`, r: 4, cx: x(points.at(-1).units) + beside(place), cy: y(points.at(-1).estimate) }),
      ]),
      ...(found.size > 1 ? names() : []),
    ),
  );
}

/** About `wanted` round numbers from low to high. */
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const stride = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let value = Math.ceil(low / stride) * stride; value <= high; value += stride) found.push(Math.abs(value) < stride / 1e6 ? 0 : value);
  return found;
}
