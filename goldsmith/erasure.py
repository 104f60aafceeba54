"""Erasing what a device typed: its runs, the rows and answers made of them, and the files that hold them.

Rows go in one transaction, which also writes down the files to remove; those go after it, and what a crash leaves of them goes
with the next sweep. Searching takes half a minute where there are 100,000 jobs, and other jobs go on meanwhile: the table of jobs
is locked only at the end, to see that none of them began with what goes.

Dataset versions that held rows, and everything that was made from those, are marked: what a model has learned is not taken out of
it, it must be trained anew. Of the device only the hash of its id stays, so that a later import of the same recordings leaves it
out.

Not touched: uploads, which name no device; the devserver's own files; the texts of another device that typed the same.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

from goldsmith import ab_ingest, audit, cluster_rules, datasets
from goldsmith.errors import Conflict, InvalidInput
from goldsmith.kinds.base import NAME_PATTERN, UUID_PATTERN
from goldsmith.storage import Storage, Stored
from goldsmith.traces import Traces

if TYPE_CHECKING:
    from goldsmith.db import Connection

LONGEST_ID = 500
ATTEMPTS = 3


class Marked(BaseModel):
    ref: str
    rows: int = Field(description="Rows erased in it, or that it was trained on; 0: it was made from one that held some.")


class Erased(BaseModel):
    """What was erased, or would be."""

    dry_run: bool
    runs: int = 0
    feedback: int = 0
    experiment_events: int = 0
    rows: int = Field(0, description="Of dataset versions.")
    sessions: int = 0
    rules: int = 0
    cluster_members: int = 0
    teacher_answers: int = 0
    jobs_cleared: int = Field(0, description="Jobs whose config, result, error or events repeated a text.")
    files: int = Field(
        0, description="Artifacts, logs and checkpoints removed; a dataset's files are written anew without its rows."
    )
    datasets: list[Marked] = Field([], description="Marked from now on.")
    adapters: list[Marked] = Field([], description="Marked from now on: train them anew, then retire them.")


# Jobs that may have read what these jobs left: by dependency, and by the references in their configs. `lately`: only among jobs that
# have not ended, or only just; no transaction that ends a job takes a minute.
DESCENDANTS = f"""
WITH RECURSIVE made (ref, job_id) AS (
    SELECT format('dataset:%%s@%%s', d.name, v.version), v.job_id FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id
    UNION ALL
    SELECT format('adapter:%%s@%%s', a.name, v.version), v.job_id FROM adapter_versions v JOIN adapters a ON a.id = v.adapter_id
), job AS NOT MATERIALIZED (
    SELECT * FROM jobs WHERE NOT %(lately)s OR completed_at IS NULL OR completed_at > now() - interval '1 minute'
), mention (job_id, ref) AS (
    SELECT j.id, found[1] FROM job j, regexp_matches(
        j.config::text, '"((?:job:{UUID_PATTERN})|(?:(?:dataset|adapter):{NAME_PATTERN}@[0-9]+))["/]', 'g'
    ) AS found
), edge (child, parent) AS (
    SELECT job_id, parent_id FROM job_dependencies
    UNION SELECT m.job_id, made.job_id FROM mention m JOIN made USING (ref)
    UNION SELECT job_id, substr(ref, 5)::uuid FROM mention WHERE ref LIKE 'job:%%'
), reach (id) AS (
    SELECT unnest(%(jobs)s::uuid[]) UNION SELECT edge.child FROM reach JOIN edge ON edge.parent = reach.id
)
SELECT * FROM (
    SELECT id, kind, completed_at,
        id IN (SELECT id FROM reach) OR (kind = 'intercept' AND config->>'user_input' = ANY(%(texts)s)) AS reached
    FROM job
) AS found WHERE reached OR kind = 'import'
"""

# Everything that was made from these, themselves first, with the rows that each lost.
MARKED = """
WITH RECURSIVE made (ref, parent) AS (
    SELECT format('dataset:%%s@%%s', d.name, v.version), unnest(v.parents)
    FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id
    UNION ALL
    SELECT format('adapter:%%s@%%s', a.name, v.version),
        unnest(CASE WHEN cardinality(v.parents) > 0 THEN v.parents ELSE ARRAY[v.dataset] END)
    FROM adapter_versions v JOIN adapters a ON a.id = v.adapter_id
), down (ref, origin) AS (
    SELECT ref, ref FROM unnest(%(refs)s::text[]) AS ref
    UNION SELECT made.ref, CASE WHEN made.ref LIKE 'dataset:%%' THEN made.ref ELSE down.origin END
    FROM down JOIN made ON made.parent = down.ref
)
SELECT down.ref, coalesce(sum(lost.rows), 0)::int AS rows
FROM down LEFT JOIN unnest(%(refs)s::text[], %(rows)s::int[]) AS lost (ref, rows) ON lost.ref = down.origin
GROUP BY down.ref ORDER BY down.ref
"""


def device_sha256(device_id: str) -> str:
    """What stays of a device."""
    return hashlib.sha256(device_id.encode()).hexdigest()


class Texts(NamedTuple):
    """Where rows of jobs hold texts."""

    table: str
    job: str
    key: str
    columns: tuple[str, ...]

    @property
    def select(self) -> str:
        return f"SELECT {self.job} AS job, {self.key} AS key, {', '.join(self.columns)} FROM {self.table} WHERE {self.job} = ANY(%s)"


TEXTS = (
    Texts("jobs", "id", "id", ("config", "result", "error")),
    Texts("job_events", "job_id", "seq", ("data",)),
    Texts("webhook_deliveries", "job_id", "id", ("payload", "log")),
)


class _Overtaken(Exception):
    """A job ended with what was to be erased while it was searched for."""


def erase(conn: Connection, storage: Storage, device_id: str, *, actor: str, dry_run: bool) -> Erased:
    """Erase, or count what would be. Twice is a no-op. Raises `Conflict`, naming them, while jobs work with the device's texts."""
    if not device_id.strip() or len(device_id) > LONGEST_ID or "\0" in device_id:
        message = f"1 to {LONGEST_ID} characters, as the recordings have it"
        raise InvalidInput(
            f"device_id: {message}", errors=[{"field": "device_id", "value": device_id[:64], "message": message}]
        )
    for _ in range(ATTEMPTS):
        try:
            erased = _erase(conn, storage, device_id, actor=actor, dry_run=dry_run)
            break
        except _Overtaken:
            continue
    else:
        raise Conflict(
            f"jobs ended with the device's texts {ATTEMPTS} times while they were searched for; nothing is erased, try again"
        )
    if not dry_run:
        remove_files(conn, storage)
    return erased


