"""What a run may ask of the world. A kind reaches nothing else: no SQL, no Celery, no environment.

`worker.context` is the real one; `tests/fakes.py` has the one for tests; a notebook may bring its own.
Every write is fenced by the attempt: after the job was given to another worker it raises `FencedOut`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from goldsmith.ab import Decision
    from goldsmith.ab_analysis import Data
    from goldsmith.adapters import AdapterVersion, NewAdapter
    from goldsmith.cluster_rules import ClusterRule
    from goldsmith.datasets import DatasetVersion, Example
    from goldsmith.devserver.checkout import Checkout
    from goldsmith.footprint import Footprint
    from goldsmith.job import Job
    from goldsmith.recordings import Feedback, RecordedRun
    from goldsmith.rules import Cluster, Rule
    from goldsmith.sessions import Session
    from goldsmith.student import ChatClient, Encoder, Reranker, Student
    from goldsmith.student.ollama import Ollama
    from goldsmith.teacher import Teacher
    from goldsmith.uploads import Upload


class JobContext(Protocol):
    job_id: UUID
    kind: str
    attempt: int
    scratch: Path
    """A private folder of this attempt, gone when it ends."""

    def parents(self) -> dict[str, dict[str, Any] | None]:
        """The results of the jobs that it was submitted to wait for (`depends_on`, and references that were not complete then).

        By reference, `job:<id>`. None for one that failed or was cancelled, where `on_parent_failure` is `run`.
        """

    def config(self, job_ref: str) -> dict[str, Any]:
        """What another job, `job:<id>`, was asked to do."""

    def result(self, job_ref: str) -> dict[str, Any]:
        """What another completed job, `job:<id>`, said in the end."""

    def last_result(self, kind: str, **config: Any) -> dict[str, Any] | None:
        """What the newest completed job of this kind left whose config says this: what such jobs take here. None: there is none."""

    # -- jobs of its own
    def submit(self, config: Mapping[str, Any], key: str) -> UUID:
        """Put a job into the queue, as `POST /v1/jobs` takes it (`options` and all): once for each `key` of this job, on every attempt.

        It belongs to this job's caller and is cancelled with this job. A retry of this job puts it back when it had failed or
        was cancelled before. Raises `JobCancelled` when a cancel of this job was asked for.
        """

    def child(self, job_id: UUID) -> Job:
        """A submitted job as it is now. The end of one wakes this job from a `Requeue` early."""

    def cancel_child(self, job_id: UUID) -> None:
        """Ask a submitted job to stop; one that has ended stays as it is."""

    def approved(self) -> bool:
        """Whether a person let this job go on, after it had saved its `plan.json`; approval wakes it from a `Requeue`."""

    # -- saying how it goes
    def progress(self, percent: float, message: str = "", **metrics: float) -> None:
        """Record progress (0-100) and metrics; raise `JobCancelled` when a cancel was asked for.

        Cheap to call often: at most one event a second is written; metrics of calls in between are kept and written with it.
        """

    def log(self, message: str, **data: Any) -> None:
        """Write one `log` event, at once. `data` is JSON; never a secret, never a child's text."""

    # -- files
    def save_artifact(self, name: str, content: bytes | Path, media_type: str | None = None) -> str:
        """Store bytes or a file for good; returns `job:<id>/<name>`. A second save of a name replaces the first."""

    def artifact(self, ref: str) -> Path:
        """The local file behind `job:<id>/<name>`; read it, never write it."""

    def upload(self, ref: str) -> tuple[Upload, Path]:
        """What was uploaded as `upload:<id>`, and its file."""

    def folder(self, path: str) -> Path:
        """A folder that the admin allows imports from; raises `InvalidInput` when it is outside of those or missing."""

    def checkpoint(self, folder: Path) -> None:
        """Keep a copy of `folder` as this job's newest checkpoint; the next attempt gets it from `restore`."""

    def restore(self, job: str | None = None) -> Path | None:
        """The newest checkpoint of an earlier attempt, or of another job (`job:<id>`); None: there is none."""

    # -- recordings
    def save_runs(self, runs: Sequence[RecordedRun]) -> None: ...
    def carry_runs(self, contents: Mapping[str, str]) -> set[str]:
        """Take over rows that earlier imports saved: run id to content hash; returns the run ids for which there were any."""

    def import_index(self, root: str) -> dict[str, Any]:
        """What the last import of the folder `root` kept for the next one, by path."""

    def save_import_index(self, root: str, entries: Mapping[str, Any], gone: Sequence[str]) -> None: ...
    def reported(self) -> dict[str, list[Feedback]]:
        """What live experiments were told of recorded runs (exports, abandons, blocks), by run id."""

    def runs(self, job_ref: str) -> Iterator[RecordedRun]:
        """The runs that the import job `job:<id>` recorded, oldest first."""

    # -- datasets
    def dataset(self, ref: str) -> DatasetVersion: ...
    def examples(self, ref: str, split: str | None = None) -> Iterator[Example]: ...
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
        """Freeze rows into the next version of `name`: JSONL files and rows, content-hashed. `checkout`: what the prompts were
        rendered with, if that may be new; it is kept, and the rows without their rendered prompts."""

    # -- sessions and rules
    def save_sessions(self, sessions: Sequence[Session]) -> None: ...
    def sessions(self, job_ref: str) -> Iterator[Session]:
        """The sessions that `job:<id>` saved, without those in quarantine."""

    def save_rules(self, rules: Sequence[Rule]) -> None: ...
    def rules(self, job_ref: str) -> Iterator[Rule]:
        """The rules that `job:<id>` saved, without those that are in quarantine or retired."""

    def save_clusters(self, clusters: Sequence[Cluster]) -> None: ...
    def clusters(self, job_ref: str) -> Iterator[Cluster]:
        """The clusters that the cluster job `job:<id>` saved, by label."""

    def save_cluster_rules(self, rules: Sequence[ClusterRule]) -> None: ...
    def cluster_rules(self, job_ref: str) -> Iterator[ClusterRule]:
        """What the clusters of `job:<id>` teach, retired rules too; by label, the most supported first."""

    # -- adapters
    def adapter(self, ref: str) -> AdapterVersion: ...
    def register_adapter(self, adapter: NewAdapter) -> AdapterVersion:
        """Store the folder `adapter.folder` and its row as the next version; sets `adapter.alias` if one is given."""

    def passport(self, ref: str) -> bytes:
        """The signed passport of an adapter version; raises `ReferenceNotUsable` when it is not what was registered."""

    def move_alias(self, name: str, alias: str, version: int | None) -> None:
        """Let `alias` of the adapter `name` mean this version from now on, or nothing (None)."""

    # -- experiments
    def experiment(self, experiment_id: str) -> Data: ...
    def record_decision(self, experiment_id: str, decision: Decision) -> None: ...

    # -- models
    def make_room(self, need: Footprint, advice: str) -> None:
        """Return when the worker's device has so much memory free; without a device, at once.

        Raises `Requeue` when it has not, also after others unloaded what the admin allows, and `OutOfMemory` with `advice` when it
        never will or has not for too long.
        """

    def teacher(self, provider: str, *, model: str | None, budget_usd: float, recorded: bool) -> Teacher:
        """A metered teacher. `recorded`: the inputs come from recorded runs, so the privacy setting applies."""

    def chat(self) -> ChatClient:
        """The inference server that answers live requests."""

    def ollama(self) -> Ollama:
        """The Ollama that models are deployed to."""

    def student(self, base_model: str, adapter: AdapterVersion | None = None) -> Student:
        """The model itself, in this process (isolated kinds only)."""

    def encoder(self, name: str) -> Encoder:
        """A local sentence encoder, in this process (isolated kinds only)."""

    def reranker(self, name: str) -> Reranker:
        """A local reranker, in this process (isolated kinds only)."""
