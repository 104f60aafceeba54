"""`/v1/rules` and `/v1/clusters`: what sessions taught, to search, retire and take away; and what came of each cluster."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from api.jobs import MISSING, REFUSALS
from api.params import JobId
from api.state import CallerDep, StateDep
from goldsmith import cluster_rules, clusterings
from goldsmith.cluster_rules import Evidence, Example, FoundRule, Status
from goldsmith.clusterings import Clustering, Format
from goldsmith.errors import storable

router = APIRouter(prefix="/v1")

JobParam = Annotated[
    JobId | None, Query(description="A cluster or a uno job, as job:<id> or its id; empty: the newest clustering.")
]
Words = Annotated[
    str | None, Query(min_length=1, max_length=200, description="Every word of it stands in the rule; upper or lower case.")
]
ClusterParam = Annotated[str | None, Query(max_length=64, description="A cluster_id: the same over all clusterings.")]


class RulePage(BaseModel):
    rules: list[FoundRule]
    next_cursor: UUID | None
    """Give it as `cursor` for the next page; null on the last."""


class RuleView(BaseModel):
    rule: FoundRule
    examples: list[Example] = Field(description="What sessions taught, each in its own words.")


class ExportedRule(BaseModel):
    rule: str
    evidence: Evidence
    configs: list[str]
    input_pattern: str | None


@router.get("/rules", tags=["rules"], responses=REFUSALS)
def list_rules(
    state: StateDep,
    search: Words = None,
    job: Annotated[JobId | None, Query(description="A cluster job as job:<id> or its id; empty: all.")] = None,
    cluster: ClusterParam = None,
    config: Annotated[str | None, Query(max_length=500, description="Learned in sessions of this config.")] = None,
    status: Status | None = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> RulePage:
    """The rules of clusters, each once a cluster: those of the newest clustering first, in it the most supported."""
    with state.database.connection() as conn:
        page = cluster_rules.find(
            conn,
            search=storable(search) if search else None,
            job_id=job,
            cluster=storable(cluster) if cluster else None,
            config=storable(config) if config else None,
            status=status,
            after=cursor,
            limit=limit + 1,
        )
    return RulePage(rules=page[:limit], next_cursor=page[limit - 1].id if len(page) > limit else None)


@router.get(
    "/rules/export",
    tags=["rules"],
    responses=MISSING | {200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}},
    response_model=list[ExportedRule],
)
def export_rules(state: StateDep, job: JobParam = None, format: Format = "json") -> Any:
    """The active rules of a clustering: JSON for other programs, a Markdown table for each cluster for people."""
    with state.database.connection() as conn:
        job_id = clusterings.find(conn, job)
        found = clusterings.get(conn, job_id)
        rules = cluster_rules.find(conn, job_id=job_id, status="active", limit=None)
    if format == "json":
        return clusterings.as_list(rules)
    return Response(clusterings.as_markdown(found, rules), media_type="text/markdown")


@router.get("/rules/{rule_id}", tags=["rules"], responses=MISSING)
def get_rule(rule_id: UUID, state: StateDep) -> RuleView:
    """With what sessions said that taught it."""
    with state.database.connection() as conn:
        return RuleView(rule=cluster_rules.get(conn, rule_id), examples=cluster_rules.examples(conn, rule_id))


@router.post("/rules/{rule_id}/retire", tags=["rules"], responses=MISSING)
def retire_rule(rule_id: UUID, state: StateDep, caller: CallerDep) -> FoundRule:
    """Use it no more, nor any that it stands for: no later clustering, pair or dataset of these sessions has it. Twice is a no-op."""
    with state.database.connection() as conn:
        return cluster_rules.set_status(conn, rule_id, "retired", actor=caller.name)


@router.post("/rules/{rule_id}/restore", tags=["rules"], responses=MISSING)
def restore_rule(rule_id: UUID, state: StateDep, caller: CallerDep) -> FoundRule:
    """Take it back into use. What is in quarantine stays there. Twice is a no-op."""
    with state.database.connection() as conn:
        return cluster_rules.set_status(conn, rule_id, "active", actor=caller.name)


@router.get("/clusters", tags=["rules"], responses=MISSING)
def list_clusters(state: StateDep, job: JobParam = None) -> Clustering:
    """A clustering: each cluster with its size, rules, gap, path, and what its adapter won."""
    with state.database.connection() as conn:
        return clusterings.get(conn, clusterings.find(conn, job))
