"""sessions, and rules that are not in use"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "7b1f0c95e2d4"
down_revision = "a4d0c7e51b93"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "sessions",
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("config_id", sa.Text(), nullable=True),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("system", sa.Text(), nullable=True),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("feedback", sa.Text(), nullable=True),
        sa.Column("signal", sa.Text(), nullable=False),
        sa.Column("weight", sa.Double(), server_default="1", nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("source IN ('run', 'chat', 'feedback')", name=op.f("ck_sessions_source")),
        sa.CheckConstraint("status IN ('active', 'quarantined')", name=op.f("ck_sessions_status")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_sessions_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("job_id", "ordinal", name=op.f("uq_sessions_job_id_ordinal")),
        sa.UniqueConstraint("job_id", "session_id", name=op.f("uq_sessions_job_id_session_id")),
    )
    op.create_index("ix_sessions_device", "sessions", ["device_id"], postgresql_where=sa.text("device_id IS NOT NULL"))
    op.create_index("ix_sessions_quarantined", "sessions", ["job_id"], postgresql_where=sa.text("status = 'quarantined'"))
    op.add_column("rules", sa.Column("status", sa.Text(), server_default="active", nullable=False))
    op.add_column("rules", sa.Column("reason", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_rules_status"), "rules", "status IN ('active', 'quarantined', 'retired')")
    op.create_index("ix_rules_quarantined", "rules", ["job_id"], postgresql_where=sa.text("status = 'quarantined'"))
    op.drop_constraint(op.f("ck_uploads_kind"), "uploads")
    op.create_check_constraint(op.f("ck_uploads_kind"), "uploads", "kind IN ('prompts', 'contexts', 'sessions')")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DELETE FROM uploads WHERE kind = 'sessions'")
    op.drop_constraint(op.f("ck_uploads_kind"), "uploads")
    op.create_check_constraint(op.f("ck_uploads_kind"), "uploads", "kind IN ('prompts', 'contexts')")
    op.drop_index("ix_rules_quarantined", table_name="rules", postgresql_where=sa.text("status = 'quarantined'"))
    op.drop_constraint(op.f("ck_rules_status"), "rules")
    op.drop_column("rules", "reason")
    op.drop_column("rules", "status")
    op.drop_table("sessions")
