// The page of one experiment: what `/v1/experiments/{id}/report` says, section by section.

import { drawing, lines, rows, sentences } from "./curve.js";
import { MISSING, amount, byId, change, count, facts, h, interval, light, put, table, time, words } from "./parts.js";
import { rollback } from "./rollback.js";
import { ROOT, connection, follow } from "./source.js";

const id = location.pathname.split("/").filter(Boolean).at(-1);
const path = `v1/experiments/${encodeURIComponent(id)}`;
const FINAL = ["completed", "rolled_back"];

let report = null;

function show(body) {
  const before = report;
  const found = { look: null, looks: [], decisions: [], ...body };
  report = found;
  const { experiment, look, decisions } = found;
  byId("report").hidden = false;
  document.title = `${experiment.name}: ${words(experiment.status)} · Goldsmith`;
  put("name", experiment, () => [`${experiment.name} `, h("span", { class: `status ${experiment.status}` }, words(experiment.status))]);
  put("verdict", [look?.verdict, look?.at, look?.events, look?.pending_events], () => verdict(look));
  put("proof", [experiment.status, decisions.find(({ probe }) => probe)?.probe], () => proof(found));
  put("alerts", [experiment, look, decisions[0]], () => alerts(found).map((text) => h("li", {}, text)));
  put("guardrails", look, () => guardrails(look));
  put("metrics-notes", look?.metrics, () => (look?.metrics ?? []).filter(({ note }) => note).map(({ name, label, note }) => h("li", {}, `${label ?? words(name)}: ${note}`)));
  put("metrics", look?.metrics, () => metrics(look?.metrics ?? [], armsOf(found)));
  put("outputs", look?.outputs, () => outputs(look?.outputs ?? []));
  byId("outputs").hidden = !look?.outputs?.length;
  put("arms", [look?.arms, experiment.arms], () => arms(look?.arms ?? [], experiment.arms));
  put("checks-note", look?.contamination, () => [
    "Counted by intention to treat: a unit stays in its arm, whoever answered. ",
    "“As treated” is the share of an arm's interceptions that the arm's own model answered; “gated” were answered by base because the arm's model was missing.",
  ]);
  put("ramp", [look?.ramp, experiment.plan.ramp, experiment.arms, experiment.step], () => ramp(experiment, look?.ramp));
  put("plan", experiment, () => plan(experiment));
  put("whole-plan", experiment.plan, () => JSON.stringify(experiment.plan, null, 2));
  timeline(decisions);
  chooseMetric();
  curve();
  byId("open-rollback").hidden = !["running", "paused"].includes(experiment.status);
  if (before) announce(before, found);
}

const armsOf = ({ experiment }) => experiment.arms.map((arm) => arm.name).sort((a, b) => (b === "base") - (a === "base"));

function verdict(look) {
  if (!look) return "Nothing was looked at yet: there are no numbers.";
  const { decision, reason } = look.verdict ?? {};
  return [
    decision ? h("strong", {}, `${capital(words(decision))}: `) : null,
    reason ?? "",
    h("span", { class: "note" }, ` ${count(look.events)} events, looked at `, time(look.at), look.pending_events > 0 ? `; ${count(look.pending_events)} more since` : null),
  ];
}

/** After a rollback: whether base answers again was asked of the serving route; what it said. */
function proof({ experiment, decisions }) {
  const probe = decisions.find((decision) => decision.probe)?.probe;
  if (experiment.status !== "rolled_back" || !probe) return [];
  const said = { passed: "The rollback is proved", failed: "The rollback is NOT proved", pending: "The rollback is not proved yet" }[probe.state];
  return [light(PROBE[probe.state] ?? "unknown", said ?? words(probe.state ?? MISSING)), `: ${probe.words ?? ""}`];
}

