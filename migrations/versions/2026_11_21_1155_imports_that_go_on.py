"""runs that a later import found unchanged, and what each import read"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "f3a86d15b9e2"
down_revision = "f3a9c1d57b20"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_index("ix_runs_content", "runs", ["run_id", "content_sha256"])
    op.create_table(
        "run_imports",
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_run_imports_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_imports_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "run_id", name=op.f("pk_run_imports")),
    )
    op.create_index("ix_run_imports_run", "run_imports", ["run_id"])
    op.create_table(
        "import_index",
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("entry", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("root", "path", name=op.f("pk_import_index")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("import_index")
    op.drop_table("run_imports")
    op.drop_index("ix_runs_content", table_name="runs")
