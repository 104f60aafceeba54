// The list of experiments.

import { h, put, time, words } from "./parts.js";
import { ROOT, connection, follow } from "./source.js";

const say = connection(() => again());
const again = follow("v1/experiments?limit=1000", show, say);

function show(found) {
  put("experiments", found, () => (found.length ? found.map(card) : h("li", { class: "note" }, "There are no experiments yet.")));
}

function card(experiment) {
  const address = new URL(`experiments/${encodeURIComponent(experiment.id)}`, ROOT);
  return h(
    "li",
    {},
    h("h2", {}, h("a", { href: address }, experiment.name)),
    h("p", {}, h("span", { class: `status ${experiment.status}` }, words(experiment.status)), experiment.held_reason ? " held" : "", experiment.version > 1 ? ` version ${experiment.version}` : ""),
    h("p", {}, experiment.arms.map((arm) => `${arm.name} ${(100 * arm.weight).toFixed(1)} %`).join(" · ")),
    h("p", { class: "note" }, experiment.started_at ? "started " : "created ", time(experiment.started_at ?? experiment.created_at)),
  );
}
