"""attempts in which the safety check itself failed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3f8d20c6a91e"
down_revision = "6b0d3f82c1ae"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("ab_units", sa.Column("unchecked", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("ab_units", "unchecked")
