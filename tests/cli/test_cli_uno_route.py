"""`goldsmith uno ablation` finds its table, from the uno job or from its own; `goldsmith uno route` asks for the router."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from psycopg.types.json import Jsonb
from typer.testing import Result

from goldsmith import artifacts
from goldsmith.db import Connection
from goldsmith.uno.route import Leg
from tests.client.server import Api
from tests.conftest import free_port
from tests.routers import make_router

Goldsmith = Callable[..., Result]
JobFactory = Callable[..., UUID]


def test_the_table_is_printed_from_either_job(
    api: Api, conn: Connection, job_factory: JobFactory, goldsmith: Goldsmith
) -> None:
    uno, other = job_factory(kind="uno"), job_factory(kind="uno")
    job = job_factory(kind="ablation", submitted_by=uno)
    running = goldsmith("uno", "ablation", str(uno))
    assert f"job:{job} running" in running.output
    artifacts.save(conn, api.storage, job, 1, "ablation.md", b"# Was it worth it?\n\n| full |\n", "text/markdown")
    result = Jsonb({"table": f"job:{job}/ablation.md"})
    conn.execute("UPDATE jobs SET status = 'completed', completed_at = now(), result = %s WHERE id = %s", (result, job))
    for ref in (str(uno), f"job:{job}"):
        assert goldsmith("uno", "ablation", ref).output == "# Was it worth it?\n\n| full |\n"
    assert "has no ablation" in goldsmith("uno", "ablation", str(other)).output
    assert "a uno or an ablation job is wanted" in goldsmith("uno", "ablation", str(job_factory(kind="train"))).output


def test_a_question_is_routed_or_refused_in_words(
    api: Api, conn: Connection, job_factory: JobFactory, goldsmith: Goldsmith, own_settings: dict[str, str]
) -> None:
    ref, _ = make_router(conn, api.storage, job_factory, [Leg(0, "c0", 30, "base", "")], [[1.0, 0.0]])
    own_settings["GOLDSMITH_SERVE_PORT"] = str(free_port())
    refused = goldsmith("uno", "route", ref, "What is it made of?")
    assert refused.exit_code == 1
    assert "/v1/embeddings" in refused.output
    assert goldsmith("uno", "route", str(job_factory(kind="train")), "What?").exit_code == 2