def _erase(conn: Connection, storage: Storage, device_id: str, *, actor: str, dry_run: bool) -> Erased:
    written: list[str] = []
    try:
        with conn.transaction(force_rollback=dry_run):
            conn.execute("SET LOCAL lock_timeout = '5s'")
            conn.execute("SET LOCAL goldsmith.erasing = 'on'")
            if not dry_run:
                held = conn.execute("SELECT pg_try_advisory_xact_lock(hashtext('goldsmith.erasure')) AS held").fetchone()
                if not (held and held["held"]):
                    raise Conflict("another erasure is under way; try again when it has ended")
            erased = _Erasing(conn, storage, device_id, written, dry_run=dry_run).all()
            if not dry_run:
                counts = erased.model_dump(exclude={"dry_run"})
                audit.record(conn, actor, "erase", f"device:{device_sha256(device_id)[:16]}", counts)
    except BaseException:
        for folder in written:
            shutil.rmtree(storage.path(folder), ignore_errors=True)
        raise
    return erased


def remove_files(conn: Connection, storage: Storage) -> None:
    """What erasures wrote down to remove, also those that a crash cut off."""
    for row in conn.execute("SELECT id, files FROM erasures WHERE files <> '{}'").fetchall():
        for uri in row["files"]:
            path = storage.path(uri)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        conn.execute("UPDATE erasures SET files = '{}' WHERE id = %s", (row["id"],))


