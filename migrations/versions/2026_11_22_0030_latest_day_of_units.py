"""what a unit came to on its latest day"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "8d41c6e07f2b"
down_revision = "3f8d20c6a91e"
branch_labels = None
depends_on = None

NAMES = ("first_day", "last_day", "last_attempts", "last_blocks", "last_interceptions", "last_errors", "last_slow")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in NAMES:
        op.add_column("ab_units", sa.Column(name, sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in reversed(NAMES):
        op.drop_column("ab_units", name)
