"""a version is sealed anew where its key was lost"""

from __future__ import annotations

from alembic import op

revision = "9e41b7d2c8f5"
down_revision = "c28e4d6f0a17"
branch_labels = None
depends_on = None

# As before, but for the one that `free` names: seals change only in a transaction that says so.
APPEND_ONLY = """
CREATE OR REPLACE FUNCTION adapter_version_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    free text[] := ARRAY['status', 'erased_rows', 'erased_at'];
BEGIN
    IF TG_OP = 'DELETE' OR TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'adapter versions are never deleted' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'candidate' THEN
            RAISE EXCEPTION 'an adapter version begins as a candidate, not %', NEW.status
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (('candidate', 'approved'), ('approved', 'retired')) THEN
        RAISE EXCEPTION 'an adapter version moves from candidate to approved to retired, not from % to %', OLD.status, NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.erased_rows < OLD.erased_rows OR (OLD.erased_at IS NOT NULL AND NEW.erased_at IS NULL) THEN
        RAISE EXCEPTION 'the mark of an erasure stays' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    {sealing}
    IF to_jsonb(NEW) - free <> to_jsonb(OLD) - free THEN
        RAISE EXCEPTION 'adapter version % is frozen; only its status moves on', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
"""
SEALING = """IF NEW.seal IS NOT NULL AND current_setting('goldsmith.sealing', true) = 'on' THEN free := array_append(free, 'seal'); END IF;"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(APPEND_ONLY.replace("{sealing}", SEALING))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(APPEND_ONLY.replace("{sealing}", ""))
