"""jobs that wait for the end of a workshop"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "e92b40c7d613"
down_revision = "a4d27e91c5f8"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("jobs", sa.Column("outside_workshops", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("jobs", "outside_workshops")
