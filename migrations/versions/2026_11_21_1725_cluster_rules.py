"""rules of clusters, and cluster ids that stay"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "d19b3a7c60e2"
down_revision = "e7b1c95a2d40"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("clusters", sa.Column("cluster_id", sa.Text(), nullable=True))
    op.create_table(
        "cluster_rules",
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("label", sa.Integer(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("support", sa.Integer(), nullable=False),
        sa.Column("coverage", sa.Double(), nullable=False),
        sa.Column("session_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("signals", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("configs", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("rule_ordinals", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('active', 'retired')", name=op.f("ck_cluster_rules_status")),
        sa.CheckConstraint(
            "support >= 1 AND cardinality(session_ids) = support AND cardinality(signals) = support"
            " AND cardinality(configs) = support",
            name=op.f("ck_cluster_rules_support"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_cluster_rules_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cluster_rules")),
        sa.UniqueConstraint("job_id", "ordinal", name=op.f("uq_cluster_rules_job_id_ordinal")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("cluster_rules")
    op.drop_column("clusters", "cluster_id")
