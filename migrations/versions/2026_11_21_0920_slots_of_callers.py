"""how many jobs of a key run at once"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "b7d20c9e5f18"
down_revision = "b1d6f0c2a953"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("jobs", sa.Column("caller_slot", sa.Integer(), nullable=True))
    op.create_index(
        "ix_jobs_one_run_per_caller_slot",
        "jobs",
        ["created_by", "caller_slot"],
        unique=True,
        postgresql_where=sa.text("status = 'running' AND caller_slot IS NOT NULL"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_jobs_one_run_per_caller_slot", table_name="jobs")
    op.drop_column("jobs", "caller_slot")
