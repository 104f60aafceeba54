"""batches, and an index for failed jobs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "a4d27e91c5f8"
down_revision = "c45e7d10f8a2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "batches",
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("idempotency_sha256", sa.Text(), nullable=False),
        sa.Column("job_ids", postgresql.ARRAY(sa.UUID()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("created_by", "idempotency_key", name=op.f("pk_batches")),
    )
    op.create_index("ix_jobs_dead", "jobs", ["completed_at", "id"], postgresql_where=sa.text("status = 'failed'"))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_jobs_dead", table_name="jobs")
    op.drop_table("batches")
