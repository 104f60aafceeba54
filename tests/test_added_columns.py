"""A migration adds columns under processes that run: a statement that was prepared before must go on."""

from __future__ import annotations

from pathlib import Path

from goldsmith import experiments, jobs, keys, metrics, pipelines, rescue, schedules, webhooks
from goldsmith.db import Connection, connect
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.jobs import NewJob, Outcome
from goldsmith.queue import Queue
from goldsmith.schedules import NewSchedule
from goldsmith.settings import Settings
from goldsmith.tables import metadata
from goldsmith.webhooks import NewWebhook


def test_what_was_prepared_outlives_a_new_column_of_every_table(
    conn: Connection, database_url: str, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    settings = Settings(_env_file=None, state_dir=tmp_path)
    queue = Queue(valkey.url)
    pipeline, _, _ = pipelines.create(conn, {"jobs": {"a": {"kind": "noop"}}}, settings)
    schedules.create(conn, NewSchedule(name="s", cron="* * * * *", config={"kind": "noop"}))
    hook = webhooks.add(conn, NewWebhook(url="https://hooks.example/"))
    conn.prepare_threshold = 0

    def a_life() -> None:
        job, _ = jobs.submit(conn, NewJob("noop", {"kind": "noop"}, "io", 60, 3))
        jobs.get(conn, job.id)
        assert jobs.claim(conn, job.id, worker="w", gpu_id=None)
        jobs.heartbeat(conn, job.id, 1)
        jobs.progress(conn, job.id, 1, 50, "half", [])
        jobs.finish(conn, job.id, 1, Outcome("failed", message="no"))
        jobs.retry(conn, job.id)
        jobs.set_priority(conn, job.id, 9)
        jobs.list_jobs(conn)
        jobs.dead(conn)
        jobs.cancel(conn, job.id)
        rescue.rescue_once(conn, queue, lease_s=3600)

    def everything_else() -> None:
        conn.execute("UPDATE schedules SET next_at = now()")
        schedules.fire(conn, settings)
        schedules.list_schedules(conn)
        schedules.preview(conn, "s")
        pipelines.get(conn, pipeline.id)
        experiments.list_experiments(conn)
        metrics.read(conn)
        keys.list_keys(conn)
        webhooks.list_webhooks(conn, limit=9)
        webhooks.deliveries(conn, hook.id)
        webhooks.due(conn)

    a_life()
    everything_else()
    with connect(database_url) as another:  # psycopg forgets what a connection prepared when it alters a table itself
        for table in metadata.tables:
            another.execute(f"ALTER TABLE {table} ADD COLUMN added_later integer DEFAULT 1")
    a_life()
    everything_else()
