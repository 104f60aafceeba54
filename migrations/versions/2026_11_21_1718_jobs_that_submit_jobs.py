"""the job that submitted a job"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "e7b1c95a2d40"
down_revision = "7b1f0c95e2d4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("jobs", sa.Column("submitted_by", sa.UUID(), nullable=True))
    op.create_foreign_key(op.f("fk_jobs_submitted_by"), "jobs", "jobs", ["submitted_by"], ["id"], ondelete="SET NULL")
    op.create_index("ix_jobs_submitted_by", "jobs", ["submitted_by"], postgresql_where=sa.text("submitted_by IS NOT NULL"))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("jobs", "submitted_by")
