"""dependencies with a fate, pipelines, unique and concurrency keys, paused kinds, schedules"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "8c1f0a6d2b37"
down_revision = "3b1f6e0a9c42"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "paused_kinds",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_paused_kinds")),
    )
    op.create_table(
        "pipelines",
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("created_by", sa.Text(), server_default="local", nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("idempotency_sha256", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipelines")),
    )
    op.create_index(
        "ix_pipelines_idempotency",
        "pipelines",
        ["created_by", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_table(
        "schedules",
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("config", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("options", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_job_id", sa.UUID(), nullable=True),
        sa.Column("last_error", postgresql.JSONB(), nullable=True),
        sa.Column("created_by", sa.Text(), server_default="local", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["last_job_id"], ["jobs.id"], name=op.f("fk_schedules_last_job_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        sa.UniqueConstraint("name", name=op.f("uq_schedules_name")),
    )
    op.create_index("ix_schedules_next", "schedules", ["next_at"], postgresql_where=sa.text("enabled"))
    op.add_column("jobs", sa.Column("concurrency_limit", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("concurrency_slot", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("on_parent_failure", sa.Text(), server_default="fail", nullable=False))
    op.add_column("jobs", sa.Column("pipeline_id", sa.UUID(), nullable=True))
    op.add_column("jobs", sa.Column("pipeline_name", sa.Text(), nullable=True))
    op.create_foreign_key(op.f("fk_jobs_pipeline_id"), "jobs", "pipelines", ["pipeline_id"], ["id"], ondelete="SET NULL")
    op.create_check_constraint(op.f("ck_jobs_on_parent_failure"), "jobs", "on_parent_failure IN ('fail', 'run', 'cancel')")
    op.create_check_constraint(
        op.f("ck_jobs_concurrency_limit"),
        "jobs",
        "(concurrency_key IS NULL) = (concurrency_limit IS NULL) AND concurrency_limit >= 1",
    )
    op.create_index(
        "ix_jobs_one_run_per_slot",
        "jobs",
        ["concurrency_key", "concurrency_slot"],
        unique=True,
        postgresql_where=sa.text("status = 'running' AND concurrency_key IS NOT NULL"),
    )
    op.create_index("ix_jobs_unique", "jobs", ["kind", "unique_key"], postgresql_where=sa.text("unique_key IS NOT NULL"))
    op.create_index(
        "ix_jobs_blocked",
        "jobs",
        ["blocked_by", sa.literal_column("priority DESC"), "id"],
        postgresql_where=sa.text("status = 'queued' AND blocked_by IS NOT NULL"),
    )
    op.create_index("ix_jobs_pipeline", "jobs", ["pipeline_id"], postgresql_where=sa.text("pipeline_id IS NOT NULL"))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for index in ("ix_jobs_pipeline", "ix_jobs_blocked", "ix_jobs_unique", "ix_jobs_one_run_per_slot"):
        op.drop_index(index, table_name="jobs")
    for column in ("pipeline_name", "pipeline_id", "on_parent_failure", "concurrency_slot", "concurrency_limit"):
        op.drop_column("jobs", column)
    op.drop_table("schedules")
    op.drop_table("pipelines")
    op.drop_table("paused_kinds")
