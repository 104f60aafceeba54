"""counted questions and overrun budgets"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "c4e8f2a71d93"
down_revision = "c81f5e07a3d4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("budgets", sa.Column("overrun_usd", sa.Numeric(14, 6), server_default="0", nullable=False))
    op.drop_constraint(op.f("ck_budgets_within_cap"), "budgets", type_="check")
    op.create_check_constraint(op.f("ck_budgets_within_cap"), "budgets", "spent_usd + reserved_usd <= cap_usd + overrun_usd")
    op.add_column("teacher_calls", sa.Column("max_tokens", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("teacher_calls", "max_tokens")
    op.execute("UPDATE budgets SET cap_usd = greatest(cap_usd, spent_usd + reserved_usd)")
    op.drop_constraint(op.f("ck_budgets_within_cap"), "budgets", type_="check")
    op.create_check_constraint(op.f("ck_budgets_within_cap"), "budgets", "spent_usd + reserved_usd <= cap_usd")
    op.drop_column("budgets", "overrun_usd")
