"""the ledger outlives its jobs"""

from __future__ import annotations

from alembic import op

revision = "c45e7d10f8a2"
down_revision = "b7d20c9e5f18"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.alter_column("teacher_calls", "job_id", nullable=True)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DELETE FROM teacher_calls WHERE job_id IS NULL")
    op.alter_column("teacher_calls", "job_id", nullable=False)
