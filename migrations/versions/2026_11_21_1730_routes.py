"""what routers decided"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "5d2e9b07c1fa"
down_revision = "d19b3a7c60e2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "routes",
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("router_job_id", sa.UUID(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=True),
        sa.Column("label", sa.Integer(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("distance", sa.Double(), nullable=False),
        sa.Column("second_distance", sa.Double(), nullable=True),
        sa.Column("outlier", sa.Boolean(), nullable=False),
        sa.Column("adapter", sa.Text(), nullable=True),
        sa.Column("critic", sa.Text(), nullable=True),
        sa.CheckConstraint("path IN ('primary', 'reflective', 'base')", name=op.f("ck_routes_path")),
        sa.ForeignKeyConstraint(["router_job_id"], ["jobs.id"], name=op.f("fk_routes_router_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_routes")),
    )
    op.create_index("ix_routes_router_job_id", "routes", ["router_job_id", "id"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("routes")
