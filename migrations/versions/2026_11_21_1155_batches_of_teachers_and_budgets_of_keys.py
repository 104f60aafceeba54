"""batches of teachers and budgets of keys"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "f3a9c1d57b20"
down_revision = "5d1c7b60f2a9"
branch_labels = None
depends_on = None

IMMUTABLE = """
CREATE FUNCTION teacher_answer_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the answer of teacher call % was paid for and is never changed', OLD.id USING ERRCODE = 'integrity_constraint_violation';
END $$
"""
TRIGGER = """
CREATE TRIGGER teacher_answer_is_immutable BEFORE UPDATE OF answer ON teacher_calls FOR EACH ROW
WHEN (OLD.answer IS NOT NULL AND OLD.answer IS DISTINCT FROM NEW.answer) EXECUTE FUNCTION teacher_answer_is_immutable()
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "teacher_batches",
        sa.Column("id", postgresql.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("job_id", postgresql.UUID(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), server_default="intended", nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('intended', 'sent', 'settled', 'void')", name=op.f("ck_teacher_batches_status")),
        sa.CheckConstraint(
            "status NOT IN ('sent', 'settled') OR provider_id IS NOT NULL", name=op.f("ck_teacher_batches_sent_has_provider_id")
        ),
        sa.CheckConstraint(
            "(ended_at IS NOT NULL) = (status IN ('settled', 'void'))", name=op.f("ck_teacher_batches_ended_at")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_teacher_batches_job_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teacher_batches")),
        sa.UniqueConstraint("provider", "provider_id", name=op.f("uq_teacher_batches_provider_provider_id")),
    )
    op.create_index("ix_teacher_batches_open", "teacher_batches", ["job_id"], postgresql_where=sa.text("ended_at IS NULL"))
    op.add_column(
        "teacher_calls",
        sa.Column("budget_ids", postgresql.ARRAY(postgresql.UUID()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column("teacher_calls", sa.Column("batch_id", postgresql.UUID(), nullable=True))
    op.create_foreign_key(op.f("fk_teacher_calls_batch_id"), "teacher_calls", "teacher_batches", ["batch_id"], ["id"])
    for name, type_ in (
        ("cache_read_tokens", sa.Integer()),
        ("cache_write_tokens", sa.Integer()),
        ("owner", sa.Text()),
        ("error", sa.Text()),
    ):
        op.add_column("teacher_calls", sa.Column(name, type_, nullable=True))
    op.execute(
        "UPDATE teacher_calls c SET owner = j.created_by FROM jobs j"
        " WHERE j.id = c.job_id AND c.status = 'settled' AND c.answer IS NOT NULL"
    )
    op.create_index(
        "ix_teacher_calls_in_flight",
        "teacher_calls",
        ["request_sha256", "owner"],
        unique=True,
        postgresql_where=sa.text("status = 'reserved' AND owner IS NOT NULL"),
    )
    op.create_index("ix_teacher_calls_request", "teacher_calls", ["request_sha256"])
    op.create_index("ix_teacher_calls_batch", "teacher_calls", ["batch_id"], postgresql_where=sa.text("batch_id IS NOT NULL"))
    op.create_index("ix_teacher_calls_open", "teacher_calls", ["job_id"], postgresql_where=sa.text("status = 'reserved'"))
    op.execute(IMMUTABLE)
    op.execute(TRIGGER)
    op.add_column("api_keys", sa.Column("budget_usd", sa.Numeric(14, 6), nullable=True))
    op.add_column("api_keys", sa.Column("budget_usd_per_day", sa.Numeric(14, 6), nullable=True))
    op.create_check_constraint(op.f("ck_api_keys_budgets"), "api_keys", "budget_usd >= 0 AND budget_usd_per_day >= 0")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_constraint(op.f("ck_api_keys_budgets"), "api_keys")
    op.drop_column("api_keys", "budget_usd_per_day")
    op.drop_column("api_keys", "budget_usd")
    op.execute("DROP TRIGGER teacher_answer_is_immutable ON teacher_calls")
    op.execute("DROP FUNCTION teacher_answer_is_immutable")
    for name in ("open", "batch", "request", "in_flight"):
        op.drop_index(f"ix_teacher_calls_{name}", table_name="teacher_calls")
    op.drop_constraint(op.f("fk_teacher_calls_batch_id"), "teacher_calls", type_="foreignkey")
    for name in ("error", "owner", "cache_write_tokens", "cache_read_tokens", "batch_id", "budget_ids"):
        op.drop_column("teacher_calls", name)
    op.drop_table("teacher_batches")
