"""`goldsmith uno demo`: all of UNO on a log whose topics are known, through the REST API alone."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import comb
from pathlib import Path
from typing import Any

from rich.table import Table

from goldsmith.cli import uno_log
from goldsmith.cli.demo import Show, Step, StepFailed, perform
from goldsmith.cli.output import console, print_json
from goldsmith.cli.stack import urls
from goldsmith.client import Client, Job
from goldsmith.settings import Settings

SEED, TUNED_ON = 11, 7
# Chosen on the log of seed 7, where ΔSSE 12, a Ward height of 4.9, finds every topic of both languages: below 4.5 topics fall apart,
# above 5.1 the noise of both languages is one cluster.
DELTA_SSE_MAX = 12.0
CLUSTERS, EPOCHS = 2, 2

CONFIG: dict[str, Any] = {
    "kind": "uno",
    "name": "planted",
    "teacher": "rehearsal",
    "budget_usd": 50.0,
    "concurrency": 16,
    "clustering": {"encoder": "minilm", "delta_sse_max": DELTA_SSE_MAX},
    "gap": {"method": "embedding"},  # no package ships a reranker
    "pairs": {"samples": 1},
    "verify": {"max_new_tokens": 40},  # the revised answers have 15 to 30 words
    "ablation": {  # of so few questions intervals are wide: this shows the table, it decides nothing
        "limit": 16,
        "max_new_tokens": 40,
        "absent": {
            "unclustered": "left out of the demo: its training on the pairs of all clusters would take half an hour more",
            "by_config": "the planted log knows no configs",
        },
    },
    "experts_at_most": CLUSTERS,
    # The upper 10 of 30 blocks, as in `goldsmith demo`; batches of 8, where UNO's 32 would make 10 updates in all.
    "train": {
        "num_train_epochs": EPOCHS,
        "layers_to_transform": list(range(20, 30)),
        "learning_rate": 1e-3,
        "lora_r": 16,
        "lora_alpha": 32,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "gradient_checkpointing": False,
        "max_length": 512,
    },
}
ASKED = ("How do I bake a nut cake for my aunt?", "Wie repariere ich eine gerissene Kette am Fahrrad?", "Hey, was geht?")


def play(*, start: Callable[..., None], keep_up: bool, as_json: bool) -> None:
    perform(_story, _conclude, "rehearsal", start=start, keep_up=keep_up, as_json=as_json)


def _story(show: Show, teacher: str, settings: Settings) -> dict[str, Any]:
    """Returns what was found of what was planted."""
    client = show.client
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "planted.jsonl"
        log.write_bytes(uno_log.lines(uno_log.make(SEED)))
        upload = client.upload(log, kind="sessions", origin="synthetic")["ref"]
    handle = show.submit("uno", CONFIG | {"upload": upload})
    plan = _approved(show, handle.job)
    rules = next(client.list(submitted_by=handle.id, kind="rules")).ref
    code = show.submit("cluster at 4", {"kind": "cluster", "rules": rules})  # beside the trainings, which have another worker
    result = show.wait("uno", handle).result
    at_4 = show.wait("cluster at 4", code).result
    for step in sorted(client.list(submitted_by=handle.id), key=lambda step: step.id):
        show.add(_step(step))
    examined = next(step.result for step in client.list(submitted_by=handle.id, kind="ablation"))
    assert examined is not None
    return {
        "uno": handle.ref,
        "plan": plan,
        "result": result,
        "found": found_again(_members(client, result["cluster"])),
        "k": {"at_4": at_4["clusters_fixed"], "at_t_n": at_4["clusters_scaled"]},
        "ablation": {name: examined[name] for name in ("worth_it", "variants", "not_run")},
        "routes": [{"query": query} | client.route(result["router"], query=query) for query in ASKED],
    }


def _approved(show: Show, job: Job) -> dict[str, Any]:
    """Wait for the plan and approve it: nobody is asked, the teacher is a rehearsal."""
    bar = show.bars.add_task("plan", total=100, message="sessions, rules, clusters, gap")
    while not (job.completed_at or any(one["name"] == "plan.json" for one in show.client.artifacts(job.id))):
        job = show.client.get(job.id)
        show.bars.update(bar, completed=job.progress, message=(job.message or job.status)[:90])
        time.sleep(1)
    if job.completed_at:
        raise StepFailed("plan", job.message)
    show.bars.update(bar, completed=100, message="approved")
    show.client.approve(job.id)
    plan: dict[str, Any] = _read(show.client, f"{job.ref}/plan.json")
    return plan


def _read(client: Client, ref: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return json.loads(client.download(ref, Path(folder) / "artifact").read_text())


def _members(client: Client, cluster: str) -> dict[str, list[str]]:
    """Session ids by cluster id."""
    return {one["cluster_id"]: one["members"] for one in _read(client, f"{cluster}/clusters.json")["clusters"]}


def _step(job: Job) -> Step:
    seconds = (job.completed_at - job.started_at).total_seconds() if job.completed_at and job.started_at else 0.0
    return Step(job.kind, _made(job.kind, job.result or {}), job.ref, job.cost_usd, seconds=seconds)


def _made(kind: str, result: Mapping[str, Any]) -> str:
    """What a job says it made, in its own numbers."""
    shown = {
        "sessions": ("sessions", "with_feedback"),
        "rules": ("sessions", "rules", "bad_json"),
        "cluster": ("clusters", "active", "clusters_fixed", "clusters_scaled", "stability_ari"),
        "gap": ("gap_method", "tau"),
        "pairs": ("require_gain",),
        "train": ("adapter", "steps", "heldout_loss_before", "heldout_loss_after"),
        "verify": ("adapter", "win_rate", "passed"),
        "router": ("outlier_distance",),
        "ablation": ("drawn", "graded"),
    }.get(kind, ())
    words = (f"{name} {_short(result[name])}" for name in shown if name in result)
    return ", ".join(words)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def found_again(members: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The clusters against what was planted: adjusted Rand index over all sessions and within each language, and what each holds."""
    pairs = [(session, cluster_id) for cluster_id, sessions in members.items() for session in sessions]
    within = {
        language: adjusted_rand([(uno_log.topic_of(s), c) for s, c in pairs if uno_log.language_of(s) == language])
        for language in sorted({uno_log.language_of(s) for s, _ in pairs})
    }
    holds = {
        cluster_id: Counter(s.rpartition("-")[0] for s in sessions).most_common(1)[0]
        for cluster_id, sessions in members.items()
    }
    return {
        "ari_within_language": within,
        "ari_mixed": adjusted_rand([(uno_log.topic_of(s), c) for s, c in pairs]),
        "holds": {
            cluster_id: {"planted": most, "share": count / len(members[cluster_id])}
            for cluster_id, (most, count) in holds.items()
        },
        "noise": [cluster_id for cluster_id, (most, _) in holds.items() if most.startswith(uno_log.NOISE)],
    }


