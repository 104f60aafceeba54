"""`/v1/pipelines`: several jobs that depend on each other, in one request."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from api.body import inline, read_json
from api.jobs import MISSING, REFUSALS, IdempotencyKey
from api.state import CallerDep, StateDep
from goldsmith import limits, pipelines
from goldsmith.jobs import Told
from goldsmith.kinds.registry import kinds
from goldsmith.pipelines import Pipeline
from goldsmith.submit import JobOptions

router = APIRouter(prefix="/v1/pipelines", tags=["pipelines"])


def _body() -> dict[str, Any]:
    """The OpenAPI of a pipeline. The configs are those of `POST /v1/jobs`."""
    job = {
        "type": "object",
        "required": ["kind"],
        "properties": {
            "kind": {"enum": list(kinds())},
            "depends_on": {"type": "array", "items": {"type": "string"}, "description": "Names of this pipeline's jobs."},
            "options": inline(JobOptions.model_json_schema()),
        },
    }
    jobs = {"type": "object", "minProperties": 1, "maxProperties": pipelines.MOST_JOBS, "additionalProperties": job}
    example = {
        "jobs": {
            "import": {"kind": "import", "folder": "examples/workshop/exports/json"},
            "rules": {"kind": "rules", "runs": "job:import", "teacher": "rehearsal", "budget_usd": 1},
            "cluster": {"kind": "cluster", "rules": "job:rules", "runs": "job:import"},
        }
    }
    schema = {"type": "object", "required": ["jobs"], "properties": {"jobs": jobs}, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


@router.post("", status_code=202, responses=REFUSALS, response_model=Pipeline, openapi_extra=_body())
async def create_pipeline(
    request: Request,
    response: Response,
    state: StateDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey,
) -> Pipeline:
    """Submit jobs that depend on each other, all or none.

    `depends_on` names jobs of the pipeline; a config refers to one as `job:<name>` or `job:<name>/<artifact>`, and then waits
    for it too. A cycle is a 422 that shows it. The same `Idempotency-Key` with the same body returns the first pipeline.
    """
    body = await read_json(request)

    def create() -> tuple[Pipeline, bool, list[Told]]:
        with state.database.connection() as conn, conn.transaction():
            made = pipelines.create(conn, body, state.settings, created_by=caller.name, idempotency_key=idempotency_key)
            pipeline, created, _ = made
            if created:
                limits.take_jobs(conn, caller, len(pipeline.jobs))
        return made

    pipeline, created, told = await to_thread.run_sync(create)
    state.publish_soon(told)
    response.headers["Location"] = f"/v1/pipelines/{pipeline.id}"
    if not created:
        response.headers["Idempotent-Replayed"] = "true"
    return pipeline


@router.get("/{pipeline_id}", responses=MISSING)
def get_pipeline(pipeline_id: UUID, state: StateDep) -> Pipeline:
    """The pipeline's jobs by name, with their states."""
    with state.database.connection() as conn:
        return pipelines.get(conn, pipeline_id)


@router.post("/{pipeline_id}/cancel", responses=MISSING, status_code=202)
def cancel_pipeline(pipeline_id: UUID, state: StateDep) -> Pipeline:
    """Cancel every job that has not ended; what runs is asked to stop. Twice, or when all have ended, is a no-op."""
    with state.database.connection() as conn:
        pipeline = pipelines.cancel(conn, pipeline_id)
    state.database.changed(*(job.id for job in pipeline.jobs.values()))
    return pipeline
