"""An adapter that must go although an experiment runs with it."""

from __future__ import annotations

from goldsmith import experiments, webhooks
from goldsmith.ab_decisions import told
from goldsmith.db import Connection


def gate_adapter(conn: Connection, ref: str, *, actor: str, reason: str) -> list[str]:
    """Answer by base wherever an experiment that runs has this adapter version, and hold it. Returns the experiments' names."""
    with conn.transaction():
        rows = conn.execute(
            """
            SELECT e.id, e.name, a.name AS arm FROM experiments e JOIN arms a ON a.experiment_id = e.id
            WHERE a.adapter = %s AND a.gated IS DISTINCT FROM 'adapter_retired' AND e.status IN ('running', 'paused')
            ORDER BY e.id FOR NO KEY UPDATE OF e
            """,
            (ref,),
        ).fetchall()
        for row in rows:
            conn.execute(
                "UPDATE arms SET gated = %s WHERE experiment_id = %s AND name = %s", ("adapter_retired", row["id"], row["arm"])
            )
            why = f"{ref} was retired; base answers for the arm {row['arm']}: {reason}"
            experiments.said(conn, row["id"], "gate", why, actor, {"arm": row["arm"], "adapter": ref})
            conn.execute(
                "UPDATE experiments SET held_reason = %s, held_at = coalesce(held_at, now()) WHERE id = %s", (why, row["id"])
            )
            webhooks.announce(conn, "experiment.held", told(experiments.get(conn, row["id"]), None, why))
    return [row["name"] for row in rows]
