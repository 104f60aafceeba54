"""The Python SDK: sync, typed, on httpx; nothing of the server is imported.

from goldsmith.client import Client, TrainConfig

with Client() as client:
    job = client.submit(TrainConfig(dataset="dataset:gold@1", name="workshop"))
    job.wait(on_progress=lambda job: print(job.progress, job.message))
    print(job.result["adapter"])
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import UUID

import httpx

from goldsmith.job import FINAL, Job
from goldsmith.kinds.ab_report.schema import AbReportConfig
from goldsmith.kinds.ablation.schema import AblationConfig
from goldsmith.kinds.base import JobConfig
from goldsmith.kinds.bias_audit.schema import BiasAuditConfig
from goldsmith.kinds.cluster.schema import ClusterConfig
from goldsmith.kinds.corpus.schema import CorpusConfig
from goldsmith.kinds.deploy.schema import DeployConfig
from goldsmith.kinds.evaluate.schema import EvaluateConfig
from goldsmith.kinds.export.schema import ExportConfig
from goldsmith.kinds.fidelity.schema import FidelityConfig
from goldsmith.kinds.gap.schema import GapConfig
from goldsmith.kinds.gold.schema import GoldConfig
from goldsmith.kinds.imports.schema import ImportConfig
from goldsmith.kinds.intercept.schema import InterceptConfig
from goldsmith.kinds.merge.schema import MergeConfig
from goldsmith.kinds.pairs.schema import PairsConfig
from goldsmith.kinds.rollback.schema import RollbackConfig
from goldsmith.kinds.router.schema import RouterConfig
from goldsmith.kinds.rules.schema import RulesConfig
from goldsmith.kinds.sessions.schema import SessionsConfig
from goldsmith.kinds.train.schema import TrainConfig

__all__ = [
    "AbReportConfig",
    "AblationConfig",
    "ApiError",
    "BiasAuditConfig",
    "Client",
    "ClusterConfig",
    "CorpusConfig",
    "DeployConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FidelityConfig",
    "GapConfig",
    "GoldConfig",
    "ImportConfig",
    "InterceptConfig",
    "Job",
    "JobFailed",
    "JobHandle",
    "MergeConfig",
    "NotReachable",
    "PairsConfig",
    "RollbackConfig",
    "RouterConfig",
    "RulesConfig",
    "SessionsConfig",
    "TrainConfig",
]

DEFAULT_URL = "http://127.0.0.1:17804"
LONG_POLL_S = 30.0
UPLOADED = {
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".csv": "text/csv",
    ".zip": "application/zip",
}
HEARTBEAT_S = 15.0  # of a stream; three without one, and the connection is taken for dead
PATIENCE_S = 60.0


class ApiError(Exception):
    """The server said no: `status`, and the problem document as `problem`."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = dict(problem)
        super().__init__(with_fields(f"{problem.get('detail', 'no detail')} ({status})", problem.get("errors", [])))


def with_fields(detail: str, errors: Sequence[Mapping[str, Any]]) -> str:
    """The detail, and what is wrong with each field that it does not speak of itself."""
    fields = [
        f"{entry.get('field')}: {entry.get('message')}"
        for entry in errors
        if entry.get("message") and not all(str(entry.get(part)) in detail for part in ("field", "message"))
    ]
    return detail + (f" — {'; '.join(fields)}" if fields else "")


class NotReachable(Exception):
    """Nobody answers at the URL, or something that is no Goldsmith."""


class JobFailed(Exception):
    """The job ended failed or cancelled; `job` says how."""

    def __init__(self, job: Job) -> None:
        self.job = job
        detail = (job.error or {}).get("detail") or job.message
        super().__init__(f"{job.kind} job {job.id} {job.status}: {detail}")


