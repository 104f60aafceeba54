"""A `JobContext` in memory: what a kind's test needs of the world, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4, uuid5

from goldsmith import datasets
from goldsmith.errors import InvalidInput, JobCancelled, NotFound

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

T = TypeVar("T")


class FakeContext:
    """Files lie under `tmp_path`: a second context with the same `tmp_path` sees the first one's artifacts and checkpoints.

    The rest is in plain attributes, to be filled before a run and looked at after it; share one with
    `other.recorded_runs = first.recorded_runs`. Jobs are keyed by their reference, `job:<id>`.
    """

    def __init__(self, tmp_path: Path, *, job_id: UUID | None = None, kind: str = "test", attempt: int = 1) -> None:
        self.job_id = job_id or uuid4()
        self.kind = kind
        self.attempt = attempt
        self.root = tmp_path
        self.scratch = tmp_path / "scratch" / f"{self.job_id}-{attempt}"
        self.scratch.mkdir(parents=True, exist_ok=True)

        self.configs: dict[str, dict[str, Any]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.submitted: dict[str, dict[str, Any]] = {}
        """What the run submitted, by key."""
        self.children: dict[UUID, Job] = {}
        """To be changed by the test; queued at first."""
        self.is_approved = False
        self.last_results: dict[str, dict[str, Any]] = {}
        self.parent_results: dict[str, dict[str, Any] | None] = {}
        self.events: list[tuple[float, str, dict[str, float]]] = []
        self.logs: list[tuple[str, dict[str, Any]]] = []
        self.uploads: dict[str, tuple[Upload, Path]] = {}
        self.recorded_runs: dict[str, list[RecordedRun]] = {}
        self.import_indexes: dict[str, dict[str, Any]] = {}
        self.reports: dict[str, list[Feedback]] = {}
        self.datasets: dict[str, list[tuple[DatasetVersion, list[Example]]]] = {}
        self.saved_sessions: dict[str, list[Session]] = {}
        self.saved_rules: dict[str, list[Rule]] = {}
        self.saved_clusters: dict[str, list[Cluster]] = {}
        self.saved_cluster_rules: dict[str, list[ClusterRule]] = {}
        self.adapters: dict[str, list[AdapterVersion]] = {}
        self.aliases: dict[tuple[str, str], int] = {}
        self.experiments: dict[str, Data] = {}
        self.decisions: list[tuple[str, Decision]] = []

        self.needs: list[tuple[Footprint, str]] = []
        self.no_room: Exception | None = None
        """Raised when room is asked for."""
        self.teacher_factory: Callable[..., Teacher] = _not_given("teacher_factory(provider, *, model, budget_usd, recorded)")
        self.chat_factory: Callable[[], ChatClient] = _not_given("chat_factory()")
        self.ollama_factory: Callable[[], Ollama] = _not_given("ollama_factory()")
        self.student_factory: Callable[..., Student] = _not_given("student_factory(base_model, adapter)")
        self.encoder_factory: Callable[[str], Encoder] = _not_given("encoder_factory(name)")
        self.reranker_factory: Callable[[str], Reranker] = _not_given("reranker_factory(name)")
        self._cancel_at: int | None = None

    @property
    def ref(self) -> str:
        return f"job:{self.job_id}"

    def cancel_after(self, n: int) -> None:
        """From the n-th call of `progress` on (the first is 1), `progress` raises `JobCancelled`."""
        self._cancel_at = n

    def parents(self) -> dict[str, dict[str, Any] | None]:
        return self.parent_results

    def config(self, job_ref: str) -> dict[str, Any]:
        if job_ref not in self.configs:
            raise NotFound(f"there is no {job_ref}; there are {sorted(self.configs)}")
        return self.configs[job_ref]

    def result(self, job_ref: str) -> dict[str, Any]:
        if job_ref not in self.results:
            raise NotFound(f"{job_ref} has no result; there are {sorted(self.results)}")
        return self.results[job_ref]

    def submit(self, config: Mapping[str, Any], key: str) -> UUID:
        child_id = uuid5(self.job_id, key)
        if key not in self.submitted:
            body = self.submitted[key] = json.loads(json.dumps(dict(config), allow_nan=False))
            self.children[child_id] = made_job(child_id, body["kind"], body, self.job_id)
        return child_id

    def child(self, job_id: UUID) -> Job:
        return self.children[job_id]

    def cancel_child(self, job_id: UUID) -> None:
        child = self.children[job_id]
        if child.completed_at is None:
            self.children[job_id] = child.model_copy(update={"status": "cancelled", "completed_at": datetime.now(UTC)})

    def approved(self) -> bool:
        return self.is_approved

    def last_result(self, kind: str, **config: Any) -> dict[str, Any] | None:
        return self.last_results.get(kind)

    def progress(self, percent: float, message: str = "", **metrics: float) -> None:
        assert 0 <= percent <= 100, f"progress is 0 to 100, not {percent}"
        self.events.append((percent, message, metrics))
        if self._cancel_at is not None and len(self.events) >= self._cancel_at:
            raise JobCancelled("cancelled by the test")

    def log(self, message: str, **data: Any) -> None:
        self.logs.append((message, json.loads(json.dumps(data, allow_nan=False))))

    def save_artifact(self, name: str, content: bytes | Path, media_type: str | None = None) -> str:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name), f"{name!r} is no name for an artifact"
        path = self.root / "artifacts" / str(self.job_id) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        return f"{self.ref}/{name}"

    def artifact(self, ref: str) -> Path:
        job_id, _, name = ref.removeprefix("job:").partition("/")
        path = self.root / "artifacts" / job_id / name
        if not name or not path.is_file():
            raise NotFound(f"the artifact {ref} does not exist")
        return path

    def upload(self, ref: str) -> tuple[Upload, Path]:
        if ref not in self.uploads:
            raise NotFound(f"there is no {ref}; there are {sorted(self.uploads)}")
        return self.uploads[ref]

    def folder(self, path: str) -> Path:
        if not Path(path).is_dir():
            raise InvalidInput(f"the folder {path} does not exist")
        return Path(path)

    def checkpoint(self, folder: Path) -> None:
        kept = sorted(self._checkpoints.glob("[0-9]*"))
        number = int(kept[-1].name.partition("-")[2]) + 1 if kept else 1
        half = self._checkpoints / ".new"
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(folder, half)
        half.rename(self._checkpoints / f"{self.attempt:04}-{number:06}")
        for older in kept:
            shutil.rmtree(older)

    def restore(self, job: str | None = None) -> Path | None:
        if job is not None:
            return max((self.root / "checkpoints" / job.removeprefix("job:")).glob("[0-9]*"), default=None)
        earlier = [path for path in self._checkpoints.glob("[0-9]*") if int(path.name.partition("-")[0]) < self.attempt]
        return max(earlier, default=None)

    @property
    def _checkpoints(self) -> Path:
        return self.root / "checkpoints" / str(self.job_id)

    def save_runs(self, runs: Sequence[RecordedRun]) -> None:
        self.recorded_runs.setdefault(self.ref, []).extend(runs)

    def carry_runs(self, contents: Mapping[str, str]) -> set[str]:
        earlier = {
            (run.run_id, run.content_sha256): run for ref, runs in self.recorded_runs.items() if ref != self.ref for run in runs
        }
        carried = [earlier[item] for item in contents.items() if item in earlier]
        self.recorded_runs.setdefault(self.ref, []).extend(carried)
        return {run.run_id for run in carried}

    def import_index(self, root: str) -> dict[str, Any]:
        return dict(self.import_indexes.get(root, {}))

    def save_import_index(self, root: str, entries: Mapping[str, Any], gone: Sequence[str]) -> None:
        index = self.import_indexes.setdefault(root, {})
        index.update(json.loads(json.dumps(dict(entries))))
        for path in gone:
            del index[path]

    def reported(self) -> dict[str, list[Feedback]]:
        return self.reports

    def runs(self, job_ref: str) -> Iterator[RecordedRun]:
        yield from _of(self.recorded_runs, job_ref, "recorded runs")

    def dataset(self, ref: str) -> DatasetVersion:
        return self._frozen(ref)[0]

    def examples(self, ref: str, split: str | None = None) -> Iterator[Example]:
        yield from (example for example in self._frozen(ref)[1] if split in (None, example.split))

    def _frozen(self, ref: str) -> tuple[DatasetVersion, list[Example]]:
        name, version = datasets.parse_ref(ref)
        versions = self.datasets.get(name, [])
        number = len(versions) if version == "latest" else version
        if not 1 <= number <= len(versions):
            raise NotFound(f"{ref} does not exist; there is {[one.ref for all in self.datasets.values() for one, _ in all]}")
        return versions[number - 1]

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
        rows = list(examples)
        datasets.check_new(name, rows, manifest)
        versions = self.datasets.setdefault(name, [])
        version = datasets.DatasetVersion(
            name=name,
            version=len(versions) + 1,
            job_id=self.job_id,
            content_sha256=datasets.content_sha256(rows),
            counts=datasets.count(rows),
            manifest=json.loads(json.dumps(dict(manifest), allow_nan=False)),
            parents=list(parents),
            rehearsal=rehearsal or any(row.rehearsal for row in rows),
            created_at=datetime.now(UTC),
        )
        versions.append((version, rows))
        return version

    def save_sessions(self, sessions: Sequence[Session]) -> None:
        self.saved_sessions[self.ref] = list(sessions)

    def sessions(self, job_ref: str) -> Iterator[Session]:
        yield from (one for one in _of(self.saved_sessions, job_ref, "sessions") if one.status == "active")

    def save_rules(self, rules: Sequence[Rule]) -> None:
        self.saved_rules[self.ref] = list(rules)

    def rules(self, job_ref: str) -> Iterator[Rule]:
        yield from (rule for rule in _of(self.saved_rules, job_ref, "rules") if rule.status == "active")

    def save_clusters(self, clusters: Sequence[Cluster]) -> None:
        self.saved_clusters[self.ref] = list(clusters)

    def clusters(self, job_ref: str) -> Iterator[Cluster]:
        yield from _of(self.saved_clusters, job_ref, "clusters")

    def save_cluster_rules(self, rules: Sequence[ClusterRule]) -> None:
        self.saved_cluster_rules[self.ref] = list(rules)

    def cluster_rules(self, job_ref: str) -> Iterator[ClusterRule]:
        yield from _of(self.saved_cluster_rules, job_ref, "cluster rules")

    def adapter(self, ref: str) -> AdapterVersion:
        name, _, which = ref.removeprefix("adapter:").partition("@")
        number = int(which) if which.isdigit() else self.aliases.get((name, which), 0)
        versions = self.adapters.get(name, [])
        if not 1 <= number <= len(versions):
            raise NotFound(f"{ref} does not exist; there is {[one.ref for all in self.adapters.values() for one in all]}")
        return versions[number - 1]

    def register_adapter(self, adapter: NewAdapter) -> AdapterVersion:
        from goldsmith.adapters import AdapterVersion

        versions = self.adapters.setdefault(adapter.name, [])
        folder = self.root / "adapters" / adapter.name / str(len(versions) + 1)
        shutil.copytree(adapter.folder, folder)
        version = AdapterVersion(
            name=adapter.name,
            version=len(versions) + 1,
            job_id=self.job_id,
            base_model=adapter.base_model,
            base_sha256=adapter.base_sha256,
            tokenizer_sha256=adapter.tokenizer_sha256,
            template_sha256=adapter.template_sha256,
            dataset=adapter.dataset,
            status="candidate",
            method=adapter.method,
            metrics=adapter.metrics,
            files={
                str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
            folder=folder,
            rehearsal=adapter.rehearsal,
            created_at=datetime.now(UTC),
            base_revision=adapter.base_revision,
            base_files=None if adapter.base_files is None else dict(adapter.base_files),
            parents=list(adapter.parents),
        )
        versions.append(version)
        if adapter.alias is not None:
            self.aliases[adapter.name, adapter.alias] = version.version
        return version

    def passport(self, ref: str) -> bytes:
        return json.dumps({"passport": {"adapter": self.adapter(ref).facts()}, "signature": {}}).encode()

    def move_alias(self, name: str, alias: str, version: int | None) -> None:
        if version is None:
            self.aliases.pop((name, alias), None)
        else:
            assert 1 <= version <= len(self.adapters.get(name, [])), f"there is no adapter:{name}@{version}"
            self.aliases[name, alias] = version

    def experiment(self, experiment_id: str) -> Data:
        if experiment_id not in self.experiments:
            raise NotFound(f"the experiment {experiment_id} does not exist")
        return self.experiments[experiment_id]

    def record_decision(self, experiment_id: str, decision: Decision) -> None:
        self.decisions.append((experiment_id, decision))

    def make_room(self, need: Footprint, advice: str) -> None:
        self.needs.append((need, advice))
        if self.no_room is not None:
            raise self.no_room

    def teacher(self, provider: str, *, model: str | None, budget_usd: float, recorded: bool) -> Teacher:
        return self.teacher_factory(provider, model=model, budget_usd=budget_usd, recorded=recorded)

    def chat(self) -> ChatClient:
        return self.chat_factory()

    def ollama(self) -> Ollama:
        return self.ollama_factory()

    def student(self, base_model: str, adapter: AdapterVersion | None = None) -> Student:
        return self.student_factory(base_model, adapter)

    def encoder(self, name: str) -> Encoder:
        return self.encoder_factory(name)

    def reranker(self, name: str) -> Reranker:
        return self.reranker_factory(name)


def made_job(job_id: UUID, kind: str, config: dict[str, Any], submitted_by: UUID | None = None) -> Job:
    """A queued job's row."""
    from goldsmith.job import Job

    unset = dict.fromkeys(
        (
            "result",
            "error",
            "heartbeat_at",
            "worker",
            "gpu_id",
            "run_at",
            "blocked_by",
            "cancel_requested_at",
            "started_at",
            "completed_at",
        )
    )
    row = {
        "id": job_id,
        "kind": kind,
        "config": config,
        "status": "queued",
        "queue": "io",
        "priority": 4,
        "progress": 0.0,
        "message": "",
    }
    row |= {"seq": 1, "attempt": 0, "failures": 0, "max_attempts": 3, "timeout": 3600, "created_by": "local", "cost_usd": 0.0}
    return Job.model_validate(row | unset | {"created_at": datetime.now(UTC), "submitted_by": submitted_by})


def _of(saved: dict[str, list[T]], job_ref: str, what: str) -> list[T]:
    if job_ref not in saved:
        raise NotFound(f"{job_ref} has no {what}; there are some of {sorted(saved)}")
    return saved[job_ref]


def _not_given(signature: str) -> Callable[..., Any]:
    def refuse(*args: object, **kwargs: object) -> Any:
        raise AssertionError(f"the run asked for a model that the test did not give: set ctx.{signature}")

    return refuse
