"""golden sets are uploaded"""

from __future__ import annotations

from alembic import op

revision = "c5e2a90f41b7"
down_revision = "7c1e5a90d3b2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_constraint(op.f("ck_uploads_kind"), "uploads")
    op.create_check_constraint(op.f("ck_uploads_kind"), "uploads", "kind IN ('prompts', 'contexts', 'sessions', 'golden')")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DELETE FROM uploads WHERE kind = 'golden'")
    op.drop_constraint(op.f("ck_uploads_kind"), "uploads")
    op.create_check_constraint(op.f("ck_uploads_kind"), "uploads", "kind IN ('prompts', 'contexts', 'sessions')")
