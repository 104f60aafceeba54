"""adapter versions that only move on, what they descend from, and erasures"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c81f5e07a3d4"
down_revision = "f3a86d15b9e2"
branch_labels = None
depends_on = None

# What may change in a version: its status, one step forward, and the marks of an erasure, upward.
APPEND_ONLY = """
CREATE FUNCTION adapter_version_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'adapter versions are never deleted' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'candidate' THEN
            RAISE EXCEPTION 'an adapter version begins as a candidate, not %', NEW.status
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (('candidate', 'approved'), ('approved', 'retired')) THEN
        RAISE EXCEPTION 'an adapter version moves from candidate to approved to retired, not from % to %', OLD.status, NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.erased_rows < OLD.erased_rows OR (OLD.erased_at IS NOT NULL AND NEW.erased_at IS NULL) THEN
        RAISE EXCEPTION 'the mark of an erasure stays' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF to_jsonb(NEW) - ARRAY['status', 'erased_rows', 'erased_at'] <> to_jsonb(OLD) - ARRAY['status', 'erased_rows', 'erased_at'] THEN
        RAISE EXCEPTION 'adapter version % is frozen; only its status moves on', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
"""
ROWS = """
CREATE TRIGGER adapter_version_is_append_only BEFORE INSERT OR UPDATE OR DELETE ON adapter_versions
FOR EACH ROW EXECUTE FUNCTION adapter_version_is_append_only()
"""
TABLE = """
CREATE TRIGGER adapter_versions_are_never_truncated BEFORE TRUNCATE ON adapter_versions
FOR EACH STATEMENT EXECUTE FUNCTION adapter_version_is_append_only()
"""

# An erasure takes an answer away for good; nothing else changes one.
ANSWER = """
CREATE OR REPLACE FUNCTION teacher_answer_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {exception}
    RAISE EXCEPTION 'the answer of teacher call % was paid for and is never changed', OLD.id USING ERRCODE = 'integrity_constraint_violation';
END $$
"""
ERASED = "IF NEW.answer IS NULL AND current_setting('goldsmith.erasing', true) = 'on' THEN RETURN NEW; END IF;"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("adapter_versions", "dataset_versions"):
        op.add_column(table, sa.Column("erased_rows", sa.Integer(), server_default="0", nullable=False))
        op.add_column(table, sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("adapter_versions", sa.Column("base_revision", sa.Text(), nullable=True))
    op.add_column(
        "adapter_versions",
        sa.Column("parents", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column("adapter_versions", sa.Column("created_by", sa.Text(), nullable=True))
    op.add_column("adapter_versions", sa.Column("seal", sa.Text(), nullable=True))
    op.create_table(
        "erasures",
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("device_sha256", sa.Text(), nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("files", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index("ix_erasures_device", "erasures", ["device_sha256"])
    op.execute(APPEND_ONLY)
    op.execute(ROWS)
    op.execute(TABLE)
    op.execute(ANSWER.format(exception=ERASED))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(ANSWER.format(exception=""))
    op.execute("DROP TRIGGER adapter_versions_are_never_truncated ON adapter_versions")
    op.execute("DROP TRIGGER adapter_version_is_append_only ON adapter_versions")
    op.execute("DROP FUNCTION adapter_version_is_append_only")
    op.drop_table("erasures")
    for column in ("seal", "created_by", "parents", "base_revision"):
        op.drop_column("adapter_versions", column)
    for table in ("adapter_versions", "dataset_versions"):
        op.drop_column(table, "erased_at")
        op.drop_column(table, "erased_rows")
