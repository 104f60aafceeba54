"""The real `JobContext`: what a run asks for, answered from Postgres, the storage and the servers of the settings."""

from __future__ import annotations

import json
import mimetypes
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import structlog

from goldsmith import (
    ab_rollback,
    adapters,
    artifacts,
    children,
    cluster_rules,
    datasets,
    jobs,
    passports,
    recordings,
    room,
    rules,
    sessions,
    uploads,
)
from goldsmith.ab import Decision
from goldsmith.ab_analysis import Data
from goldsmith.ab_reading import Reader
from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.cluster_rules import ClusterRule
from goldsmith.datasets import DatasetVersion, Example
from goldsmith.db import Database
from goldsmith.devserver.checkout import Checkout
from goldsmith.errors import InvalidInput, JobCancelled, NotFound, Requeue, storable
from goldsmith.footprint import Footprint
from goldsmith.job import Job
from goldsmith.queue import Queue
from goldsmith.recordings import Feedback, RecordedRun
from goldsmith.rescue import publish
from goldsmith.rules import Cluster, Rule
from goldsmith.sessions import Session
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from goldsmith.student import (
    RERANKERS,
    ChatClient,
    Encoder,
    Reranker,
    Student,
    check_encoder,
    check_model,
    load_encoder,
    load_reranker,
    load_student,
    open_chat,
)
from goldsmith.student.chat import ollama_url
from goldsmith.student.ollama import Ollama
from goldsmith.teacher import Teacher, open_teacher
from goldsmith.uploads import Upload

EVENT_EVERY_S = 1.0
V = TypeVar("V", DatasetVersion, AdapterVersion)
log = structlog.get_logger()


