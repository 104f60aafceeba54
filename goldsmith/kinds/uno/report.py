"""What came out of a run, for people and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goldsmith.kinds.uno import plan
from goldsmith.kinds.uno.schema import UnoCluster, UnoConfig, UnoResult

if TYPE_CHECKING:
    from goldsmith.kinds.uno.steps import Steps

TABLE = "uno.md"
PLAN = "plan.json"


def result(config: UnoConfig, steps: Steps) -> UnoResult:
    ref = {key: job.ref for key, job in steps.jobs.items()}
    every = [job.result or {} for job in steps.jobs.values()]
    rehearsal = any(one.get("rehearsal") for one in every)
    own = next(iter(steps.jobs.values())).submitted_by
    return UnoResult(
        sessions=config.sessions or ref["sessions"],
        **{key: ref[key] for key in ("rules", "cluster", "gap", "pairs", "router")},
        ablation=ref.get("ablation"),
        trainings=[job.ref for job in steps.jobs.values() if job.kind == "train"],
        verifications=[ref[key] for key in ref if key.startswith("verify-")],
        plan=f"job:{own}/{PLAN}",
        table=f"job:{own}/{TABLE}",
        clusters=_clusters(config, steps),
        variant=_variant(config, steps),
        spent_usd=round(sum(job.cost_usd for job in steps.jobs.values()), 6),
        rehearsal=rehearsal,
        label="REHEARSAL" if rehearsal else "",
    )


def _clusters(config: UnoConfig, steps: Steps) -> list[UnoCluster]:
    wanted = plan.wanted(config, steps.result("gap")["clusters"])
    routed = {cluster["cluster_id"]: cluster for cluster in steps.result("router")["clusters"]}
    pairs = {cluster["cluster_id"]: cluster for cluster in steps.result("pairs")["clusters"]}
    found = []
    for cluster in steps.result("gap")["clusters"]:
        cluster_id = cluster["cluster_id"]
        learned = pairs.get(cluster_id, {})
        gate = (steps.jobs[key].result or {}) if (key := f"verify-{cluster_id}") in steps.jobs else {}
        critic = (steps.jobs[key].result or {}) if (key := f"critic-{cluster_id}") in steps.jobs else {}
        found.append(
            UnoCluster(
                label=cluster["label"],
                cluster_id=cluster_id,
                size=cluster["size"],
                gap=cluster["mu"],
                decision=cluster["decision"],
                pairs=learned.get("pairs"),
                pairs_train=learned.get("pairs_train", 0),
                pairs_heldout=learned.get("pairs_heldout", 0),
                expert=gate.get("adapter"),
                no_expert=None
                if gate.get("adapter")
                else wanted[cluster_id].no_expert or gate.get("why") or learned.get("refused"),
                win_rate=gate.get("win_rate"),
                win_rate_interval=gate.get("interval"),
                passed=gate.get("passed"),
                critic=critic.get("adapter"),
                path=routed[cluster_id]["path"],
                why=routed[cluster_id]["why"],
            )
        )
    return found


def _variant(config: UnoConfig, steps: Steps) -> dict[str, Any]:
    """What each step says of the variant that made it; all gates are held by one rule."""
    wanted = {
        "cluster": (
            "encoder",
            "space",
            "delta_sse_max",
            "height",
            "scaled",
            "clusters_fixed",
            "clusters_scaled",
            "stability_ari",
        ),
        "rules": ("keep_empty",),
        "gap": ("gap_method", "reranker", "tau", "at_tau", "undecided_within"),
        "pairs": ("contexts", "samples", "judge_samples", "require_gain", "keep_equal"),
        **{
            step: ("gate", "win_rate_min", "at_win_rate_min", "confidence", "bleu_min", "bleu_tokenizer", "barred")
            for step in steps.jobs
            if step.startswith("verify-")
        },
        "router": ("outlier_distance", "calibrated"),
    }
    said = {name: steps.result(step)[name] for step, names in wanted.items() for name in names if name in steps.result(step)}
    return {**said, "adapters": config.adapters, "base_model": config.base_model}


def markdown(config: UnoConfig, result: UnoResult) -> str:
    label = "REHEARSAL: rules, answers and grades are those of written rules, not of a model.\n\n" if result.rehearsal else ""
    rows = [
        ("cluster", "size", "gap", "decision", "pairs (held out)", "win rate over base", "path"),
        ("---", "---:", "---:", "---", "---:", "---", "---"),
        *(
            (
                cluster.cluster_id,
                f"{cluster.size:,}",
                "–" if cluster.gap is None else f"{cluster.gap:.2f}",
                cluster.decision,
                f"{cluster.pairs_train:,} ({cluster.pairs_heldout:,})",
                won(cluster),
                cluster.path,
            )
            for cluster in result.clusters
        ),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    variant = "".join(f"- {name}: {value}\n" for name, value in result.variant.items())
    return (
        f"# {config.name}\n\n{label}{table}\n\nMade by this variant of UNO:\n\n{variant}\n{result.spent_usd:.4f} USD spent.\n"
    )


def won(cluster: UnoCluster) -> str:
    if cluster.win_rate is None:
        return f"no expert: {cluster.no_expert}"
    low, high = cluster.win_rate_interval or (float("nan"), float("nan"))
    return f"{cluster.win_rate:.2f} [{low:.2f}, {high:.2f}]: {'passed' if cluster.passed else 'did not pass'}"