class _Away:
    """Patience with a server that does not answer for a moment."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._since: float | None = None

    def over(self) -> None:
        self._since = None

    def bear(self, error: NotReachable | ApiError) -> None:
        """Sleep before the next try; raise `error` when it is a refusal, or has lasted for a minute."""
        if isinstance(error, ApiError) and error.status not in (429, 503):
            raise error
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since > PATIENCE_S:
            raise error
        time.sleep(self._pause_s)


class JobHandle:
    """One job on the server; `job` is how it was when last seen."""

    def __init__(self, client: Client, job: Job) -> None:
        self._client = client
        self.job = job

    @property
    def id(self) -> UUID:
        return self.job.id

    @property
    def ref(self) -> str:
        return self.job.ref

    @property
    def result(self) -> dict[str, Any]:
        """What came out; only a completed job has one."""
        if self.job.result is None:
            raise JobFailed(self.job)
        return self.job.result

    def refresh(self) -> Job:
        self.job = self._client.get(self.id)
        return self.job

    def wait(
        self, on_progress: Callable[[Job], None] | None = None, *, timeout: float | None = None, poll_s: float = 0.5
    ) -> Self:
        """Until the job has ended. Raises `JobFailed` when it failed or was cancelled, `TimeoutError` after `timeout` seconds.

        `on_progress` gets the job at first and after every change. The server answers when there is one, so nothing is asked
        in between; one that is away for a moment is asked again every `poll_s` seconds for a minute.
        """
        end = None if timeout is None else time.monotonic() + timeout
        away = _Away(poll_s)
        tag, wait_s = None, 0.0
        while True:
            try:
                job, tag = self._client._next_change(self.id, tag, wait_s)
            except (NotReachable, ApiError) as error:
                away.bear(error)
                continue
            away.over()
            if job is not None:
                self.job = job
                if on_progress is not None:
                    on_progress(job)
            if self.job.status in FINAL:
                if self.job.status != "completed":
                    raise JobFailed(self.job)
                return self
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"job {self.id} is still {self.job.status} after {timeout} s")
            wait_s = LONG_POLL_S if end is None else min(LONG_POLL_S, max(0.0, end - time.monotonic()))

    def follow(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """See `Client.follow`."""
        return self._client.follow(self.id, after)

    def cancel(self) -> Job:
        self.job = self._client.cancel(self.id)
        return self.job


def _as_body(config: JobConfig | Mapping[str, Any]) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude_none=True) if isinstance(config, JobConfig) else dict(config)


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return [str(one) for one in value] if isinstance(value, list | tuple | set) else value


def _pack(folder: Path, archive: Path) -> None:
    """What an upload of contexts reads of a folder: its JSON and Python files."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        schemas = [part for part in (folder / "schemas", folder / "devserver" / "schemas") if part.is_dir()]
        for path in sorted(path for top in schemas or [folder] for path in top.rglob("*")):
            if path.suffix in (".json", ".py") and path.is_file() and not path.is_symlink():
                packed.write(path, path.relative_to(folder))


def _part(value: UUID | str) -> str:
    """One part of a path, whatever characters it has."""
    return quote(str(value), safe="")


def _adapter(ref: str) -> str:
    name, _, version = ref.removeprefix("adapter:").partition("@")
    return f"/v1/adapters/{_part(name)}/{_part(version)}"


def _refusal(response: httpx.Response) -> ApiError | NotReachable:
    try:
        problem = response.json()
    except ValueError:
        return _no_goldsmith(response)
    return ApiError(response.status_code, problem if isinstance(problem, dict) else {"detail": str(problem)})


def _no_goldsmith(response: httpx.Response) -> NotReachable:
    url = response.request.url
    answer = f"it answered {url.path} with {response.status_code} and no JSON"
    return NotReachable(f"no Goldsmith server at {url.scheme}://{url.netloc.decode()}: {answer}")


