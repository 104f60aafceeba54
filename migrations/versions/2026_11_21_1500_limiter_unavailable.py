"""how often the limit of a teacher could not be shared"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "a4d0c7e51b93"
down_revision = "c4e8f2a71d93"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "limiter_unavailable",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider", name=op.f("pk_limiter_unavailable")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("limiter_unavailable")
