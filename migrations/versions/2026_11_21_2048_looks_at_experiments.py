"""how many events an experiment has, and how many of them were looked at"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2f8ab0c4d917"
down_revision = "c5e2a90f41b7"
branch_labels = None
depends_on = None

# Whoever writes or erases events: in the transaction that does.
COUNT = """
CREATE FUNCTION count_ab_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ab_state AS s (experiment_id, events) SELECT experiment_id, sign * count(*) FROM (
        SELECT experiment_id, CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END AS sign FROM changed
    ) event GROUP BY experiment_id, sign
    ON CONFLICT (experiment_id) DO UPDATE SET events = s.events + excluded.events;
    RETURN NULL;
END $$
"""
ON_INSERT = """
CREATE TRIGGER count_ab_events_written AFTER INSERT ON ab_events REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION count_ab_events()
"""
ON_DELETE = """
CREATE TRIGGER count_ab_events_erased AFTER DELETE ON ab_events REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION count_ab_events()
"""
BEFORE = """
INSERT INTO ab_state AS s (experiment_id, events) SELECT experiment_id, count(*) FROM ab_events GROUP BY experiment_id
ON CONFLICT (experiment_id) DO UPDATE SET events = excluded.events
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("ab_state", sa.Column("events", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("ab_state", sa.Column("looked_events", sa.BigInteger(), nullable=True))
    op.add_column("ab_state", sa.Column("shown_events", sa.BigInteger(), nullable=True))
    op.execute(COUNT)
    op.execute(ON_INSERT)
    op.execute(ON_DELETE)
    op.execute(BEFORE)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TRIGGER count_ab_events_erased ON ab_events")
    op.execute("DROP TRIGGER count_ab_events_written ON ab_events")
    op.execute("DROP FUNCTION count_ab_events")
    op.drop_column("ab_state", "shown_events")
    op.drop_column("ab_state", "looked_events")
    op.drop_column("ab_state", "events")
