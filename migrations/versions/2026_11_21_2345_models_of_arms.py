"""whether the models of arms are in Ollama"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "6b0d3f82c1ae"
down_revision = "2f8ab0c4d917"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("arms", sa.Column("model_looked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("arms", sa.Column("model_seen_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("arms", sa.Column("model_trouble", sa.Text(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("arms", "model_trouble")
    op.drop_column("arms", "model_seen_at")
    op.drop_column("arms", "model_looked_at")