class Client:
    """Talks to one server; usable as a context manager. The URL and key default to GOLDSMITH_URL and GOLDSMITH_API_KEY."""

    def __init__(self, url: str | None = None, *, api_key: str | None = None, timeout: float = 30) -> None:
        self.url = (url or os.environ.get("GOLDSMITH_URL") or DEFAULT_URL).rstrip("/")
        key = api_key or os.environ.get("GOLDSMITH_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=httpx.Timeout(timeout, connect=3), trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, **more: Any) -> Any:
        """One request; raises `ApiError` for a refusal and `NotReachable` when nobody answers. Returns the JSON."""
        response = self._send(method, path, **more)
        try:
            return response.json()
        except ValueError:
            raise _no_goldsmith(response) from None

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **more)
        except httpx.TransportError as error:
            raise self._no_answer(error) from error
        if response.is_error:
            raise _refusal(response)
        return response

    def _no_answer(self, error: httpx.TransportError) -> NotReachable:
        said = str(error) or type(error).__name__
        return NotReachable(f"no answer from {self.url} ({said}); is it up? `goldsmith up`")

    # -- jobs

    def submit(
        self,
        config: JobConfig | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> JobHandle:
        """Put a job into the queue. The same `idempotency_key` and config again return the first job instead of a second one."""
        body = _as_body(config)
        if options:
            body["options"] = dict(options)
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return JobHandle(self, Job.model_validate(self.request("POST", "/v1/jobs", json=body, headers=headers)))

    def estimate(self, config: JobConfig | Mapping[str, Any]) -> dict[str, Any]:
        """What a gold job would cost and take: tokens, `usd` and `minutes` of direct, cached and batched buying. Buys nothing."""
        found: dict[str, Any] = self.request("POST", "/v1/estimate", json=_as_body(config), timeout=60)
        return found

    def submit_batch(
        self, configs: Sequence[JobConfig | Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Sequence[UUID]:
        """Put up to 1,000 jobs into the queue, all or none; returns their ids in order. A mapping may have `options`.

        A wrong one is an `ApiError` whose fields begin with `jobs.` and its index.
        """
        body = {"jobs": [_as_body(config) for config in configs]}
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        answer = self.request("POST", "/v1/jobs/batch", json=body, headers=headers, timeout=60)
        return [UUID(one) for one in answer["ids"]]

    def get(self, job_id: UUID | str) -> Job:
        return Job.model_validate(self.request("GET", f"/v1/jobs/{_part(job_id)}"))

    def _next_change(self, job_id: UUID, tag: str | None, wait_s: float) -> tuple[Job | None, str]:
        """The job and its ETag, when it is another than `tag` says; None for the job when that still holds after `wait_s`."""
        response = self._send(
            "GET",
            f"/v1/jobs/{_part(job_id)}",
            params={"wait": wait_s},
            headers={"If-None-Match": tag} if tag else {},
            timeout=httpx.Timeout(wait_s + 30, connect=3),
        )
        job = None if response.status_code == 304 else Job.model_validate(response.json())
        return job, response.headers["ETag"]

    def handle(self, job_id: UUID | str) -> JobHandle:
        return JobHandle(self, self.get(job_id))

    def list(self, **filters: Any) -> Iterator[Job]:
        """Newest first, page by page; filters: kind, status, created_after, submitted_by, limit (of a page)."""
        cursor = None
        while True:
            page = self.request(
                "GET", "/v1/jobs", params={k: v for k, v in {**filters, "cursor": cursor}.items() if v is not None}
            )
            yield from (Job.model_validate(job) for job in page["jobs"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def cancel(self, job_id: UUID | str) -> Job:
        return Job.model_validate(self.request("POST", f"/v1/jobs/{_part(job_id)}/cancel"))

    def retry(self, job_id: UUID | str) -> JobHandle:
        return JobHandle(self, Job.model_validate(self.request("POST", f"/v1/jobs/{_part(job_id)}/retry")))

    def approve(self, job_id: UUID | str) -> Job:
        """Let a job go on that showed its plan and waits for this (a `uno` job with `approve="plan"`). Twice is a no-op."""
        return Job.model_validate(self.request("POST", f"/v1/jobs/{_part(job_id)}/approve"))

    def cancel_many(self, *, dry_run: bool = False, **filters: Any) -> Sequence[UUID]:
        """Cancel every job that fits; filters: kind, status, created_before, created_after, ids. Returns which."""
        return self._many("cancel", dry_run, filters)

    def retry_many(self, *, dry_run: bool = False, **filters: Any) -> Sequence[UUID]:
        """Queue every failed or cancelled job that fits again; filters as in `cancel_many`. Returns which."""
        return self._many("retry", dry_run, filters)

    def _many(self, verb: str, dry_run: bool, filters: Mapping[str, Any]) -> Sequence[UUID]:
        body = {name: _plain(value) for name, value in filters.items() if value is not None} | {"dry_run": dry_run}
        return [UUID(one) for one in self.request("POST", f"/v1/jobs/{verb}", json=body, timeout=60)["ids"]]

    def set_priority(self, job_id: UUID | str, priority: int) -> Job:
        """Give a job that has not started another priority, 9 (first) to 0."""
        return Job.model_validate(self.request("PATCH", f"/v1/jobs/{_part(job_id)}", json={"priority": priority}))

    def dead(self, *, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """What failed for good, with its cause; the last to fail first."""
        cursor = None
        while True:
            wanted = {name: value for name, value in {"kind": kind, "cursor": cursor}.items() if value is not None}
            page = self.request("GET", "/v1/jobs/dead", params=wanted)
            yield from page["jobs"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def log(self, job_id: UUID | str, attempt: int | None = None) -> Iterator[str]:
        """What an attempt's process wrote, line by line; without a number the last attempt's."""
        params = {} if attempt is None else {"attempt": attempt}
        try:
            with self._http.stream("GET", f"/v1/jobs/{_part(job_id)}/log", params=params) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                yield from response.iter_lines()
        except httpx.TransportError as error:
            raise self._no_answer(error) from error

    def events(self, job_id: UUID | str, after: int = 0) -> Iterator[dict[str, Any]]:
        """All events after `after` that there are now."""
        while True:
            page = self.request("GET", f"/v1/jobs/{_part(job_id)}/events", params={"after": after})
            if not page["events"]:
                return
            yield from page["events"]
            after = page["next_after"]

    def follow(self, job_id: UUID | str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Every event after `after` as it happens, to the job's final one: `seq`, `attempt`, `event`, `data`, `created_at`.

        A connection that breaks is taken up again after the last event; a server that is away for a minute is `NotReachable`.
        """
        away = _Away(0.5)
        url, patience = f"/v1/jobs/{_part(job_id)}/events", httpx.Timeout(3 * HEARTBEAT_S, connect=3)
        while True:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
            try:
                with self._http.stream("GET", url, headers=headers, timeout=patience) as response:
                    if response.status_code == 204:
                        return
                    if response.is_error:
                        response.read()
                        raise _refusal(response)
                    came = after
                    for line in response.iter_lines():
                        if line.startswith("data: "):
                            event: dict[str, Any] = json.loads(line.removeprefix("data: "))
                            after = event["seq"]
                            yield event
                            away.over()
                    if after == came:  # a server that is about to go
                        time.sleep(0.5)
            except httpx.TransportError as error:
                away.bear(self._no_answer(error))
            except (ApiError, NotReachable) as error:
                away.bear(error)

    def artifacts(self, job_id: UUID | str) -> Sequence[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("GET", f"/v1/jobs/{_part(job_id)}/artifacts")
        return found

    def download(self, ref: str, to: Path) -> Path:
        """Fetch `job:<id>/<name>` into the file `to`."""
        job_id, _, name = ref.removeprefix("job:").partition("/")
        to.write_bytes(self._send("GET", f"/v1/jobs/{_part(job_id)}/artifacts/{quote(name)}").content)
        return to

    # -- what outlives a job

    def kinds(self) -> Sequence[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("GET", "/v1/kinds")
        return found

    def pause_kind(self, kind: str) -> dict[str, Any]:
        """Start no more jobs of this kind; what runs goes on."""
        found: dict[str, Any] = self.request("POST", f"/v1/kinds/{_part(kind)}/pause")
        return found

    def resume_kind(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = self.request("POST", f"/v1/kinds/{_part(kind)}/resume")
        return found

    # -- uploads

    def upload(self, path: Path, *, name: str | None = None, origin: str = "upload", kind: str | None = None) -> dict[str, Any]:
        """Send prompts (a .jsonl or .csv file), contexts (a .zip of a checkout, or its folder), with `kind="sessions"` a log of chats
        or feedback, or with `kind="golden"` a golden set (both .jsonl); returns it with its `ref`.

        `origin`: `upload`, `recorded` (typed in a workshop) or `synthetic` (made by a model: may go to any teacher).
        """
        if path.is_dir():
            with tempfile.TemporaryDirectory() as folder:
                packed = Path(folder, f"{path.resolve().name}.zip")
                _pack(path, packed)
                return self.upload(packed, name=name, origin=origin, kind=kind)
        if path.suffix.lower() not in UPLOADED:
            raise ValueError(f"{path.name}: uploaded are {', '.join(UPLOADED)} files and folders of contexts")
        with path.open("rb") as file:
            found: dict[str, Any] = self.request(
                "POST",
                "/v1/uploads",
                params={"name": name or path.name, "origin": origin} | ({"kind": kind} if kind else {}),
                content=file,
                headers={"Content-Type": UPLOADED[path.suffix.lower()], "Content-Length": str(path.stat().st_size)},
                timeout=120,
            )
        return found

    def uploads(self, limit: int = 100) -> Sequence[dict[str, Any]]:
        """The newest first."""
        found: Sequence[dict[str, Any]] = self.request("GET", "/v1/uploads", params={"limit": limit})
        return found

    def remove_upload(self, ref: str) -> None:
        """Delete `upload:<id>` and its file; refused while a job that has not ended, or a schedule, names it."""
        self._send("DELETE", f"/v1/uploads/{_part(ref.removeprefix('upload:'))}")

    # -- sessions

    def sessions(self, job: str, *, status: str | None = None, limit: int = 100) -> Iterator[dict[str, Any]]:
        """What a sessions job read, page by page of `limit`; those in quarantine alone: `status="quarantined"`."""
        params = {"job": job.removeprefix("job:"), "limit": limit} | ({"status": status} if status else {})
        cursor = None
        while True:
            page = self.request("GET", "/v1/sessions", params=params | ({} if cursor is None else {"cursor": cursor}))
            yield from page["sessions"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    # -- rules of clusters

    def clusters(self, job: str | None = None) -> dict[str, Any]:
        """A clustering (`job:<id>`, else the newest): its clusters with size, rules, gap, path and what their adapters won."""
        found: dict[str, Any] = self.request("GET", "/v1/clusters", params={"job": job} if job else {})
        return found

    def rules(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """The newest clustering's first, page by page; filters: search, job, cluster, config, status, limit (of a page)."""
        cursor: dict[str, Any] = {}
        while True:
            page = self.request("GET", "/v1/rules", params=filters | cursor)
            yield from page["rules"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def rule(self, rule_id: UUID | str) -> dict[str, Any]:
        """One rule, and what sessions said that taught it."""
        found: dict[str, Any] = self.request("GET", f"/v1/rules/{_part(rule_id)}")
        return found

    def retire_rule(self, rule_id: UUID | str) -> dict[str, Any]:
        """Use it no more, nor any that it stands for."""
        found: dict[str, Any] = self.request("POST", f"/v1/rules/{_part(rule_id)}/retire")
        return found

    def restore_rule(self, rule_id: UUID | str) -> dict[str, Any]:
        """Take a retired rule back into use."""
        found: dict[str, Any] = self.request("POST", f"/v1/rules/{_part(rule_id)}/restore")
        return found

    def export_rules(self, job: str | None = None, *, markdown: bool = False) -> Any:
        """The active rules of a clustering: a list of `{rule, evidence, configs, input_pattern}`, or Markdown as text."""
        params = {"format": "markdown" if markdown else "json"} | ({"job": job} if job else {})
        answer = self._send("GET", "/v1/rules/export", params=params)
        return answer.text if markdown else answer.json()

    def quarantine(self, job: str | None = None, *, limit: int = 100) -> Iterator[dict[str, Any]]:
        """Sessions and rules that the screen for prompt injection kept out, newest first; needs a key with the scope admin."""
        params: dict[str, Any] = {"limit": limit} | ({"job": job.removeprefix("job:")} if job else {})
        cursor = None
        while True:
            page = self.request("GET", "/v1/quarantine", params=params | ({} if cursor is None else {"cursor": cursor}))
            yield from page["entries"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def release(self, entry_id: str) -> dict[str, Any]:
        """Let a session or rule out of quarantine; needs a key with the scope admin. Jobs submitted from now on read it."""
        released: dict[str, Any] = self.request("POST", f"/v1/quarantine/{_part(entry_id)}/release")
        return released

    # -- datasets

    def dataset(self, ref: str) -> dict[str, Any]:
        name, _, version = ref.removeprefix("dataset:").partition("@")
        found: dict[str, Any] = self.request("GET", f"/v1/datasets/{_part(name)}/{_part(version)}")
        return found

    def diff_datasets(self, before: str, after: str, *, limit: int = 100) -> dict[str, Any]:
        """What changed between two versions: rows added, removed and changed, and the manifests."""
        name, _, version = after.removeprefix("dataset:").partition("@")
        path = f"/v1/datasets/{_part(name)}/{_part(version)}/diff"
        found: dict[str, Any] = self.request("GET", path, params={"before": before, "limit": limit}, timeout=120)
        return found

    def drift(self, ref: str, *, contexts: str | None = None) -> dict[str, Any]:
        """Whether template and contexts are still those of the dataset; `contexts`: job:<id>/contexts.json or upload:<id>."""
        name, _, version = ref.removeprefix("dataset:").partition("@")
        params = {} if contexts is None else {"contexts": contexts}
        found: dict[str, Any] = self.request("GET", f"/v1/datasets/{_part(name)}/{_part(version)}/drift", params=params)
        return found

    def check_template(self, request: Mapping[str, Any], config_id: str, text: str, **more: Any) -> dict[str, Any]:
        """Compare the prompt that we render for `text` with the captured body of a model request, byte for byte.

        `more`: `language` of the context, `wiki`, `contexts` (job:<id>/contexts.json or upload:<id>; default: the newest import's).
        """
        body = {"request": request, "config_id": config_id, "text": text, **more}
        found: dict[str, Any] = self.request("POST", "/v1/contexts/check", json=body)
        return found

    def download_dataset(self, ref: str, folder: Path) -> Path:
        """Fetch every file of a version into `folder`, which `datasets.load_dataset` then loads."""
        folder.mkdir(parents=True, exist_ok=True)
        name, _, version = ref.removeprefix("dataset:").partition("@")
        path = f"/v1/datasets/{_part(name)}/{_part(version)}"
        for file in self.dataset(ref)["files"]:
            (folder / file).write_bytes(self._send("GET", f"{path}/files/{quote(file)}", timeout=120).content)
        return folder

    def datasets(self) -> Sequence[dict[str, Any]]:
        """The newest version of each."""
        found: Sequence[dict[str, Any]] = self.request("GET", "/v1/datasets")
        return found

    # -- routes

    def route(
        self,
        router: str,
        query: str | None = None,
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        vector: Sequence[float] | None = None,
        answer: bool = False,
        **more: Any,
    ) -> dict[str, Any]:
        """Which cluster of the router `job:<id>` this belongs to and what answers it; `answer`: the answer as well.

        `more`: `max_tokens` and `temperature` of the answer. `goldsmith.router.Router` decides the same without the server.
        """
        texts = None if messages is None else [dict(message) for message in messages]
        given = {"query": query, "messages": texts, "vector": None if vector is None else [float(one) for one in vector]}
        body = {"router": router, "answer": answer, **more} | {name: one for name, one in given.items() if one is not None}
        routed: dict[str, Any] = self.request("POST", "/v1/route", json=body, timeout=900 if answer else 90)
        return routed

    def routes(self, router: str, limit: int = 100) -> Iterator[dict[str, Any]]:
        """What the router decided, newest first, page by page of `limit`."""
        params: dict[str, Any] = {"router": router, "limit": limit}
        while True:
            page = self.request("GET", "/v1/routes", params=params)
            yield from page["routes"]
            if page["next_cursor"] is None:
                return
            params["cursor"] = page["next_cursor"]

    # -- adapters

    def adapters(self, name: str | None = None) -> Sequence[dict[str, Any]]:
        """The newest versions first, of one adapter or of all."""
        found: Sequence[dict[str, Any]] = self.request("GET", f"/v1/adapters/{_part(name)}" if name else "/v1/adapters")
        return found

    def adapter(self, ref: str) -> dict[str, Any]:
        """By `adapter:<name>@<version or alias>`."""
        found: dict[str, Any] = self.request("GET", _adapter(ref))
        return found

    def lineage(self, ref: str, *, runs: bool = False) -> dict[str, Any]:
        """What `adapter:<name>@<version or alias>` or `dataset:<name>@<version>` was made from; `runs`: with the runs' ids."""
        kind, _, rest = ref.partition(":")
        name, _, version = rest.partition("@")
        path = f"/v1/{_part(kind)}s/{_part(name)}/{_part(version)}/lineage"
        found: dict[str, Any] = self.request("GET", path, params={"runs": runs})
        return found

    def passport(self, ref: str) -> dict[str, Any]:
        """The signed passport of `adapter:<name>@<version or alias>`."""
        found: dict[str, Any] = self.request("GET", f"{_adapter(ref)}/passport", timeout=120)
        return found

    def passport_key(self) -> str:
        """The public key that passports are checked with, in base64."""
        return str(self.request("GET", "/.well-known/goldsmith-passport-key")["public_key"])

    def approve_adapter(self, ref: str) -> dict[str, Any]:
        """candidate → approved."""
        moved: dict[str, Any] = self.request("POST", f"{_adapter(ref)}/approve")
        return moved

    def retire_adapter(self, ref: str, *, force: bool = False, reason: str | None = None) -> dict[str, Any]:
        """approved → retired; refused while an alias or a running experiment uses the version. `force`, with a reason: base answers
        in its place in the experiments."""
        body = {"force": force} | ({} if reason is None else {"reason": reason})
        moved: dict[str, Any] = self.request("POST", f"{_adapter(ref)}/retire", json=body)
        return moved

    def seal_adapter(self, ref: str) -> dict[str, Any]:
        """Sign a version with the server's present key, where it has no seal or its key was lost; needs the scope admin."""
        sealed: dict[str, Any] = self.request("POST", f"{_adapter(ref)}/seal")
        return sealed

    def remove_alias(self, ref: str) -> None:
        """Let the alias of `adapter:<name>@<alias>` mean nothing; the version stays."""
        name, _, alias = ref.removeprefix("adapter:").partition("@")
        self._send("DELETE", f"/v1/adapters/{_part(name)}/aliases/{_part(alias)}")

    def set_alias(self, adapter: str, alias: str) -> dict[str, Any]:
        """Let `alias` mean the version of `adapter:<name>@<version>`."""
        name, _, version = adapter.removeprefix("adapter:").partition("@")
        found: dict[str, Any] = self.request(
            "PUT", f"/v1/adapters/{_part(name)}/aliases/{_part(alias)}", json={"version": int(version)}
        )
        return found

    # -- pipelines

    def submit_pipeline(self, jobs: Mapping[str, Mapping[str, Any]], *, idempotency_key: str | None = None) -> dict[str, Any]:
        """Submit jobs that depend on each other, all or none: `{name: {"kind": …, "depends_on": [names], "options": {…}}}`.

        A config refers to another job of the pipeline as `job:<name>` or `job:<name>/<artifact>`.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        body = {"jobs": {name: dict(job) for name, job in jobs.items()}}
        made: dict[str, Any] = self.request("POST", "/v1/pipelines", json=body, headers=headers)
        return made

    def pipeline(self, pipeline_id: UUID | str) -> dict[str, Any]:
        found: dict[str, Any] = self.request("GET", f"/v1/pipelines/{_part(pipeline_id)}")
        return found

    def cancel_pipeline(self, pipeline_id: UUID | str) -> dict[str, Any]:
        found: dict[str, Any] = self.request("POST", f"/v1/pipelines/{_part(pipeline_id)}/cancel")
        return found

    # -- schedules

    def create_schedule(
        self,
        name: str,
        cron: str,
        config: JobConfig | Mapping[str, Any],
        *,
        time_zone: str = "UTC",
        options: Mapping[str, Any] | None = None,
        enabled: bool = True,
    ) -> dict[str, Any]:
        """Submit this job at the times of a cron expression: `create_schedule("nightly", "0 3 * * *", RulesConfig(…))`."""
        job = config.model_dump(mode="json", exclude_none=True) if isinstance(config, JobConfig) else dict(config)
        body = {
            "name": name,
            "cron": cron,
            "time_zone": time_zone,
            "config": job,
            "enabled": enabled,
            "options": dict(options or {}),
        }
        made: dict[str, Any] = self.request("POST", "/v1/schedules", json=body)
        return made

    def schedules(self) -> Sequence[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("GET", "/v1/schedules")
        return found

    def preview_schedule(self, name: str) -> Sequence[str]:
        """The next five times."""
        found: list[str] = self.request("GET", f"/v1/schedules/{_part(name)}/preview")["next_times"]
        return found

    def change_schedule(self, name: str, **changes: Any) -> dict[str, Any]:
        """Change cron, time_zone, config, options or enabled."""
        changed: dict[str, Any] = self.request("PATCH", f"/v1/schedules/{_part(name)}", json=changes)
        return changed

    def remove_schedule(self, name: str) -> None:
        self._send("DELETE", f"/v1/schedules/{_part(name)}")

    def sweep(self, *, days: int | None = None, dry_run: bool = False) -> dict[str, Any]:
        """Remove what ended more than `days` (else GOLDSMITH_KEEP_JOBS_DAYS) days ago, except what is built on."""
        swept: dict[str, Any] = self.request("POST", "/v1/sweep", json={"days": days, "dry_run": dry_run})
        return swept

    def erase(self, device_id: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Erase what a device typed, and mark what was made from it; needs a key with the scope admin. Counts alone: `dry_run`."""
        body = {"device_id": device_id, "dry_run": dry_run}
        erased: dict[str, Any] = self.request("POST", "/v1/erase", json=body, timeout=300)
        return erased

    # -- experiments

    def create_experiment(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self.request("POST", "/v1/experiments", json=dict(plan))
        return made

    def experiment(self, experiment_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.request("GET", f"/v1/experiments/{_part(experiment_id)}")
        return found

    def experiments(self, *, status: str | None = None, name: str | None = None, limit: int = 100) -> Sequence[dict[str, Any]]:
        """The newest first; `name`: every version of one."""
        given = {key: value for key, value in {"status": status, "name": name, "limit": limit}.items() if value is not None}
        found: Sequence[dict[str, Any]] = self.request("GET", "/v1/experiments", params=given)
        return found

    def change_experiment(self, experiment_id: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        """Put another plan in a draft's place."""
        changed: dict[str, Any] = self.request("PUT", f"/v1/experiments/{_part(experiment_id)}", json=dict(plan))
        return changed

    def new_experiment_version(self, experiment_id: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        """The changed plan of a started experiment, as a draft of its own."""
        made: dict[str, Any] = self.request("POST", f"/v1/experiments/{_part(experiment_id)}/versions", json=dict(plan))
        return made

    def delete_experiment(self, experiment_id: str) -> None:
        """Remove a draft."""
        self._send("DELETE", f"/v1/experiments/{_part(experiment_id)}")

    def start_experiment(self, experiment_id: str, *, reason: str | None = None, force: bool = False) -> dict[str, Any]:
        """Freeze and hash the plan of a draft and run it. `force`, with a reason: without waiting for a cool-down."""
        return self._act_on_experiment(experiment_id, "start", reason, **({"force": True} if force else {}))

    def pause_experiment(self, experiment_id: str, *, reason: str | None = None) -> dict[str, Any]:
        """Base answers every unit until it is resumed."""
        return self._act_on_experiment(experiment_id, "pause", reason)

    def resume_experiment(self, experiment_id: str, *, reason: str | None = None) -> dict[str, Any]:
        return self._act_on_experiment(experiment_id, "resume", reason)

    def approve_experiment(self, experiment_id: str, *, reason: str | None = None) -> dict[str, Any]:
        """Let the present step of the ramp go on to the next, once its other rules hold."""
        return self._act_on_experiment(experiment_id, "approve", reason)

    def end_experiment(self, experiment_id: str, *, reason: str | None = None) -> dict[str, Any]:
        return self._act_on_experiment(experiment_id, "end", reason)

    def _act_on_experiment(self, experiment_id: str, act: str, reason: str | None, **more: Any) -> dict[str, Any]:
        body = more | ({"reason": reason} if reason is not None else {})
        done: dict[str, Any] = self.request("POST", f"/v1/experiments/{_part(experiment_id)}/{act}", json=body)
        return done

    def assignments(self, experiment_id: str, units: Sequence[str], **facts: Any) -> Sequence[dict[str, Any]]:
        """The arms of up to 1,000 units; `facts` as `goldsmith.client.live` takes them. In a child's request use that instead."""
        body = {"units": list(units)} | {key: _plain(value) for key, value in facts.items()}
        answer = self.request("POST", f"/v1/experiments/{_part(experiment_id)}/assignments", json=body)
        given: Sequence[dict[str, Any]] = answer["assignments"]
        return given

    def send_events(self, experiment_id: str, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = self.request(
            "POST", f"/v1/experiments/{_part(experiment_id)}/events", json={"events": list(events)}
        )
        return answer

    def experiment_report(self, experiment_id: str) -> dict[str, Any]:
        report: dict[str, Any] = self.request("GET", f"/v1/experiments/{_part(experiment_id)}/report")
        return report

    def rollback_experiment(self, experiment_id: str, reason: str) -> dict[str, Any]:
        """running or paused → rolled_back: every unit to base at once."""
        done: dict[str, Any] = self.request("POST", f"/v1/experiments/{_part(experiment_id)}/rollback", json={"reason": reason})
        return done

    def force_experiment(self, experiment_id: str, reason: str) -> dict[str, Any]:
        """rolled_back or paused → running, although a guardrail says no."""
        done: dict[str, Any] = self.request("POST", f"/v1/experiments/{_part(experiment_id)}/force", json={"reason": reason})
        return done

    def promote_experiment(self, experiment_id: str, reason: str, *, arm: str | None = None) -> dict[str, Any]:
        """Let the alias `champion` mean the arm's adapter; refused with all that is missing."""
        body = {"reason": reason} | ({"arm": arm} if arm else {})
        done: dict[str, Any] = self.request("POST", f"/v1/experiments/{_part(experiment_id)}/promote", json=body)
        return done

    # -- keys; they need a key with the scope admin

    def create_key(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """Make a key of `name`, `scopes` and quotas. `key` of the answer is the only place where it ever stands."""
        made: dict[str, Any] = self.request("POST", "/v1/keys", json=dict(key))
        return made

    def keys(self) -> Sequence[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("GET", "/v1/keys")
        return found

    def revoke_key(self, name: str) -> dict[str, Any]:
        revoked: dict[str, Any] = self.request("POST", f"/v1/keys/{_part(name)}/revoke")
        return revoked

    def change_key(self, name: str, budgets: Mapping[str, float | None]) -> dict[str, Any]:
        """Set `budget_usd` and `budget_usd_per_day`, also for jobs that run; what is left out is unlimited."""
        changed: dict[str, Any] = self.request("PATCH", f"/v1/keys/{_part(name)}", json=dict(budgets))
        return changed

    def audit(self, limit: int = 100) -> Iterator[dict[str, Any]]:
        """Who did what, newest first, page by page of `limit`."""
        cursor = None
        while True:
            page = self.request("GET", "/v1/audit", params={"limit": limit} | ({"cursor": cursor} if cursor else {}))
            yield from page["entries"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    # -- webhooks

    def webhooks(self) -> Sequence[dict[str, Any]]:
        """Newest first, without their secrets."""
        found: list[dict[str, Any]] = self.request("GET", "/v1/webhooks", params={"limit": 1000})
        return found

    def add_webhook(self, url: str, *, events: Sequence[str] = (), kinds: Sequence[str] = ()) -> dict[str, Any]:
        """Tell this URL when jobs end; no events or kinds: of all. Only this answer has the `secret`."""
        made: dict[str, Any] = self.request("POST", "/v1/webhooks", json={"url": url, "events": [*events], "kinds": [*kinds]})
        return made

    def remove_webhook(self, webhook_id: UUID | str) -> None:
        self._send("DELETE", f"/v1/webhooks/{_part(webhook_id)}")

    def webhook_deliveries(self, webhook_id: UUID | str, **filters: Any) -> Iterator[dict[str, Any]]:
        """Newest first, page by page; filters: status, limit (of a page)."""
        cursor: dict[str, Any] = {}
        while True:
            page = self.request("GET", f"/v1/webhooks/{_part(webhook_id)}/deliveries", params=filters | cursor)
            yield from page["deliveries"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}