class _Erasing:
    """One erasure within its transaction."""

    def __init__(self, conn: Connection, storage: Storage, device_id: str, written: list[str], *, dry_run: bool) -> None:
        self.conn, self.storage, self.device_id = conn, storage, device_id
        self.found = Erased(dry_run=dry_run)
        self.files: list[str] = []
        """To remove."""
        self.written = written
        """Folders that are new."""
        rows = conn.execute("SELECT run_id, job_id, data FROM runs WHERE device_id = %s", (device_id,)).fetchall()
        self.run_ids = sorted({row["run_id"] for row in rows})
        self.traces = Traces([device_id, *self.run_ids])
        self.traces.learn(row["data"].get(name) for row in rows for name in ("input", "output", "accepted"))
        imports = conn.execute(
            "SELECT job_id FROM runs WHERE device_id = %s UNION SELECT i.job_id FROM run_imports i"
            " JOIN runs r ON r.id = i.run_id WHERE r.device_id = %s",
            (device_id, device_id),
        ).fetchall()
        typed = [row["data"]["input"] for row in rows if row["data"].get("input")]
        self.origin: dict[str, Any] = {"jobs": [row["job_id"] for row in imports], "texts": typed}
        found = conn.execute(DESCENDANTS, {**self.origin, "lately": False}).fetchall()
        self.ended = {row["id"]: row["completed_at"] for row in found}
        self.jobs: list[UUID] = [row["id"] for row in found if row["reached"]]
        self.new: list[UUID] = []
        """Jobs that came while it was searched."""

    def all(self) -> Erased:
        if not self.found.dry_run:
            self._refuse_while_working()  # rather than after the search
        refs = self._rows_of_datasets()
        self._answers()
        self._files_of_jobs()
        jobs = {where: self._said_in(where) for where in TEXTS}
        if not self.found.dry_run:
            self._hold_jobs()
        self._mark(refs)
        self._clear(jobs)
        self._recordings()
        self.found.files = len(self.files)
        self._write_down()
        return self.found

    def _hold_jobs(self) -> None:
        """From here on no job begins or ends. Raises `Conflict` while one works with what goes, `_Overtaken` when one that was not
        looked at has ended."""
        self.conn.execute("LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE")
        values = {"jobs": [*self.origin["jobs"], *self.jobs], "texts": self.origin["texts"], "lately": True}
        late = {row["id"]: row["completed_at"] for row in self.conn.execute(DESCENDANTS, values)}
        self.new = [job_id for job_id, at in late.items() if job_id not in self.ended or self.ended[job_id] != at]
        self.jobs += self.new
        self._refuse_while_working()
        if any(late[job_id] is not None for job_id in self.new):
            raise _Overtaken

    def _refuse_while_working(self) -> None:
        busy = self.conn.execute(
            """
            SELECT id, kind FROM jobs WHERE status = 'running' AND (id = ANY(%(jobs)s) OR kind = 'import')
            UNION
            SELECT j.id, j.kind FROM teacher_calls c JOIN jobs j ON j.id = c.job_id
            WHERE c.status = 'reserved' AND c.job_id = ANY(%(jobs)s) AND string_to_array(c.item, '/') && %(runs)s
            """,
            {"jobs": self.jobs, "runs": self.run_ids},
        ).fetchall()
        if busy:
            named = [f"{row['kind']} job:{row['id']}" for row in busy]
            raise Conflict(
                f"{', '.join(named[:5])} may be working with what is to be erased; let it end, or cancel it", jobs=named
            )

    def _rows_of_datasets(self) -> dict[str, int]:
        """Rows gone by dataset version; its files are written anew without them."""
        gone = self.conn.execute(
            "DELETE FROM examples WHERE data->>'source' = ANY(%s) RETURNING dataset_version_id AS id, data", (self.run_ids,)
        ).fetchall()
        counts: dict[UUID, int] = {}
        for row in gone:
            counts[row["id"]] = counts.get(row["id"], 0) + 1
            data = row["data"]
            turns = [turn["content"] for turn in data.get("messages") or []]
            self.traces.learn([data.get("input"), data.get("original"), data.get("output"), *turns])
        refs = {}
        for version_id, rows in counts.items():
            found = self.conn.execute(
                "UPDATE dataset_versions v SET erased_rows = erased_rows + %s, erased_at = now() FROM datasets d"
                " WHERE v.id = %s AND d.id = v.dataset_id RETURNING d.name, v.version",
                (rows, version_id),
            ).fetchone()
            assert found is not None
            refs[f"dataset:{found['name']}@{found['version']}"] = rows
        self.found.rows = len(gone)
        if not self.found.dry_run:
            for ref in refs:
                former, folder = datasets.rewrite_files(self.conn, self.storage, ref)
                self.files += former
                self.written.append(folder)
        return refs

    def _mark(self, refs: dict[str, int]) -> None:
        values = {"refs": list(refs), "rows": list(refs.values())}
        for row in self.conn.execute(MARKED, values).fetchall():
            if row["ref"].startswith("dataset:"):
                self.found.datasets.append(Marked(**row))
                rows = 0  # its own are counted already
            else:
                self.found.adapters.append(Marked(**row))
                rows = row["rows"]
            kind, _, rest = row["ref"].partition(":")
            name, _, version = rest.rpartition("@")
            self.conn.execute(
                f"UPDATE {kind}_versions v SET erased_rows = erased_rows + %s, erased_at = now() FROM {kind}s n"
                f" WHERE n.id = v.{kind}_id AND n.name = %s AND v.version = %s",
                (rows, name, int(version)),
            )

    def _answers(self) -> None:
        """What teachers said about its texts; what they cost stays in the ledger."""
        rows = self.conn.execute(
            "SELECT id, answer FROM teacher_calls WHERE string_to_array(item, '/') && %s"
            " AND (job_id IS NULL OR job_id = ANY(%s)) FOR UPDATE",
            (self.run_ids, self.jobs),
        ).fetchall()
        self.traces.learn((row["answer"] or {}).get("text") for row in rows)
        self.conn.execute(
            "UPDATE teacher_calls SET answer = NULL, item = 'erased', error = NULL WHERE id = ANY(%s)",
            ([row["id"] for row in rows],),
        )
        self.found.teacher_answers = sum(row["answer"] is not None for row in rows)

    def _files_of_jobs(self) -> None:
        """Artifacts, logs and checkpoints with a trace of it go; the arrays of a clustering are written anew without it."""
        rows = self.conn.execute("SELECT job_id, name, uri FROM artifacts WHERE job_id = ANY(%s)", (self.jobs,)).fetchall()
        traced = [row for row in rows if self.traces.in_file(self.storage.path(row["uri"]))]
        self.files += [row["uri"] for row in traced]
        for job_id in {row["job_id"] for row in traced}:
            new = (
                {}
                if self.found.dry_run
                else self._arrays_without(job_id, {r["name"]: r["uri"] for r in rows if r["job_id"] == job_id})
            )
            for name in (row["name"] for row in traced if row["job_id"] == job_id):
                if name in new:
                    self.conn.execute(
                        "UPDATE artifacts SET uri = %s, sha256 = %s, bytes = %s WHERE job_id = %s AND name = %s",
                        (*astuple(new[name]), job_id, name),
                    )
                else:
                    self.conn.execute("DELETE FROM artifacts WHERE job_id = %s AND name = %s", (job_id, name))
        jobs, root, logs = {str(job_id) for job_id in self.jobs}, self.storage.root.resolve(), self.storage.path("logs/jobs")
        if logs.is_dir():
            of_jobs = (path for path in logs.iterdir() if path.suffix == ".log" and path.name.partition(".")[0] in jobs)
            self.files += [str(path.relative_to(root)) for path in of_jobs if self.traces.in_file(path)]
        if self.found.rows:  # of weights that learned from it
            kept = (self.storage.path(f"checkpoints/{job_id}") for job_id in self.jobs)
            self.files += [str(path.relative_to(root)) for path in kept if path.is_dir()]

    def _arrays_without(self, job_id: UUID, uris: Mapping[str, str]) -> dict[str, Stored]:
        """Where they lie now; nothing of a job that is no clustering, or of which nobody is left."""
        if not {"centroids.npz", "embeddings.npz"} <= uris.keys():
            return {}
        from goldsmith.uno import centroids  # numpy: only who needs it loads it

        try:
            new = centroids.without(
                {name: self.storage.path(uris[name]) for name in centroids.ARRAYS}, {self.device_id, *self.run_ids}
            )
        except InvalidInput:  # not to be read, so not to be kept
            return {}
        folder = f"artifacts/{job_id}/erased-{uuid4().hex[:12]}"
        self.written.append(folder)
        return {name: self.storage.put(f"{folder}/{name}", content) for name, content in (new or {}).items()}

    def _said_in(self, where: Texts) -> list[UUID]:
        """The jobs in whose rows there it stands."""
        rows = self.conn.execute(where.select, (self.jobs,)).fetchall()
        return list({row["job"] for row in rows if self._without(row, where)})

    def _clear(self, jobs: dict[Texts, list[UUID]]) -> None:
        """In configs, results and events the texts go."""
        cleared = set()
        for where in jobs:
            for row in self.conn.execute(where.select, (jobs[where] + self.new,)).fetchall():
                for column, without in self._without(row, where).items():
                    cleared.add(row["job"])
                    self.conn.execute(
                        f"UPDATE {where.table} SET {column} = %s WHERE {where.job} = %s AND {where.key} = %s",
                        (Jsonb(without), row["job"], row["key"]),
                    )
        self.conn.execute("UPDATE jobs SET message = '' WHERE id = ANY(%s)", (list(cleared),))
        self.found.jobs_cleared = len(cleared)

    def _without(self, row: dict[str, Any], where: Texts) -> dict[str, Any]:
        """The columns in which it stands, without it."""
        taken = {column: self.traces.taken_from(row[column]) for column in where.columns}
        return {column: without for column, without in taken.items() if without != row[column]}

    def _recordings(self) -> None:
        one = {"device": self.device_id, "runs": self.run_ids, "jobs": self.jobs}
        self.found.rules = self._count("DELETE FROM rules WHERE session_id = ANY(%(runs)s)", one)
        self.found.sessions = self._count("DELETE FROM sessions WHERE device_id = %(device)s OR run_id = ANY(%(runs)s)", one)
        self.found.cluster_members = self._members(one)
        self._cluster_rules(one)
        self.found.experiment_events = ab_ingest.forget(self.conn, [self.device_id, *self.run_ids], self.run_ids)
        self.found.feedback = self._count(
            "DELETE FROM feedback f USING runs r WHERE r.id = f.run_id AND r.device_id = %(device)s", one
        )
        self.conn.execute("DELETE FROM import_index WHERE entry->>'device_id' = %(device)s", one)
        self.found.runs = self._count("DELETE FROM runs WHERE device_id = %(device)s", one)

    def _members(self, one: dict[str, Any]) -> int:
        """A cluster without it, and without the rules that it may have given; none where nobody is left."""
        clusters = self.conn.execute(
            "SELECT id, members, array(SELECT m FROM unnest(members) AS m WHERE m <> ALL(%(runs)s)) AS others"
            " FROM clusters WHERE members && %(runs)s",
            one,
        ).fetchall()
        for row in clusters:
            if row["others"]:
                self.conn.execute(
                    "UPDATE clusters SET members = %s, size = %s, summary = '{}' WHERE id = %s",
                    (row["others"], len(row["others"]), row["id"]),
                )
            else:
                self.conn.execute("DELETE FROM clusters WHERE id = %s", (row["id"],))
        return sum(len(row["members"]) - len(row["others"]) for row in clusters)

    def _cluster_rules(self, one: dict[str, Any]) -> None:
        """Without it among those who taught a rule; what it alone taught goes."""
        self.conn.execute("DELETE FROM cluster_rules WHERE session_ids <@ %(runs)s", one)
        self.conn.execute(cluster_rules.FORGET, one)

    def _count(self, statement: str, values: dict[str, Any]) -> int:
        return self.conn.execute(statement, values).rowcount

    def _write_down(self) -> None:
        known = self.conn.execute(
            "SELECT 1 FROM erasures WHERE device_sha256 = %s", (device_sha256(self.device_id),)
        ).fetchone()
        told = self.found.model_dump(exclude={"dry_run", "datasets", "adapters"})
        if any(told.values()) or not known:
            self.conn.execute(
                "INSERT INTO erasures (device_sha256, counts, files) VALUES (%s, %s, %s)",
                (device_sha256(self.device_id), Jsonb(told), self.files),
            )
