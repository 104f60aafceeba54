"""sessions that somebody typed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "c28e4d6f0a17"
down_revision = "5d2e9b07c1fa"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("sessions", sa.Column("private", sa.Boolean(), server_default=sa.text("true"), nullable=False))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("sessions", "private")
