"""numbers of failed attempts and webhook tries"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "b7f3a1d9c052"
down_revision = "e92b40c7d613"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "failed_attempts",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("queue", "kind", "cause", name=op.f("pk_failed_attempts")),
    )
    op.create_table(
        "webhook_tries",
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("outcome", name=op.f("pk_webhook_tries")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("webhook_tries")
    op.drop_table("failed_attempts")