def adjusted_rand(pairs: Sequence[tuple[str, str]]) -> float:
    """Hubert and Arabie, 1985; 1 for the same partition, 0 in the mean for random ones."""
    both, ours, theirs = Counter(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    agree, planted, found = (sum(comb(n, 2) for n in counts.values()) for counts in (both, ours, theirs))
    expected = planted * found / comb(len(pairs), 2)
    most = (planted + found) / 2
    return 1.0 if most == expected else (agree - expected) / (most - expected)


def won(cluster: Mapping[str, Any]) -> str:
    if cluster["win_rate"] is None:
        return f"none: {cluster['no_expert']}"
    low, high = cluster["win_rate_interval"]
    return f"{cluster['win_rate']:.2f} [{low:.2f}, {high:.2f}], {'passed' if cluster['passed'] else 'did not pass'}"


def _conclude(
    steps: list[Step], answer: dict[str, Any], settings: Settings, *, rehearsal: bool, seconds: float, as_json: bool
) -> None:
    found, result = answer["found"], answer["result"]
    if as_json:
        print_json(answer | {"label": "REHEARSAL", "steps": [asdict(step) for step in steps], "seconds": seconds})
        return
    jobs = Table(title="REHEARSAL: written rules instead of a model taught, graded and revised", title_style="bold yellow")
    for column in ("job", "what it says", "where it lies", "cost", "time"):
        jobs.add_column(column, overflow="fold", no_wrap=column in ("cost", "time"))
    for step in steps:
        cost = f"${step.cost_usd:.3f}" if step.cost_usd else ""
        jobs.add_row(step.name, step.made, step.where, cost, f"{step.seconds:.0f} s")
    jobs.add_section()
    jobs.add_row("all", "", answer["uno"], f"${result['spent_usd']:.3f}", f"{seconds:.0f} s")
    console.print(jobs)
    clusters = Table(header_style="bold")
    for column in ("cluster", "holds", "size", "gap", "decision", "pairs", "expert, win rate over base", "path"):
        clusters.add_column(column, overflow="fold")
    for row in result["clusters"]:
        holds = found["holds"][row["cluster_id"]]
        gap = "–" if row["gap"] is None else f"{row['gap']:.2f}"
        pairs = f"{row['pairs_train']} + {row['pairs_heldout']}"
        told = f"{holds['planted']} {holds['share']:.0%}"
        clusters.add_row(row["cluster_id"], told, str(row["size"]), gap, row["decision"], pairs, won(row), row["path"])
    console.print(clusters)
    for line in in_words(answer):
        console.print(line, markup=False)
    shown = f"`goldsmith uno show {answer['uno']}` · `goldsmith rules show --job {answer['uno']}`"
    console.print(f"API docs {urls(settings)['docs']} · {shown} · `make down` stops everything")


def in_words(answer: Mapping[str, Any]) -> list[str]:
    """What the numbers mean, and what they do not."""
    found, result, variant = answer["found"], answer["result"], answer["result"]["variant"]
    within = ", ".join(f"{language} {ari:.3f}" for language, ari in found["ari_within_language"].items())
    noise = [row for row in result["clusters"] if row["cluster_id"] in found["noise"]]
    paths = ", ".join(f"{row['cluster_id']} ({row['decision']} → {row['path']})" for row in noise) or "none was found"
    return [
        f"Topics found again, adjusted Rand index: within {within}; both languages as one {found['ari_mixed']:.3f}: a topic's German"
        " and English sessions are clusters of their own, as the encoder tells languages apart.",
        f"Threshold ΔSSE {DELTA_SSE_MAX} ({variant['space']} space), chosen on the log of seed {TUNED_ON}, run on seed {SEED}."
        f" At UNO's height 4 there would be {answer['k']['at_4']} clusters, at t(n) {answer['k']['at_t_n']}.",
        f"The planted noise: {paths}.",
        *(
            f"“{route['query']}”: {route['path']}, cluster {route['cluster_id']}, distance {route['distance']:.2f}"
            for route in answer["routes"]
        ),
        *(f"{one['variant']}: {one['words']}" for one in answer["ablation"]["variants"]),
        *(f"{variant}: not run, {why}" for variant, why in answer["ablation"]["not_run"].items()),
        answer["ablation"]["worth_it"],
        "Rehearsed: rules, revised answers and grades come from written rules that count words, so win rates say that an adapter"
        " learned what it was shown, not that a person would like it better. Not rehearsed: every other step.",
    ]
