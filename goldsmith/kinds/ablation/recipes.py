"""How each variant answers a question, and which variants cannot be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from goldsmith.errors import InvalidInput
from goldsmith.kinds.ablation.heldout import Question, Seen, seen
from goldsmith.kinds.ablation.schema import AblationConfig, Variant
from goldsmith.uno.centroids import read_centroids
from goldsmith.uno.route import Leg, RoutingTable, choose_path

if TYPE_CHECKING:
    from goldsmith.context import JobContext


@dataclass(frozen=True)
class Recipe:
    """`base`; `rules`: the base model with rules in its prompt; `adapter`: that one; `reflect`: draft, that critic, rewrite."""

    how: str
    adapter: str | None = None

    @property
    def name(self) -> str:
        return f"{self.how}:{self.adapter}" if self.adapter else self.how

    @property
    def calls(self) -> int:
        return 3 if self.how == "reflect" else 1


BASE, RULES = Recipe("base"), Recipe("rules")


@dataclass(frozen=True)
class Examined:
    """The router's tables, by variant, and what bars sessions from a variant."""

    clusters: str
    table: RoutingTable
    other: RoutingTable | None
    gap_method: str
    other_method: str | None
    gaps_agree: float | None
    barred: Mapping[str, Seen]
    document: Mapping[str, Any]


def read(config: AblationConfig, ctx: JobContext) -> Examined:
    document = ctx.result(config.router)
    asked = ctx.config(config.router)
    clusters: str = asked["clusters"]
    if ctx.config(config.pairs)["clusters"] != clusters:
        message = f"{config.pairs} is of other clusters than the router's, {clusters}"
        raise InvalidInput(f"pairs: {message}", errors=[{"field": "pairs", "value": config.pairs, "message": message}])
    legs = [Leg(**{name: one[name] for name in Leg.__dataclass_fields__}) for one in document["clusters"]]
    centroids = read_centroids(ctx.artifact(f"{config.router}/centroids.npz"))
    table = RoutingTable(config.router, legs, centroids, document["outlier_distance"])
    other, method, agree = _other(config, ctx, clusters, document, table)
    given = {"unclustered": [config.unclustered] if config.unclustered else [], "by_config": list(config.by_config.values())}
    barred = {name: seen(ctx, [ctx.adapter(ref).dataset for ref in refs]) for name, refs in given.items() if refs}
    return Examined(clusters, table, other, document["gap_method"], method, agree, barred, document)


def _other(
    config: AblationConfig, ctx: JobContext, clusters: str, document: Mapping[str, Any], table: RoutingTable
) -> tuple[RoutingTable | None, str | None, float | None]:
    """The router with the paths that the other gap job would have given."""
    if config.other_gap is None:
        return None, None, None
    if ctx.config(config.other_gap)["clusters"] != clusters:
        message = f"{config.other_gap} measured other clusters than the router's, {clusters}"
        raise InvalidInput(f"other_gap: {message}", errors=[{"field": "other_gap", "message": message}])
    gap = ctx.result(config.other_gap)
    decisions = {one["cluster_id"]: one["decision"] for one in gap["clusters"]}
    status = {cluster.cluster_id: cluster.status for cluster in ctx.clusters(clusters)}
    legs = []
    for leg, was in zip(table.legs, document["clusters"], strict=True):
        name = leg.cluster_id
        path, why = choose_path(
            status=status[name], gap=decisions.get(name), passed=was["passed"], expert=leg.expert, critic=leg.critic
        )
        legs.append(replace(leg, path=path, why=why))
    alike = sum(decisions.get(one["cluster_id"]) == one["gap"] for one in document["clusters"]) / len(legs)
    return RoutingTable(table.router, legs, table.centroids, table.outlier_distance), gap["gap_method"], alike


def not_run(config: AblationConfig, examined: Examined) -> dict[Variant, str]:
    """What was asked for and lacks something; a router without any adapter still routes, and says the same as the base model."""
    why: dict[Variant, str] = {}
    if config.unclustered is None:
        why["unclustered"] = config.absent.get("unclustered", "no adapter of all clusters was given (`unclustered`)")
    if not config.by_config:
        why["by_config"] = config.absent.get("by_config", "no adapter of a config was given (`by_config`)")
    if not any(leg.path == "primary" for leg in examined.table.legs):
        why["experts"] = "no cluster is on the path primary: no expert passed its gate"
    if not any(leg.critic for leg in examined.table.legs):
        why["reflective"] = "no cluster has a critic"
    if examined.other is None:
        why["full_other_gap"] = "no other gap job was given (`other_gap`)"
    if not any(leg.path != "base" for leg in examined.table.legs):
        why["full"] = "the router sends everything to the base model: no expert passed and no critic is there"
    return {variant: why[variant] for variant in config.variants if variant in why}


def recipe(variant: Variant, question: Question, config: AblationConfig, examined: Examined) -> Recipe:
    match variant:
        case "base":
            return BASE
        case "rules_in_prompt":
            return RULES
        case "unclustered":
            return Recipe("adapter", config.unclustered)
        case "by_config":
            ref = config.by_config.get(question.session.config_id or "")
            return Recipe("adapter", ref) if ref else BASE
    table = examined.other if variant == "full_other_gap" and examined.other is not None else examined.table
    decision = table.decide(question.vector)
    if variant == "reflective":
        critic = None if decision.outlier else table.legs[_row(table, decision.cluster_id)].critic
        return Recipe("reflect", critic) if critic else BASE
    if decision.path == "primary":
        return Recipe("adapter", decision.adapter)
    return Recipe("reflect", decision.critic) if decision.path == "reflective" and variant != "experts" else BASE


def _row(table: RoutingTable, cluster_id: str) -> int:
    return table.centroids.cluster_ids.index(cluster_id)


def recipes(
    variants: Sequence[Variant], drawn: Sequence[Question], config: AblationConfig, examined: Examined
) -> dict[Variant, dict[str, Recipe]]:
    """By variant, of every session that it may answer."""
    found: dict[Variant, dict[str, Recipe]] = {}
    for variant in variants:
        barred = examined.barred.get(variant)
        allowed = [one for one in drawn if barred is None or not barred.knows(one.session)]
        found[variant] = {one.key: recipe(variant, one, config, examined) for one in allowed}
    return found
