"""quotas of keys, and totals of jobs for metrics"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "3b1f6e0a9c42"
down_revision = "57ac4890d551"
branch_labels = None
depends_on = None

COUNTED = "event IN ('started', 'rescued', 'completed', 'failed', 'cancelled')"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("api_keys", sa.Column("jobs_per_hour", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("running_at_once", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("hour_started_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("hour_jobs", sa.Integer(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_api_keys_quotas"), "api_keys", "jobs_per_hour >= 1 AND running_at_once >= 1")
    op.create_table(
        "job_totals",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("run_seconds", sa.Double(), server_default="0", nullable=False),
        sa.Column("buckets", postgresql.ARRAY(sa.BigInteger()), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("kind", "queue", "event", name=op.f("pk_job_totals")),
    )
    op.create_table(
        "job_totals_until",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("one", name=op.f("ck_job_totals_until_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_job_totals_until")),
    )
    op.create_index("ix_job_events_counted", "job_events", ["created_at"], postgresql_where=sa.text(COUNTED))
    op.create_index(
        "ix_teacher_calls_spent",
        "teacher_calls",
        ["provider", "model", "rehearsal"],
        postgresql_include=["cost_usd"],
        postgresql_where=sa.text("status = 'settled'"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_teacher_calls_spent", table_name="teacher_calls")
    op.drop_index("ix_job_events_counted", table_name="job_events")
    op.drop_table("job_totals_until")
    op.drop_table("job_totals")
    op.drop_constraint(op.f("ck_api_keys_quotas"), "api_keys", type_="check")
    op.drop_column("api_keys", "hour_jobs")
    op.drop_column("api_keys", "hour_started_at")
    op.drop_column("api_keys", "running_at_once")
    op.drop_column("api_keys", "jobs_per_hour")
