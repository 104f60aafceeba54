"""The jobs of a uno job, as `POST /v1/jobs` takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goldsmith.kinds.uno.schema import UnoConfig

Body = dict[str, Any]

GROUPS: dict[str, str] = {"unclustered": "all", "by_config": "config"}
"""How a pairs job groups the sessions of each variant of the ablation that has adapters of its own."""

# What a uno job says itself in the jobs whose other options stand in these fields.
FILLED: dict[str, set[str]] = {
    "clustering": {"kind", "options", "rules"},
    "gap": {"kind", "options", "clusters", "teacher", "model", "budget_usd"},
    "pairs": {
        "kind",
        "options",
        "clusters",
        "gap",
        "group_by",
        "name",
        "teacher",
        "model",
        "budget_usd",
        "concurrency",
        "judge",
        "judge_model",
    },
    "train": {
        "kind",
        "options",
        "dataset",
        "name",
        "alias",
        "base_model",
        "objective",
        "role",
        "keep_epochs",
        "shuffle_answers",
    },
    "verify": {"kind", "options", "train", "teacher", "model", "budget_usd", "name", "alias"},
    "router": {"kind", "options", "clusters", "gap", "experts", "critics", "passed", "verified", "critic_trainings"},
    "ablation": {"kind", "options", "router", "pairs", "teacher", "model", "budget_usd"},
}


def sessions(config: UnoConfig) -> Body:
    log = {"runs": config.runs} if config.runs else {"upload": config.upload, "format": config.format}
    return {"kind": "sessions", **log} | ({"limit": config.limit} if config.limit else {})


def rules(config: UnoConfig, sessions: str, budget_usd: float) -> Body:
    own = {"own_rules": config.own_rules, "keep_empty": config.keep_empty, "concurrency": config.concurrency}
    return {"kind": "rules", "sessions": sessions, **_teacher(config, budget_usd), **own}


def cluster(config: UnoConfig, rules: str) -> Body:
    return {"kind": "cluster", "rules": rules, **config.clustering}


def gap(config: UnoConfig, clusters: str, budget_usd: float) -> Body:
    asks = _judge(config, budget_usd) if config.gap.get("method") == "judge" else {}
    return {"kind": "gap", "clusters": clusters, **asks, **config.gap}


def pairs(config: UnoConfig, clusters: str, gap: str, budget_usd: float) -> Body:
    # without a gap pairs and critics' rows are made for every cluster that is large enough
    return _pairs(config, clusters, budget_usd, {"gap": gap} if config.adapters == "as_needed" else {})


def grouped(config: UnoConfig, clusters: str, variant: str, budget_usd: float) -> Body:
    return _pairs(config, clusters, budget_usd, {"group_by": GROUPS[variant]})


def _pairs(config: UnoConfig, clusters: str, budget_usd: float, says: Mapping[str, str]) -> Body:
    judge = {"judge": config.judge, "judge_model": config.judge_model} if config.judge else {}
    refs = {"clusters": clusters, "name": config.name, **says}
    return {"kind": "pairs", **refs, **_teacher(config, budget_usd), **judge, "concurrency": config.concurrency, **config.pairs}


def expert(config: UnoConfig, cluster_id: str, dataset: str) -> Body:
    says = {"objective": "dpo_nll", "role": "expert", "keep_epochs": True}
    return _train(config, f"{config.name}-{cluster_id}-epochs", dataset, says)


def verify(config: UnoConfig, cluster_id: str, training: str, budget_usd: float) -> Body:
    name = f"{config.name}-{cluster_id}-expert"
    return {
        "kind": "verify",
        "train": training,
        "name": name,
        "concurrency": config.concurrency,
        **_judge(config, budget_usd),
        **config.verify,
    }


def critic(config: UnoConfig, cluster_id: str, dataset: str) -> Body:
    return _train(config, f"{config.name}-{cluster_id}-critic", dataset, {"objective": "critic", "role": "critic"})


def compared(config: UnoConfig, name: str, dataset: str) -> Body:
    """An adapter beside UNO's: trained as an expert is, its epoch chosen by the held-out loss, for no gate is held."""
    return _train(config, name, dataset, {"objective": "dpo_nll", "early_stopping_patience": 100})


def router(config: UnoConfig, clusters: str, gap: str, verified: Sequence[str], critic_trainings: Sequence[str]) -> Body:
    jobs = {"clusters": clusters, "gap": gap, "verified": list(verified), "critic_trainings": list(critic_trainings)}
    return {"kind": "router", **jobs, **config.router}


def other_gap(config: UnoConfig, clusters: str) -> Body | None:
    """The gap once more by the embedding, which costs nothing, for the ablation to compare; None: it is by the embedding already,
    or the ablation's options name another one."""
    if config.gap.get("method") == "embedding" or "other_gap" in (config.ablation or {}):
        return None
    return {"kind": "gap", "clusters": clusters, "method": "embedding"}


def ablation(
    config: UnoConfig,
    router: str,
    pairs: str,
    budget_usd: float,
    other_gap: str | None,
    adapters: Mapping[str, Any],
    absent: Mapping[str, str],
) -> Body:
    options = dict(config.ablation or {})
    given = options.pop("absent", None)
    said = {**absent, **(given if isinstance(given, dict) else {})}
    refs = {"router": router, "pairs": pairs, **({"other_gap": other_gap} if other_gap else {})}
    why = {"absent": said} if said else {}
    return {"kind": "ablation", **refs, **adapters, **why, **_judge(config, budget_usd), **options}


def _train(config: UnoConfig, name: str, dataset: str, says: Mapping[str, Any]) -> Body:
    common = {"kind": "train", "preset": "uno", "name": name, "dataset": dataset, "base_model": config.base_model}
    return {**common, "samples": 0, **config.train, **says}


def _teacher(config: UnoConfig, budget_usd: float) -> Body:
    return {"teacher": config.teacher, "model": config.model, "budget_usd": budget_usd}


def _judge(config: UnoConfig, budget_usd: float) -> Body:
    own = (config.judge, config.judge_model) if config.judge else (config.teacher, config.model)
    return {"teacher": own[0], "model": own[1], "budget_usd": budget_usd}


def drafts(config: UnoConfig) -> list[tuple[str, Body]]:
    """Each body with references that point nowhere, by the field that has its options: what is wrong in them is said at submit."""
    job, dataset, usd = "job:00000000-0000-0000-0000-000000000000", "dataset:none@1", config.budget_usd
    found = [
        ("clustering", cluster(config, job)),
        ("gap", gap(config, job, usd)),
        ("pairs", pairs(config, job, job, usd)),
        ("train", expert(config, "c", dataset)),
        ("train", critic(config, "c", dataset)),
        ("verify", verify(config, "c", job, usd)),
        ("router", router(config, job, job, [job], [job])),
    ]
    return found if config.ablation is None else [*found, ("ablation", ablation(config, job, job, usd, job, {}, {}))]