class RunContext:
    """One attempt's context. Not shared between attempts; used by one thread at a time."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        job_id: UUID,
        kind: str,
        attempt: int,
        scratch: Path,
        gpu_id: str | None = None,
        queue: Queue | None = None,
    ) -> None:
        self.job_id, self.kind, self.attempt, self.scratch, self._gpu_id = job_id, kind, attempt, scratch, gpu_id
        self.stopping = False
        """Set when the worker must go: the next `progress` puts the job back, uncounted."""
        self.given_up = False
        """Set when nobody waits for the result any more: the next `progress` ends the run."""
        self._database, self._settings, self._queue = database, settings, queue
        self._storage = Storage(settings.state_dir)
        self._last_event = 0.0
        self._pending: tuple[float, str] | None = None
        self._warned_of: set[str] = set()
        self._metrics: list[dict[str, float | None]] = []

    def parents(self) -> dict[str, dict[str, Any] | None]:
        with self._database.connection() as conn:
            return jobs.results_of_parents(conn, self.job_id)

    def config(self, job_ref: str) -> dict[str, Any]:
        with self._database.connection() as conn:
            return jobs.get(conn, UUID(job_ref.removeprefix("job:"))).config

    def result(self, job_ref: str) -> dict[str, Any]:
        with self._database.connection() as conn:
            found = jobs.get(conn, UUID(job_ref.removeprefix("job:")))
        if found.result is None:
            raise NotFound(f"{job_ref} is {found.status} and has no result")
        return found.result

    def last_result(self, kind: str, **config: Any) -> dict[str, Any] | None:
        with self._database.connection() as conn:
            return jobs.last_result(conn, kind, config)

    # -- jobs of its own

    def submit(self, config: Mapping[str, Any], key: str) -> UUID:
        with self._database.connection() as conn:
            job, new = children.submit_child(conn, self._settings, self.job_id, self.attempt, config, key)
            if new and self._queue is not None:
                publish(conn, self._queue, jobs.told(job))
            elif new:
                jobs.untell(conn, [job.id])
        self._database.changed(job.id)
        return job.id

    def child(self, job_id: UUID) -> Job:
        with self._database.connection() as conn:
            return jobs.get(conn, job_id)

    def cancel_child(self, job_id: UUID) -> None:
        with self._database.connection() as conn:
            children.cancel_child(conn, self.job_id, job_id)
        self._database.changed(job_id)

    def approved(self) -> bool:
        with self._database.connection() as conn:
            return children.is_approved(conn, self.job_id)

    # -- saying how it goes

    def progress(self, percent: float, message: str = "", **metrics: float) -> None:
        if self.stopping:
            raise Requeue(0, "the worker is being stopped")
        if self.given_up:
            raise JobCancelled("nobody waits for this attempt any more")
        self._pending = (min(100.0, max(0.0, float(percent))), storable(message)[:500])
        if metrics:  # JSON has no NaN: a loss that diverged is null
            self._metrics.append({name: float(value) if isfinite(value) else None for name, value in metrics.items()})
        if time.monotonic() - self._last_event >= EVENT_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write what is pending. A database that is down keeps it for the next time and does not end the run."""
        if self._pending is None:
            return
        percent, message = self._pending
        try:
            with self._database.connection() as conn:
                cancel = jobs.progress(conn, self.job_id, self.attempt, percent, message, self._metrics)
        except psycopg.OperationalError as error:
            self._last_event = time.monotonic()
            log.warning("progress waits for the database", job_id=str(self.job_id), error=str(error).partition("\n")[0])
            return
        self._database.changed(self.job_id)
        self._last_event, self._pending, self._metrics = time.monotonic(), None, []
        if cancel:
            raise JobCancelled("a cancel was asked for")

    def log(self, message: str, **data: Any) -> None:
        with self._database.connection() as conn:
            jobs.log(conn, self.job_id, self.attempt, storable(message), data)
        self._database.changed(self.job_id)

    # -- files

    def save_artifact(self, name: str, content: bytes | Path, media_type: str | None = None) -> str:
        kind = media_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        with self._database.connection() as conn:
            return artifacts.save(conn, self._storage, self.job_id, self.attempt, name, content, kind)

    def artifact(self, ref: str) -> Path:
        with self._database.connection() as conn:
            return self._storage.existing(artifacts.get_by_ref(conn, ref).uri)

    def upload(self, ref: str) -> tuple[Upload, Path]:
        with self._database.connection() as conn:
            found = uploads.get(conn, ref)
        return found, self._storage.existing(found.uri)

    def folder(self, path: str) -> Path:
        return allowed_folder(path, self._settings.import_roots)

    def checkpoint(self, folder: Path) -> None:
        with self._database.connection() as conn:
            artifacts.keep_checkpoint(conn, self._storage, self.job_id, self.attempt, folder)

    def restore(self, job: str | None = None) -> Path | None:
        return artifacts.newest_checkpoint(self._storage, UUID(job.removeprefix("job:")) if job else self.job_id)

    # -- recordings

    def save_runs(self, runs: Sequence[RecordedRun]) -> None:
        with self._database.connection() as conn:
            recordings.save_runs(conn, self.job_id, self.attempt, runs)

    def carry_runs(self, contents: Mapping[str, str]) -> set[str]:
        with self._database.connection() as conn:
            return recordings.carry_runs(conn, self.job_id, self.attempt, contents)

    def import_index(self, root: str) -> dict[str, Any]:
        with self._database.connection() as conn:
            return recordings.import_index(conn, root)

    def save_import_index(self, root: str, entries: Mapping[str, Any], gone: Sequence[str]) -> None:
        with self._database.connection() as conn:
            recordings.save_import_index(conn, self.job_id, self.attempt, root, entries, gone)

    def reported(self) -> dict[str, list[Feedback]]:
        with self._database.connection() as conn:
            return recordings.reported(conn)

    def runs(self, job_ref: str) -> Iterator[RecordedRun]:
        with self._database.connection() as conn:
            yield from recordings.runs_of(conn, UUID(job_ref.removeprefix("job:")))

    # -- datasets

    def dataset(self, ref: str) -> DatasetVersion:
        with self._database.connection() as conn:
            return self._warned(datasets.get(conn, *datasets.parse_ref(ref)))

    def _warned(self, version: V) -> V:
        """Say once in the job's events that what it loads descends from erased data."""
        if version.warning is not None and version.ref not in self._warned_of:
            self._warned_of.add(version.ref)
            self.log(version.warning, erased_rows=version.erased_rows)
        return version

    def examples(self, ref: str, split: str | None = None) -> Iterator[Example]:
        with self._database.connection() as conn:
            yield from datasets.examples_of(conn, ref, split)

    def save_dataset(
        self,
        name: str,
        examples: Iterable[Example],
        *,
        manifest: Mapping[str, Any],
        parents: Sequence[str],
        rehearsal: bool,
        checkout: Checkout | None = None,
    ) -> DatasetVersion:
        with self._database.connection() as conn:
            return datasets.save_version(
                conn,
                self._storage,
                self.job_id,
                self.attempt,
                name,
                examples,
                manifest=manifest,
                parents=parents,
                rehearsal=rehearsal,
                checkout=checkout,
            )

    # -- sessions and rules

    def save_sessions(self, sessions_: Sequence[Session]) -> None:
        with self._database.connection() as conn:
            sessions.save_sessions(conn, self.job_id, self.attempt, sessions_)

    def sessions(self, job_ref: str) -> Iterator[Session]:
        with self._database.connection() as conn:
            yield from sessions.sessions_of(conn, UUID(job_ref.removeprefix("job:")))

    def save_rules(self, rules_: Sequence[Rule]) -> None:
        with self._database.connection() as conn:
            rules.save_rules(conn, self.job_id, self.attempt, rules_)

    def rules(self, job_ref: str) -> Iterator[Rule]:
        with self._database.connection() as conn:
            yield from rules.rules_of(conn, UUID(job_ref.removeprefix("job:")))

    def save_clusters(self, clusters: Sequence[Cluster]) -> None:
        with self._database.connection() as conn:
            rules.save_clusters(conn, self.job_id, self.attempt, clusters)

    def clusters(self, job_ref: str) -> Iterator[Cluster]:
        with self._database.connection() as conn:
            yield from rules.clusters_of(conn, UUID(job_ref.removeprefix("job:")))

    def save_cluster_rules(self, rules_: Sequence[ClusterRule]) -> None:
        with self._database.connection() as conn:
            cluster_rules.save(conn, self.job_id, self.attempt, rules_)

    def cluster_rules(self, job_ref: str) -> Iterator[ClusterRule]:
        with self._database.connection() as conn:
            yield from cluster_rules.of_job(conn, UUID(job_ref.removeprefix("job:")))

    # -- adapters

    def adapter(self, ref: str) -> AdapterVersion:
        with self._database.connection() as conn:
            return self._warned(adapters.get(conn, self._storage, ref))

    def register_adapter(self, adapter: NewAdapter) -> AdapterVersion:
        with self._database.connection() as conn:
            return adapters.register(conn, self._storage, self.job_id, self.attempt, adapter)

    def passport(self, ref: str) -> bytes:
        with self._database.connection() as conn:
            return json.dumps(passports.issue(conn, self._storage, ref), indent=2, ensure_ascii=False).encode()

    def move_alias(self, name: str, alias: str, version: int | None) -> None:
        with self._database.connection() as conn, conn.transaction():
            if version is None:
                with suppress(NotFound):  # it is gone already
                    adapters.remove_alias(conn, name, alias, actor=f"job:{self.job_id}")
            else:
                adapters.set_alias(conn, name, alias, version, actor=f"job:{self.job_id}")
            jobs.fence(conn, self.job_id, self.attempt)

    # -- experiments

    def experiment(self, experiment_id: str) -> Data:
        with self._database.connection() as conn, conn.transaction():
            return Reader().read(conn, UUID(experiment_id), full=True)

    def record_decision(self, experiment_id: str, decision: Decision) -> None:
        with self._database.connection() as conn:
            ab_rollback.record_report(conn, self.job_id, self.attempt, UUID(experiment_id), decision)

    # -- models

    def make_room(self, need: Footprint, advice: str) -> None:
        def waited() -> tuple[int, float]:
            with self._database.connection() as conn:
                return jobs.waits(conn, self.job_id, room.WAITS, room.ENOUGH)

        room.ensure(need, advice, self._gpu_id, self._settings, self, waited)

    def teacher(self, provider: str, *, model: str | None, budget_usd: float, recorded: bool) -> Teacher:
        return open_teacher(
            self._database,
            settings=self._settings,
            job_id=self.job_id,
            attempt=self.attempt,
            provider=provider,
            model=model,
            budget_usd=budget_usd,
            recorded=recorded,
        )

    def chat(self) -> ChatClient:
        return open_chat(self._settings)

    def ollama(self) -> Ollama:
        return Ollama(ollama_url(self._settings.ollama_host))

    def student(self, base_model: str, adapter: AdapterVersion | None = None) -> Student:
        check_model(base_model, self._settings)
        return load_student(base_model, adapter, cache=self._settings.models)

    def encoder(self, name: str) -> Encoder:
        check_encoder(name, self._settings)
        return load_encoder(name, cache=self._settings.models)

    def reranker(self, name: str) -> Reranker:
        check_model(RERANKERS.get(name, name), self._settings, "reranker")
        return load_reranker(name, cache=self._settings.models)


def allowed_folder(path: str, roots: Sequence[Path]) -> Path:
    """`path` below one of the admin's roots, links resolved; raises `InvalidInput` naming the setting otherwise."""
    allowed = [root.resolve() for root in roots]
    asked = Path(path)
    candidates = (
        [asked.resolve()] if asked.is_absolute() else [asked.resolve(), *((root / asked).resolve() for root in allowed)]
    )
    for candidate in candidates:
        if any(candidate.is_relative_to(root) for root in allowed) and candidate.is_dir():
            return candidate
    raise InvalidInput(
        f"the folder {path!r} is not there, or not below one of GOLDSMITH_IMPORT_ROOTS",
        errors=[{"field": "folder", "value": path, "message": f"allowed roots: {', '.join(map(str, allowed))}"}],
    )