/** What a reader must not miss, most urgent first. */
function alerts({ experiment, look, decisions }) {
  const newest = decisions.find((decision) => decision.probe);
  return [
    newest?.probe.state === "failed" ? `The probe through the serving route failed: ${newest.probe.words ?? "the rolled back adapter still answers"}` : null,
    look?.rehearsal ? "REHEARSAL: an adapter learned from the rehearsal teacher. Put it before nobody." : null,
    ...(look?.guardrails ?? []).filter(({ state }) => state === "breach").map((one) => `${named(one)}: ${one.words}`),
    look?.srm?.state === "mismatch" ? `The arms do not get their shares: ${look.srm.words}` : null,
    look?.contamination?.state === "warning" ? `Contamination: ${look.contamination.words}` : null,
    ...experiment.arms.filter(({ gated }) => gated).map(({ name, gated }) => `Base answers in place of ${name}: ${words(gated)}`),
    ...experiment.arms.filter((arm) => arm.model_trouble).map((arm) => `Whether the model of ${arm.name} is there is not known: ${arm.model_trouble}`),
    experiment.forced && !FINAL.includes(experiment.status) ? `${experiment.forced.actor} decided to go on in spite of a guardrail: ${experiment.forced.reason}` : null,
    experiment.held_reason && !FINAL.includes(experiment.status) ? `Held: ${experiment.held_reason}` : null,
  ].filter(Boolean);
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

const named = ({ label, name, arm }) => `${label ?? words(name)}${arm ? ` (${arm})` : ""}`;

function guardrails(look) {
  if (!look) return h("li", { class: "note" }, "No guardrail was computed yet. That holds the ramp; it does not count as zero.");
  const { srm, contamination } = look;
  const others = [
    srm && { label: "Shares of the arms", state: { ok: "ok", mismatch: "breach" }[srm.state], words: srm.words, numbers: { e_value: srm.e_value, alpha: SRM_ALPHA } },
    contamination && {
      label: "Contamination",
      state: { ok: "ok", warning: "watch" }[contamination.state],
      words: contamination.words,
      numbers: { share: contamination.share, "answered by another model": contamination.foreign, interceptions: contamination.interceptions, "look-up loops": contamination.wiki },
    },
  ].filter(Boolean);
  return [...(look.guardrails ?? []), ...others].map((one) =>
    h(
      "li",
      { class: one.state ?? "unknown" },
      h("h3", {}, named(one)),
      h("p", {}, light(one.state), one.forced ? h("strong", {}, " A person decided to go on.") : null),
      h("p", {}, one.words ?? ""),
      numbers(one),
    ),
  );
}

const SRM_ALPHA = 1 / 200;
const EVIDENCE = {
  e_value: "evidence of a rise",
  ceiling_e_value: "evidence that it is above the ceiling",
  latest_day_e_value: "evidence of a rise on the latest day",
  latest_day_ceiling_e_value: "evidence that the latest day is above the ceiling",
};
const NUMBERS = { lower: "difference at least", limit: "allowed difference", ceiling: "allowed at all", least: "needed" };
const ORDER = ["base", "arm", "difference", "lower", "limit", "ceiling", "", "least", "e_value", "ceiling_e_value", "latest_day_e_value", "latest_day_ceiling_e_value"];
const RATES = ["safety_block", "latency", "error"];
const SHARES = ["share", "distinct_pairs", "base_distinct_pairs", "near_duplicates", "base_near_duplicates", "worst_drop"];

/** A guardrail's numbers in their units, those that there are: the rates first, what was counted in the middle, the evidence last. */
function numbers({ name: guardrail, arm, numbers: known = {} }) {
  const kind = (name) => {
    if (name === "arm" || name === "base") return RATES.includes(guardrail) ? "share" : "bits";
    if (name === "limit" && guardrail === "entropy") return "share";
    if (name.startsWith("latest_day_")) return "share";
    return SHARES.includes(name) || name === "ceiling" ? "share" : null;
  };
  const said = (name, value) => {
    if (typeof value !== "number") return value;
    if (name in EVIDENCE) return `${value > 1e9 ? "over 1,000,000,000" : amount(value)}, certain from ${count(1 / known.alpha)} on`; // more zeros say nothing more
    if (["difference", "lower"].includes(name) || (name === "limit" && RATES.includes(guardrail))) return change(value, "share");
    return amount(value, kind(name) ?? (Number.isInteger(value) ? "count" : null));
  };
  return facts(
    Object.entries(known)
      .filter(([name, value]) => value !== null && name !== "alpha")
      .sort(([a], [b]) => rank(a) - rank(b))
      .map(([name, value]) => [(guardrail ? EVIDENCE[name] : name in EVIDENCE ? "evidence" : null) ?? NUMBERS[name] ?? words(name.replace(/(?<![a-z])arm$/, arm)), said(name, value)]),
  );
}

function rank(name) {
  return ORDER.indexOf(ORDER.includes(name) ? name : "");
}

function metrics(found, arms) {
  if (!found.length) return h("p", { class: "note" }, "No metric was computed yet.");
  const cell = (metric, arm) => amount(metric.arms?.[arm]?.value, metric.kind);
  const differences = (metric) =>
    h("span", {}, ...(metric.differences ?? []).flatMap((one, place) => [place ? h("br") : null, arms.length > 2 ? `${one.arm}: ` : null, interval(one, metric.kind)]), metric.differences?.length ? null : MISSING);
  return table(
    "By arm, and the difference to base with its confidence sequence",
    ["Metric", ...arms, "Difference to base"],
    found.map((metric) => [
      h("span", {}, metric.label ?? words(metric.name), h("span", { class: "note" }, ` ${metric.role}`)),
      ...arms.map((arm) => cell(metric, arm)),
      differences(metric),
    ]),
  );
}

function outputs(found) {
  return table(
    "Variety of what each arm's own model wrote, by config; 8 bits of entropy are the most that can be seen",
    ["Config", "Arm", "Outputs", "Entropy", "Different word pairs", "Nearly the same as one before"],
    found.map((one) => [one.config ?? "any", one.arm, count(one.outputs), amount(one.entropy, "bits"), amount(one.distinct_pairs, "share"), amount(one.near_duplicates, "share")]),
  );
}

const ARM_ROWS = [
  ["Units", (one) => count(one.units)],
  ["Never exposed", (one) => count(one.never_exposed)],
  ["Interceptions", (one) => count(one.interceptions)],
  ["As treated", (one) => amount(one.as_treated, "share")],
  ["Answered by another model", (one) => count(one.foreign)],
  ["Through a look-up loop", (one) => count(one.wiki)],
  ["Gated", (one) => count(one.gated)],
  ["Attempts", (one) => count(one.attempts)],
  ["Blocked", (one) => count(one.blocks)],
  ["Errors", (one) => count(one.errors)],
  ["Latency p50", (one) => amount(one.latency_p50_ms, "ms")],
  ["Latency p95", (one) => amount(one.latency_p95_ms, "ms")],
];

function arms(counted, registered) {
  const order = [...registered].sort((a, b) => (b.name === "base") - (a.name === "base"));
  const numbers = (arm) => counted.find(({ name }) => name === arm.name) ?? {};
  return table("What each arm is and what came in", ["What", ...order.map(({ name }) => name)], [
    ["Share now", ...order.map(({ weight }) => amount(weight, "share"))],
    ["Answers with", ...order.map(({ adapter, alias, model }) => h("span", { class: "ref" }, [adapter ?? "the base model", alias && `(${alias})`, model && `as ${model}`].filter(Boolean).join(" ")))],
    ...(counted.length ? ARM_ROWS : []).map(([name, of]) => [name, ...order.map((arm) => of(numbers(arm)))]),
  ]);
}

function ramp(experiment, now) {
  const steps = experiment.plan.ramp?.length ? experiment.plan.ramp : [{ weights: Object.fromEntries(experiment.plan.arms.map(({ name, weight }) => [name, weight])) }];
  const current = now?.step ?? experiment.step ?? 0;
  const live = experiment.status === "running" || experiment.status === "paused";
  return steps.map((step, place) => {
    const shares = Object.entries(step.weights).filter(([arm]) => arm !== "base").map(([arm, weight]) => `${arm} ${amount(weight, "share")}`);
    const here = live && place === current;
    return h(
      "li",
      { "aria-current": here ? "step" : null },
      h("strong", {}, shares.join(", ")),
      here ? (experiment.status === "paused" ? " (paused: base answers everybody) " : " (now) ") : place < current ? " (done)" : "",
      here && experiment.step_started_at ? h("span", { class: "note" }, "since ", time(experiment.step_started_at)) : null,
      here && now?.rules?.length ? h("ul", {}, ...now.rules.map((rule) => h("li", {}, light(rule.met ? "ok" : "watch", rule.met ? "Met" : "Not yet"), ` ${rule.words}`))) : null,
    );
  });
}

function plan(experiment) {
  const { plan: registered } = experiment;
  return facts([
    ["Experiment", h("code", {}, experiment.id)],
    ["Version", experiment.version ?? 1],
    ["Replaces", experiment.supersedes ? h("a", { href: new URL(`experiments/${encodeURIComponent(experiment.supersedes)}`, ROOT) }, experiment.supersedes) : null],
    ["Plan, SHA-256", experiment.plan_sha256 ? h("code", {}, experiment.plan_sha256) : "not frozen yet: it is at the start"],
    ["Unit", registered.unit],
    ["Configs", registered.configs ? registered.configs.join(", ") : "all"],
    ["Chance of a wrong winner", registered.alpha],
    ["Created by", experiment.created_by],
    ["Created", time(experiment.created_at)],
    ["Started", experiment.started_at ? time(experiment.started_at) : null],
    ["Ended", experiment.ended_at ? time(experiment.ended_at) : null],
    ["No new start before", experiment.cooldown_until ? time(experiment.cooldown_until) : null],
  ]);
}

const MOST_DECISIONS = 500; // as many as a report has
const entries = new Map(); // decisions on the page, so that an opened one stays open

function timeline(decisions) {
  put("timeline", decisions, () =>
    decisions.length
      ? decisions.map((decision) => {
          const known = JSON.stringify(decision);
          if (!entries.has(known)) entries.set(known, entry(decision));
          return entries.get(known);
        })
      : h("li", { class: "note" }, "Nothing was decided yet."),
  );
  byId("timeline-note").textContent = decisions.length < MOST_DECISIONS ? "" : `The newest ${MOST_DECISIONS} decisions.`;
}

const PROBE = { passed: "ok", failed: "breach", pending: "watch" };

function entry({ decision, reason, statistics, actor, probe, job_id: job, created_at: at }) {
  return h(
    "li",
    {},
    h("p", {}, time(at), " ", h("strong", {}, capital(words(decision))), actor ?? job ? ` by ${actor ?? `job:${job}`}` : ""),
    h("p", {}, reason),
    probe ? h("p", {}, light(PROBE[probe.state] ?? "unknown", `Probe ${words(probe.state ?? MISSING)}`), `: ${probe.words ?? ""} `, probe.at ? time(probe.at) : null) : null,
    Object.keys(statistics ?? {}).length ? h("details", {}, h("summary", {}, "Its numbers"), h("pre", { tabindex: 0 }, JSON.stringify(statistics, null, 2))) : null,
  );
}

function chooseMetric() {
  const found = (report.look?.metrics ?? []).filter((metric) => lines(report.looks, metric.name).size);
  byId("choose").hidden = found.length < 2;
  const chosen = byId("metric").value;
  put("metric", found.map(({ name, label }) => [name, label]), () => found.map(({ name, label }) => h("option", { value: name, selected: name === chosen }, label ?? words(name))));
}

function curve() {
  const name = byId("metric").value;
  const metric = report.look?.metrics?.find((one) => one.name === name);
  const found = metric ? lines(report.looks, name) : new Map();
  const width = Math.max(280, Math.floor(byId("curve").clientWidth));
  const limit = metric?.kind === "share" ? report.look?.guardrails?.find((one) => one.name === name)?.numbers?.limit : null;
  put("curve", [report.looks, name, width], () => (found.size ? drawing(found, metric, limit, width) : []));
  put("curve-words", [report.looks, name], () => (found.size ? sentences(found, metric).join(" ") : "There is no curve yet: no difference was computed at any look."));
  put("curve-table", [report.looks, name], () => (found.size ? rows(found, metric) : []));
  byId("curve-details").hidden = !found.size;
}

/** Tell a screen reader what changed, not every number. */
function announce(before, now) {
  const lights = ({ look }) => new Map([...(look?.guardrails ?? []), ...(look?.srm ? [{ ...look.srm, label: "Shares of the arms" }] : [])].map((one) => [named(one), one.state]));
  const former = lights(before);
  const said = [
    before.experiment.status !== now.experiment.status ? `The experiment is now ${words(now.experiment.status)}.` : null,
    before.experiment.step !== now.experiment.step ? `It is at step ${now.experiment.step + 1} of its ramp.` : null,
    before.look?.verdict?.decision !== now.look?.verdict?.decision ? `Verdict: ${words(now.look?.verdict?.decision ?? "none")}.` : null,
    ...[...lights(now)].filter(([name, state]) => former.get(name) !== state).map(([name, state]) => `${name}: ${state === "unknown" ? MISSING : state}.`),
    now.decisions.length && before.decisions[0]?.created_at !== now.decisions[0].created_at ? `Decided: ${words(now.decisions[0].decision)}. ${now.decisions[0].reason}` : null,
  ].filter(Boolean);
  if (said.length) byId("announcer").textContent = said.join(" ");
}

const told = connection(() => again());
const again = follow(`${path}/report`, show, (state, text, last) =>
  told(state, state === "refused" && !report ? `There is no experiment to show at this address: ${text}` : text, last),
);
byId("metric").addEventListener("change", curve);
new ResizeObserver(() => report && curve()).observe(byId("curve"));
rollback(path, () => report.experiment.name, again);
