"""Every table, once. Migrations build them; `alembic check` holds both to each other.

State machines are CHECK constraints where SQL can say them. Keys are UUIDv7, so that they sort by age.
All times are the database's clock, with time zone.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

STATES = ("waiting", "scheduled", "queued", "running", "completed", "failed", "cancelled")
FINAL = ("completed", "failed", "cancelled")
FATES = ("fail", "run", "cancel")
QUEUES = ("io", "cpu", "gpu")
DECISIONS = (  # the verdicts of reports, and what happened to an experiment
    "promote", "keep_base", "continue", "rollback", "invalid",
    "create", "start", "pause", "resume", "ramp", "approve", "hold", "release", "gate", "complete", "force", "unforce",
    "promote_done", "probe",
)  # fmt: skip
COUNTED = ("started", "rescued", "completed", "failed", "cancelled")  # the events that metrics add up

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[object]:
    return Column("id", UUID, primary_key=True, server_default=text("uuidv7()"))


def _created_at() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()"))


def _at(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


def _json(name: str, default: str | None = None) -> Column[object]:
    return Column(name, JSONB, nullable=default is None, server_default=default and text(f"'{default}'::jsonb"))


def _in(column: str, words: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(word) for word in words)})"


jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    _json("config", "{}"),
    Column("status", Text, nullable=False, server_default="queued"),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False, server_default="4"),
    Column("progress", Double, nullable=False, server_default="0"),
    Column("message", Text, nullable=False, server_default=""),
    _json("result"),
    _json("error"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False, server_default="3"),
    _at("heartbeat_at"),
    Column("worker", Text),
    Column("gpu_id", Text),
    _at("run_at"),
    _at("published_at"),
    Column("blocked_by", Text),
    Column("seq", BigInteger, nullable=False, server_default="0"),
    Column("timeout", Integer, nullable=False),
    _at("cancel_requested_at"),
    Column("idempotency_key", Text),
    Column("idempotency_sha256", Text),
    Column("unique_key", Text),
    Column("concurrency_key", Text),
    Column("concurrency_limit", Integer),
    Column("concurrency_slot", Integer),  # while it runs: which of the key's slots it holds, 1 to the limit
    Column("caller_slot", Integer),  # the same among the jobs of a key with running_at_once
    Column("on_parent_failure", Text, nullable=False, server_default="fail"),
    Column("pipeline_id", UUID, ForeignKey("pipelines.id", ondelete="SET NULL")),
    Column("pipeline_name", Text),
    Column("submitted_by", UUID, ForeignKey("jobs.id", ondelete="SET NULL")),  # the job that submitted it, if one did
    Column("outside_workshops", Boolean, nullable=False, server_default=text("false")),
    Column("created_by", Text, nullable=False, server_default="local"),
    Column("cost_usd", Numeric(14, 6), nullable=False, server_default="0"),
    _created_at(),
    _at("started_at"),
    _at("completed_at"),
    CheckConstraint(_in("status", STATES), name="status"),
    CheckConstraint(_in("queue", QUEUES), name="queue"),
    CheckConstraint(f"(completed_at IS NOT NULL) = ({_in('status', FINAL)})", name="completed_at_when_final"),
    CheckConstraint("progress >= 0 AND progress <= 100", name="progress"),
    CheckConstraint("priority >= 0 AND priority <= 9", name="priority"),
    CheckConstraint("attempt >= 0 AND failures >= 0 AND max_attempts >= 1", name="attempts"),
    CheckConstraint("status <> 'running' OR (heartbeat_at IS NOT NULL AND worker IS NOT NULL)", name="running_has_worker"),
    CheckConstraint("status <> 'failed' OR error IS NOT NULL", name="failed_has_error"),
    CheckConstraint("status <> 'scheduled' OR run_at IS NOT NULL", name="scheduled_has_run_at"),
    CheckConstraint(_in("on_parent_failure", FATES), name="on_parent_failure"),
    CheckConstraint(
        "(concurrency_key IS NULL) = (concurrency_limit IS NULL) AND concurrency_limit >= 1", name="concurrency_limit"
    ),
    Index("ix_jobs_one_run_per_gpu", "gpu_id", unique=True, postgresql_where=text("status = 'running'")),
    Index(
        "ix_jobs_idempotency",
        "created_by",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    Index(
        "ix_jobs_one_run_per_slot",
        "concurrency_key",
        "concurrency_slot",
        unique=True,
        postgresql_where=text("status = 'running' AND concurrency_key IS NOT NULL"),
    ),
    Index(
        "ix_jobs_one_run_per_caller_slot",
        "created_by",
        "caller_slot",
        unique=True,
        postgresql_where=text("status = 'running' AND caller_slot IS NOT NULL"),
    ),
    Index("ix_jobs_unique", "kind", "unique_key", postgresql_where=text("unique_key IS NOT NULL")),
    Index(
        "ix_jobs_blocked",
        "blocked_by",
        text("priority DESC"),
        "id",
        postgresql_where=text("status = 'queued' AND blocked_by IS NOT NULL"),
    ),
    Index("ix_jobs_pipeline", "pipeline_id", postgresql_where=text("pipeline_id IS NOT NULL")),
    Index("ix_jobs_submitted_by", "submitted_by", postgresql_where=text("submitted_by IS NOT NULL")),
    Index("ix_jobs_live", "status", "queue", "published_at", postgresql_where=text("completed_at IS NULL")),
    Index("ix_jobs_newest", "created_at", "id"),
    Index("ix_jobs_dead", "completed_at", "id", postgresql_where=text("status = 'failed'")),
    Index("ix_jobs_kind", "kind", "created_at"),
)

pipelines = Table(
    "pipelines",
    metadata,
    _id(),
    Column("created_by", Text, nullable=False, server_default="local"),
    Column("idempotency_key", Text),
    Column("idempotency_sha256", Text),
    _created_at(),
    Index(
        "ix_pipelines_idempotency",
        "created_by",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
)

paused_kinds = Table(
    "paused_kinds",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("paused_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)

schedules = Table(
    "schedules",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("cron", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    _json("config", "{}"),
    _json("options", "{}"),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("next_at", DateTime(timezone=True), nullable=False),
    _at("last_at"),
    Column("last_job_id", UUID, ForeignKey("jobs.id", ondelete="SET NULL")),
    _json("last_error"),
    Column("created_by", Text, nullable=False, server_default="local"),
    _created_at(),
    Index("ix_schedules_next", "next_at", postgresql_where=text("enabled")),
)

batches = Table(  # submits of many jobs with an idempotency key, and what they answered
    "batches",
    metadata,
    Column("created_by", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("idempotency_sha256", Text, nullable=False),
    Column("job_ids", ARRAY(UUID), nullable=False, server_default=text("'{}'")),
    _created_at(),
)

job_dependencies = Table(
    "job_dependencies",
    metadata,
    Column("job_id", UUID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("parent_id", UUID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    CheckConstraint("job_id <> parent_id", name="not_itself"),
    Index("ix_job_dependencies_parent", "parent_id"),
)

job_events = Table(
    "job_events",
    metadata,
    Column("job_id", UUID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("event", Text, nullable=False),
    _json("data", "{}"),
    _created_at(),
    Index("ix_job_events_counted", "created_at", postgresql_where=text(_in("event", COUNTED))),
)

# What the events since the beginning add up to, up to a moment: so the numbers only rise, whatever is deleted.
job_totals = Table(
    "job_totals",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("queue", Text, primary_key=True),
    Column("event", Text, primary_key=True),
    Column("count", BigInteger, nullable=False, server_default="0"),
    Column("run_seconds", Double, nullable=False, server_default="0"),
    Column("buckets", ARRAY(BigInteger), nullable=False, server_default=text("'{}'")),
)

job_totals_until = Table(
    "job_totals_until",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=text("true")),
    Column("until", DateTime(timezone=True), nullable=False),
    CheckConstraint("one", name="one_row"),
)

# What /metrics tells; nothing is ever taken away, so the numbers only rise.
failed_attempts = Table(
    "failed_attempts",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("cause", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    _id(),
    Column("job_id", UUID, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("uri", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    _created_at(),
    UniqueConstraint("job_id", "name"),
)

runs = Table(
    "runs",
    metadata,
    _id(),
    Column("job_id", UUID, ForeignKey("jobs.id"), nullable=False),
    Column("run_id", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("content_sha256", Text, nullable=False),
    Column("config_id", Text),
    Column("recorded_at", DateTime(timezone=True)),
    Column("language", Text),
    Column("may_train", Boolean, nullable=False),
    Column("exclusion", Text),
    _json("data", "{}"),
    _created_at(),
    UniqueConstraint("job_id", "run_id"),
    CheckConstraint("may_train = (exclusion IS NULL)", name="exclusion_says_why"),
    Index("ix_runs_device", "device_id"),
    Index("ix_runs_content", "run_id", "content_sha256"),
)

# Runs of an earlier import that a later one found unchanged.
run_imports = Table(
    "run_imports",
    metadata,
    Column("job_id", UUID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("run_id", UUID, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Index("ix_run_imports_run", "run_id"),
)

# What the last import of a folder read of each of its runs, without a text: `goldsmith.devserver.readings.index_entry`.
import_index = Table(
    "import_index",
    metadata,
    Column("root", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("entry", JSONB, nullable=False),
)

feedback = Table(
    "feedback",
    metadata,
    _id(),
    Column("run_id", UUID, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("signal", Text, nullable=False),
    _json("data", "{}"),
    _at("recorded_at"),
    CheckConstraint(
        _in("signal", ("favorite", "user_edit", "export", "regeneration", "abandon", "stage_block")), name="signal"
    ),
    Index("ix_feedback_run", "run_id"),
)

datasets = Table("datasets", metadata, _id(), Column("name", Text, nullable=False, unique=True), _created_at())

dataset_versions = Table(
    "dataset_versions",
    metadata,
    _id(),
    Column("dataset_id", UUID, ForeignKey("datasets.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("job_id", UUID, ForeignKey("jobs.id")),
    Column("content_sha256", Text, nullable=False),
    _json("counts", "{}"),
    _json("manifest", "{}"),
    Column("parents", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("rehearsal", Boolean, nullable=False, server_default=text("false")),
    _created_at(),
    Column("erased_rows", Integer, nullable=False, server_default="0"),  # of its own; it may be marked with none
    _at("erased_at"),  # since when it is marked: rows were erased in it, or in what it was made from
    UniqueConstraint("dataset_id", "version"),
    CheckConstraint("version >= 1", name="version"),
)

examples = Table(
    "examples",
    metadata,
    Column("dataset_version_id", UUID, ForeignKey("dataset_versions.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("split", Text, nullable=False),
    _json("data", "{}"),
    CheckConstraint(_in("split", ("train", "heldout")), name="split"),
)

prompt_templates = Table(
    "prompt_templates",
    metadata,
    Column("version", Text, primary_key=True),
    Column("template", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("wiki", Text, nullable=False, server_default=text("''")),
    _created_at(),
)

prompt_contexts = Table(
    "prompt_contexts",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("text", Text, nullable=False),
    _created_at(),
)

uploads = Table(
    "uploads",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    _json("about", "{}"),
    Column("created_by", Text),
    _created_at(),
    UniqueConstraint("kind", "origin", "sha256"),
    CheckConstraint(_in("kind", ("prompts", "contexts", "sessions", "golden")), name="kind"),
    CheckConstraint(_in("origin", ("recorded", "upload", "synthetic")), name="origin"),
)

budgets = Table(
    "budgets",
    metadata,
    _id(),
    Column("scope", Text, nullable=False, unique=True),
    Column("cap_usd", Numeric(14, 6), nullable=False),
    Column("reserved_usd", Numeric(14, 6), nullable=False, server_default="0"),
    Column("spent_usd", Numeric(14, 6), nullable=False, server_default="0"),
    Column(
        "overrun_usd", Numeric(14, 6), nullable=False, server_default="0"
    ),  # by bills above their worst case, or a lower cap
    _created_at(),
    CheckConstraint("reserved_usd >= 0 AND spent_usd >= 0 AND cap_usd >= 0", name="not_negative"),
    CheckConstraint("spent_usd + reserved_usd <= cap_usd + overrun_usd", name="within_cap"),
)

teacher_batches = Table(
    "teacher_batches",
    metadata,
    _id(),
    Column("job_id", UUID, ForeignKey("jobs.id", ondelete="SET NULL")),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("status", Text, nullable=False, server_default="intended"),
    Column("provider_id", Text),  # null while nobody knows whether the provider has it
    Column("error", Text),
    _created_at(),
    _at("sent_at"),
    _at("ended_at"),
    UniqueConstraint("provider", "provider_id"),
    CheckConstraint(_in("status", ("intended", "sent", "settled", "void")), name="status"),
    CheckConstraint("status NOT IN ('sent', 'settled') OR provider_id IS NOT NULL", name="sent_has_provider_id"),
    CheckConstraint("(ended_at IS NOT NULL) = (status IN ('settled', 'void'))", name="ended_at"),
    Index("ix_teacher_batches_open", "job_id", postgresql_where=text("ended_at IS NULL")),
)

teacher_calls = Table(
    "teacher_calls",
    metadata,
    _id(),
    Column("job_id", UUID, ForeignKey("jobs.id")),  # null: a sweep removed the job; what it cost stays
    Column("attempt", Integer, nullable=False),
    Column("budget_id", UUID, ForeignKey("budgets.id"), nullable=False),
    Column("budget_ids", ARRAY(UUID), nullable=False, server_default=text("'{}'")),  # all that it was reserved in
    Column("batch_id", UUID, ForeignKey("teacher_batches.id")),
    Column("item", Text, nullable=False),
    Column("request_sha256", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("max_tokens", Integer),  # that were asked for
    Column("status", Text, nullable=False, server_default="reserved"),
    Column("reserved_usd", Numeric(14, 6), nullable=False),
    Column("cost_usd", Numeric(14, 6)),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cache_read_tokens", Integer),
    Column("cache_write_tokens", Integer),
    Column("request_id", Text),
    Column("rehearsal", Boolean, nullable=False, server_default=text("false")),
    Column("owner", Text),  # who may use the answer again: this caller and admins; '' is everybody, null admins alone
    _json("answer"),  # a trigger refuses to change it
    Column("error", Text),
    _created_at(),
    _at("settled_at"),
    CheckConstraint(_in("status", ("reserved", "settled", "released")), name="status"),
    CheckConstraint("(settled_at IS NULL) = (status = 'reserved')", name="settled_at"),
    CheckConstraint("(cost_usd IS NOT NULL) = (status = 'settled')", name="cost_when_settled"),
    Index("ix_teacher_calls_job", "job_id", "item"),
    Index(
        "ix_teacher_calls_spent",
        "provider",
        "model",
        "rehearsal",
        postgresql_include=["cost_usd"],
        postgresql_where=text("status = 'settled'"),
    ),
    Index("ix_teacher_calls_answer", "request_sha256", postgresql_where=text("status = 'settled'")),
    Index(
        "ix_teacher_calls_in_flight",
        "request_sha256",
        "owner",
        unique=True,
        postgresql_where=text("status = 'reserved' AND owner IS NOT NULL"),
    ),
    Index("ix_teacher_calls_request", "request_sha256"),
    Index("ix_teacher_calls_batch", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
    Index("ix_teacher_calls_open", "job_id", postgresql_where=text("status = 'reserved'")),
)

sessions = Table(
    "sessions",
    metadata,
    _id(),
    Column("job_id", UUID, ForeignKey("jobs.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("run_id", Text),
    Column("device_id", Text),
    Column("config_id", Text),
    Column("language", Text),
    Column("system", Text),
    Column("query", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("feedback", Text),
    Column("signal", Text, nullable=False),
    Column("weight", Double, nullable=False, server_default="1"),
    Column("status", Text, nullable=False, server_default="active"),
    Column("reason", Text),
    _created_at(),
    Column("private", Boolean, nullable=False, server_default=text("true")),
    UniqueConstraint("job_id", "ordinal"),
    UniqueConstraint("job_id", "session_id"),
    CheckConstraint(_in("source", ("run", "chat", "feedback")), name="source"),
    CheckConstraint(_in("status", ("active", "quarantined")), name="status"),
    Index("ix_sessions_device", "device_id", postgresql_where=text("device_id IS NOT NULL")),
    Index("ix_sessions_quarantined", "job_id", postgresql_where=text("status = 'quarantined'")),
)

rules = Table(
    "rules",
    metadata,
    _id(),
    Column("job_id", UUID, ForeignKey("jobs.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("config_id", Text),
    Column("language", Text),
    Column("origin", Text, nullable=False),
    Column("rule", Text, nullable=False),
    _json("evidence", "{}"),
    _created_at(),
    Column("status", Text, nullable=False, server_default="active"),
    Column("reason", Text),
    UniqueConstraint("job_id", "ordinal"),
    CheckConstraint(_in("origin", ("feedback", "model")), name="origin"),
    CheckConstraint(_in("status", ("active", "quarantined", "retired")), name="status"),
    Index("ix_rules_quarantined", "job_id", postgresql_where=text("status = 'quarantined'")),
)

clusters = Table(
    "clusters",
    metadata,
    _id(),
    Column("job_id", UUID, ForeignKey("jobs.id"), nullable=False),
    Column("label", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("members", ARRAY(Text), nullable=False),
    _json("summary", "{}"),
    _created_at(),
    Column("cluster_id", Text),
    UniqueConstraint("job_id", "label"),
    CheckConstraint(_in("status", ("active", "fallback")), name="status"),
    CheckConstraint("size >= 1", name="size"),
)

cluster_rules = Table(
    "cluster_rules",
    metadata,
    _id(),
    Column("job_id", UUID, ForeignKey("jobs.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("label", Integer, nullable=False),
    Column("rule", Text, nullable=False),
    Column("support", Integer, nullable=False),
    Column("coverage", Double, nullable=False),
    # one entry a session, in one order
    Column("session_ids", ARRAY(Text), nullable=False),
    Column("signals", ARRAY(Text), nullable=False),
    Column("configs", ARRAY(Text), nullable=False),
    Column("rule_ordinals", ARRAY(Integer), nullable=False),
    Column("status", Text, nullable=False, server_default="active"),
    _created_at(),
    UniqueConstraint("job_id", "ordinal"),
    CheckConstraint(_in("status", ("active", "retired")), name="status"),
    CheckConstraint(
        "support >= 1 AND cardinality(session_ids) = support AND cardinality(signals) = support AND cardinality(configs) = support",
        name="support",
    ),
)

routes = Table(  # what a router decided, without what was asked
    "routes",
    metadata,
    _id(),
    Column("router_job_id", UUID, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    _created_at(),
    Column("cluster_id", Text),
    Column("label", Integer),
    Column("path", Text, nullable=False),
    Column("distance", Double, nullable=False),
    Column("second_distance", Double),
    Column("outlier", Boolean, nullable=False),
    Column("adapter", Text),
    Column("critic", Text),
    CheckConstraint(_in("path", ("primary", "reflective", "base")), name="path"),
    Index("ix_routes_router_job_id", "router_job_id", "id"),
)

adapters = Table("adapters", metadata, _id(), Column("name", Text, nullable=False, unique=True), _created_at())

# A trigger refuses every change but the status, one step forward, and the mark of an erasure.
adapter_versions = Table(
    "adapter_versions",
    metadata,
    _id(),
    Column("adapter_id", UUID, ForeignKey("adapters.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("job_id", UUID, ForeignKey("jobs.id"), nullable=False),
    Column("base_model", Text, nullable=False),
    Column("base_sha256", Text, nullable=False),
    Column("tokenizer_sha256", Text, nullable=False),
    Column("template_sha256", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="candidate"),
    _json("method", "{}"),
    _json("metrics", "{}"),
    _json("files", "{}"),
    Column("uri", Text, nullable=False),
    Column("rehearsal", Boolean, nullable=False, server_default=text("false")),
    _created_at(),
    Column("erased_rows", Integer, nullable=False, server_default="0"),
    _at("erased_at"),
    Column("base_revision", Text),
    _json("base_files"),  # of what lies beside config and weights
    Column("parents", ARRAY(Text), nullable=False, server_default=text("'{}'")),  # the adapters that a merge added up
    Column("created_by", Text),
    Column("seal", Text),  # what was registered, signed; versions from before there were seals have none until they are sealed
    UniqueConstraint("adapter_id", "version"),
    CheckConstraint(_in("status", ("candidate", "approved", "retired")), name="status"),
    CheckConstraint("version >= 1", name="version"),
)

adapter_aliases = Table(
    "adapter_aliases",
    metadata,
    Column("adapter_id", UUID, ForeignKey("adapters.id"), primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version_id", UUID, ForeignKey("adapter_versions.id"), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)

# What was erased of whom, by the hash of the id: a later import leaves the same device out.
erasures = Table(
    "erasures",
    metadata,
    _id(),
    Column("device_sha256", Text, nullable=False),
    _json("counts", "{}"),
    Column("files", ARRAY(Text), nullable=False, server_default=text("'{}'")),  # still to be removed
    _created_at(),
    Index("ix_erasures_device", "device_sha256"),
)

# A trigger counts every change that a caller's assignment could see into `ab_snapshot`.
experiments = Table(
    "experiments",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="draft"),
    Column("salt", Text, nullable=False),
    Column("unit", Text, nullable=False, server_default="device_id"),
    _json("plan", "{}"),
    Column("created_by", Text, nullable=False, server_default="local"),
    _created_at(),
    _at("started_at"),
    _at("ended_at"),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("supersedes", UUID, ForeignKey("experiments.id", ondelete="SET NULL")),
    Column("plan_sha256", Text),
    Column("step", Integer, nullable=False, server_default="0"),
    _at("step_started_at"),
    Column("approved_step", Integer),  # the highest step that a person let go on
    Column("group_name", Text),
    Column("group_lo", Integer),
    Column("group_hi", Integer),
    Column("held_reason", Text),
    _at("held_at"),
    _json("forced"),  # who overrode a guardrail, why, until when
    _at("cooldown_until"),
    UniqueConstraint("name", "version"),
    CheckConstraint(_in("status", ("draft", "running", "paused", "completed", "rolled_back")), name="status"),
    CheckConstraint("(ended_at IS NOT NULL) = (status IN ('completed', 'rolled_back'))", name="ended_at"),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("step >= 0", name="step"),
    CheckConstraint("(held_at IS NULL) = (held_reason IS NULL)", name="held"),
    CheckConstraint("0 <= group_lo AND group_lo < group_hi AND group_hi <= 10000", name="group_range"),
)

arms = Table(
    "arms",
    metadata,
    Column("experiment_id", UUID, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("weight", Double, nullable=False),
    Column("adapter", Text),
    Column("gated", Text),  # why base answers in its place
    _at("model_looked_at"),  # when it was last asked whether its model is in Ollama
    _at("model_seen_at"),  # when it first was
    Column("model_trouble", Text),  # why nobody knows at this moment
    CheckConstraint("weight >= 0 AND weight <= 1", name="weight"),
)

# When which step of the ramp was in force: one row for each stretch, a pause ends it.
experiment_steps = Table(
    "experiment_steps",
    metadata,
    Column("experiment_id", UUID, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("started_at", DateTime(timezone=True), primary_key=True),
    Column("step", Integer, nullable=False),
    _at("ended_at"),
)

# How often anything changed that a snapshot of the running experiments shows; no row: never.
ab_snapshot = Table(
    "ab_snapshot",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=text("true")),
    Column("sequence", BigInteger, nullable=False, server_default="1"),
    CheckConstraint("one", name="one"),
)

ab_events = Table(
    "ab_events",
    metadata,
    Column("experiment_id", UUID, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("event", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("interception_run_id", Text),
    _json("data", "{}"),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("step", Integer, nullable=False, server_default="0"),
    Index("ix_ab_events_unit", "experiment_id", "unit"),
)

# What each unit came to at each step of the ramp, worked out anew from its events whenever one comes in.
ab_units = Table(
    "ab_units",
    metadata,
    Column("experiment_id", UUID, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("unit", Text, primary_key=True),
    Column("step", Integer, primary_key=True, server_default="0"),
    Column("seq", BigInteger, Identity(), nullable=False),  # the order of becoming known
    Column("arm", Text, nullable=False),
    Column("former_step", Integer),  # the latest earlier step at which it was seen, in base
    Column("exposed", Boolean, nullable=False, server_default=text("false")),
    *(
        Column(name, Integer, nullable=False, server_default="0")
        for name in (
            "gated", "interceptions", "foreign_", "wiki", "attempts", "blocks", "edited_attempts", "edited_blocks",
            "foreign_attempts", "favorites", "regenerations", "edits", "exports", "abandons", "errors", "slow", "unchecked",
            # Days since 1970 in UTC, 0 before any interception; and what came of the interceptions that began on the last.
            "first_day", "last_day", "last_attempts", "last_blocks", "last_interceptions", "last_errors", "last_slow",
        )
    ),
    *(Column(name, Double, nullable=False, server_default="0") for name in ("edit_share", "latency_ms", "dwell_ms")),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Index("ix_ab_units_seq", "experiment_id", "seq"),
)  # fmt: skip

# One for each interception whose caller sent one: counts of keyed hashes, which nobody can read.
ab_sketches = Table(
    "ab_sketches",
    metadata,
    Column("experiment_id", UUID, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, Identity(), primary_key=True),
    Column("arm", Text, nullable=False),
    Column("config_id", Text),
    Column("unit", Text, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("sketch", LargeBinary, nullable=False),
)

# The newest look at an experiment, and what the watch over it remembers between two.
ab_state = Table(
    "ab_state",
    metadata,
    Column("experiment_id", UUID, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    _json("numbers", "{}"),
    _json("memory", "{}"),
    Column("events", BigInteger, nullable=False, server_default="0"),  # a trigger on `ab_events` counts them
    Column("looked_events", BigInteger),  # as many of them the last look saw
    Column("shown_events", BigInteger),  # and the last one whose numbers were kept
)

# Earlier looks, thinned out: the curve of the effect.
ab_looks = Table(
    "ab_looks",
    metadata,
    Column("experiment_id", UUID, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("at", DateTime(timezone=True), primary_key=True, server_default=text("now()")),
    _json("numbers", "{}"),
)

ab_decisions = Table(
    "ab_decisions",
    metadata,
    _id(),
    Column("experiment_id", UUID, ForeignKey("experiments.id", ondelete="CASCADE"), nullable=False),
    Column("job_id", UUID, ForeignKey("jobs.id")),
    Column("decision", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _json("statistics", "{}"),
    _created_at(),
    Column("actor", Text),
    _json("probe"),  # what the serving route answered after a rollback
    _json("effects", "[]"),  # what has to follow outside the database, and what came of it
    _at("due_at"),  # when the next of them is to be tried; none: all is done
    CheckConstraint(_in("decision", DECISIONS), name="decision"),
    Index("ix_ab_decisions_experiment", "experiment_id", "created_at"),
    Index("ix_ab_decisions_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
)

webhooks = Table(
    "webhooks",
    metadata,
    _id(),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    _created_at(),
    Column("kinds", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("previous_secret", Text),
    _at("previous_secret_until"),
    _at("failing_since"),
    Column("disabled_reason", Text),
)

# Written by a trigger on `jobs`, whoever ends the job.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    _id(),
    Column("webhook_id", UUID, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("job_id", UUID, ForeignKey("jobs.id", ondelete="CASCADE")),
    Column("event", Text, nullable=False),
    _json("payload", "{}"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _at("next_at"),
    _at("delivered_at"),
    _created_at(),
    _at("sending_until"),
    _json("log", "[]"),
    Index("ix_webhook_deliveries_due", "webhook_id", "next_at", postgresql_where=text("next_at IS NOT NULL")),
    Index("ix_webhook_deliveries_newest", "webhook_id", "id"),
    Index("ix_webhook_deliveries_job", "job_id"),
)

limiter_unavailable = Table(
    "limiter_unavailable", metadata, Column("provider", Text, primary_key=True), Column("count", BigInteger, nullable=False)
)

webhook_tries = Table(
    "webhook_tries", metadata, Column("outcome", Text, primary_key=True), Column("count", BigInteger, nullable=False)
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("sha256", Text, nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("jobs_per_hour", Integer),
    Column("running_at_once", Integer),
    Column("budget_usd", Numeric(14, 6)),
    Column("budget_usd_per_day", Numeric(14, 6)),
    _at("hour_started_at"),
    Column("hour_jobs", Integer, nullable=False, server_default="0"),
    _created_at(),
    _at("last_used_at"),
    _at("revoked_at"),
    CheckConstraint("jobs_per_hour >= 1 AND running_at_once >= 1", name="quotas"),
    CheckConstraint("budget_usd >= 0 AND budget_usd_per_day >= 0", name="budgets"),
)

audit_log = Table(
    "audit_log",
    metadata,
    _id(),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    _json("data", "{}"),
    _created_at(),
)
