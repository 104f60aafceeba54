"""experiments in versions and steps, their units, looks and decisions"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "7c1e5a90d3b2"
down_revision = "b06d3f9a51ce"
branch_labels = None
depends_on = None

FORMER = "'promote', 'keep_base', 'continue', 'rollback', 'invalid'"
DECISIONS = (
    f"{FORMER}, 'create', 'start', 'pause', 'resume', 'ramp', 'approve', 'hold', 'release', 'gate', 'complete', 'force', 'unforce', "
    "'promote_done', 'probe'"
)
COUNTS = (
    "gated", "interceptions", "foreign_", "wiki", "attempts", "blocks", "edited_attempts", "edited_blocks",
    "foreign_attempts", "favorites", "regenerations", "edits", "exports", "abandons", "errors", "slow",
)  # fmt: skip

# The counter's row is locked until the change is committed: what a snapshot shows at a number never changes afterwards.
CHANGED = """
CREATE FUNCTION ab_snapshot_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ab_snapshot DEFAULT VALUES ON CONFLICT (one) DO UPDATE SET sequence = ab_snapshot.sequence + 1;
    RETURN NULL;
END $$
"""
ON_EXPERIMENTS = """
CREATE TRIGGER ab_snapshot_changed AFTER UPDATE ON experiments FOR EACH ROW WHEN (
    (OLD.status, OLD.step, OLD.salt, OLD.group_lo, OLD.group_hi, OLD.plan) IS DISTINCT FROM
    (NEW.status, NEW.step, NEW.salt, NEW.group_lo, NEW.group_hi, NEW.plan)
    AND (OLD.status <> 'draft' OR NEW.status <> 'draft')
) EXECUTE FUNCTION ab_snapshot_changed()
"""
ON_ARMS = """
CREATE TRIGGER ab_snapshot_changed AFTER UPDATE ON arms FOR EACH ROW WHEN (
    (OLD.weight, OLD.adapter, OLD.gated) IS DISTINCT FROM (NEW.weight, NEW.adapter, NEW.gated)
) EXECUTE FUNCTION ab_snapshot_changed()
"""


def _at(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _json(name: str, default: str | None = None) -> sa.Column[object]:
    return sa.Column(
        name,
        postgresql.JSONB(astext_type=sa.Text()),
        server_default=sa.text(f"'{default}'::jsonb") if default else None,
        nullable=default is None,
    )


def _of_experiment(table: str) -> tuple[sa.Column[object], sa.ForeignKeyConstraint]:
    return (
        sa.Column("experiment_id", sa.UUID(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name=op.f(f"fk_{table}_experiment_id"), ondelete="CASCADE"
        ),
    )


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for column in (
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("supersedes", sa.UUID(), nullable=True),
        sa.Column("plan_sha256", sa.Text(), nullable=True),
        sa.Column("step", sa.Integer(), server_default="0", nullable=False),
        _at("step_started_at"),
        sa.Column("approved_step", sa.Integer(), nullable=True),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("group_lo", sa.Integer(), nullable=True),
        sa.Column("group_hi", sa.Integer(), nullable=True),
        sa.Column("held_reason", sa.Text(), nullable=True),
        _at("held_at"),
        _json("forced"),
        _at("cooldown_until"),
    ):
        op.add_column("experiments", column)
    op.create_foreign_key(
        op.f("fk_experiments_supersedes"), "experiments", "experiments", ["supersedes"], ["id"], ondelete="SET NULL"
    )
    op.create_unique_constraint(op.f("uq_experiments_name_version"), "experiments", ["name", "version"])
    op.drop_constraint(op.f("uq_experiments_name"), "experiments", type_="unique")
    op.create_check_constraint(op.f("ck_experiments_version"), "experiments", "version >= 1")
    op.create_check_constraint(op.f("ck_experiments_step"), "experiments", "step >= 0")
    op.create_check_constraint(op.f("ck_experiments_held"), "experiments", "(held_at IS NULL) = (held_reason IS NULL)")
    op.create_check_constraint(
        op.f("ck_experiments_group_range"), "experiments", "0 <= group_lo AND group_lo < group_hi AND group_hi <= 10000"
    )
    op.add_column("arms", sa.Column("gated", sa.Text(), nullable=True))
    op.add_column("ab_events", sa.Column("step", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "experiment_steps",
        *_of_experiment("experiment_steps"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        _at("ended_at"),
        sa.PrimaryKeyConstraint("experiment_id", "started_at", name=op.f("pk_experiment_steps")),
    )
    op.execute(
        "INSERT INTO experiment_steps (experiment_id, started_at, step, ended_at)"
        " SELECT id, started_at, 0, ended_at FROM experiments WHERE started_at IS NOT NULL"
    )
    op.execute("UPDATE experiments SET step_started_at = started_at WHERE started_at IS NOT NULL")
    op.create_table(
        "ab_snapshot",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), server_default="1", nullable=False),
        sa.CheckConstraint("one", name=op.f("ck_ab_snapshot_one")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_ab_snapshot")),
    )
    op.create_table(
        "ab_units",
        *_of_experiment("ab_units"),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), server_default="0", nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("former_step", sa.Integer(), nullable=True),
        sa.Column("exposed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        *(sa.Column(name, sa.Integer(), server_default="0", nullable=False) for name in COUNTS),
        *(
            sa.Column(name, sa.Double(), server_default="0", nullable=False)
            for name in ("edit_share", "latency_ms", "dwell_ms")
        ),
        _moment("changed_at"),
        sa.PrimaryKeyConstraint("experiment_id", "unit", "step", name=op.f("pk_ab_units")),
    )
    op.create_index("ix_ab_units_seq", "ab_units", ["experiment_id", "seq"])
    op.create_table(
        "ab_sketches",
        *_of_experiment("ab_sketches"),
        sa.Column("seq", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("config_id", sa.Text(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "seq", name=op.f("pk_ab_sketches")),
    )
    op.create_table(
        "ab_state",
        *_of_experiment("ab_state"),
        _moment("at"),
        _json("numbers", "{}"),
        _json("memory", "{}"),
        sa.PrimaryKeyConstraint("experiment_id", name=op.f("pk_ab_state")),
    )
    op.create_table(
        "ab_looks",
        *_of_experiment("ab_looks"),
        _moment("at"),
        _json("numbers", "{}"),
        sa.PrimaryKeyConstraint("experiment_id", "at", name=op.f("pk_ab_looks")),
    )
    for column in (sa.Column("actor", sa.Text(), nullable=True), _json("probe"), _json("effects", "[]"), _at("due_at")):
        op.add_column("ab_decisions", column)
    op.drop_constraint(op.f("ck_ab_decisions_decision"), "ab_decisions", type_="check")
    op.create_check_constraint(op.f("ck_ab_decisions_decision"), "ab_decisions", f"decision IN ({DECISIONS})")
    op.create_index("ix_ab_decisions_experiment", "ab_decisions", ["experiment_id", "created_at"])
    op.create_index("ix_ab_decisions_due", "ab_decisions", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
    for statement in (CHANGED, ON_EXPERIMENTS, ON_ARMS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TRIGGER ab_snapshot_changed ON arms")
    op.execute("DROP TRIGGER ab_snapshot_changed ON experiments")
    op.execute("DROP FUNCTION ab_snapshot_changed")
    op.drop_index("ix_ab_decisions_due", "ab_decisions")
    op.drop_index("ix_ab_decisions_experiment", "ab_decisions")
    op.execute(f"DELETE FROM ab_decisions WHERE decision NOT IN ({FORMER})")
    op.drop_constraint(op.f("ck_ab_decisions_decision"), "ab_decisions", type_="check")
    op.create_check_constraint(op.f("ck_ab_decisions_decision"), "ab_decisions", f"decision IN ({FORMER})")
    for name in ("due_at", "effects", "probe", "actor"):
        op.drop_column("ab_decisions", name)
    for name in ("ab_looks", "ab_state", "ab_sketches", "ab_units", "ab_snapshot", "experiment_steps"):
        op.drop_table(name)
    op.drop_column("ab_events", "step")
    op.drop_column("arms", "gated")
    op.execute("UPDATE experiments SET name = name || '-v' || version WHERE version > 1")
    op.create_unique_constraint(op.f("uq_experiments_name"), "experiments", ["name"])
    op.drop_constraint(op.f("uq_experiments_name_version"), "experiments", type_="unique")
    for name in (
        "cooldown_until", "forced", "held_at", "held_reason", "group_hi", "group_lo", "group_name", "approved_step",
        "step_started_at", "step", "plan_sha256", "supersedes", "version",
    ):  # fmt: skip
        op.drop_column("experiments", name)
