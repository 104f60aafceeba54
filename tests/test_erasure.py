"""What a device typed is gone everywhere, everybody else's stays, and what descends from it is marked."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy
import pytest
from psycopg.types.json import Jsonb

from goldsmith import (
    ab_ingest,
    adapters,
    artifacts,
    audit,
    cluster_rules,
    datasets,
    erasure,
    lineage,
    passports,
    recordings,
    retention,
    rules,
    sessions,
)
from goldsmith.client.sketch import sketch
from goldsmith.cluster_rules import ClusterRule
from goldsmith.db import Connection, connect
from goldsmith.errors import Conflict, InvalidInput
from goldsmith.kinds.cluster.saved import Clustering, load
from goldsmith.rules import Cluster, Rule
from goldsmith.sessions import Session
from goldsmith.settings import Settings
from goldsmith.storage import Storage, sha256_file
from goldsmith.traces import Traces
from tests import experimenting
from tests.workshop import Workshop

DEVICE, OTHER = "device-3f9c1c2e77a0", "device-of-somebody-else"
SECRET, SHORT, THEIRS = "mein Hund Größi im Regen bei Nacht", "a red fox", "a tall tower in the evening sun"


@pytest.fixture
def workshop(conn: Connection, tmp_path: Path, job_factory: Callable[..., UUID]) -> Workshop:
    """Two runs of the device and one of another, in a corpus, in gold, and in an adapter."""
    made = Workshop(conn, Storage(tmp_path / "state"), job_factory)
    made.record(DEVICE, SECRET, SHORT)
    made.record(OTHER, THEIRS)
    made.make_corpus()
    made.make_gold()
    made.train(alias="champion")
    return made


def erase(workshop: Workshop, device: str = DEVICE, *, dry_run: bool = False) -> erasure.Erased:
    return erasure.erase(workshop.conn, workshop.storage, device, actor="ada", dry_run=dry_run)


def everything(workshop: Workshop) -> str:
    """All rows of all tables, and all files."""
    conn = workshop.conn
    tables = [row["t"] for row in conn.execute("SELECT tablename AS t FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
    rows = [
        row["r"] for table in tables for row in conn.execute(f"SELECT {table}::text AS r FROM {table} ORDER BY 1").fetchall()
    ]
    files = [path for path in sorted(workshop.storage.root.rglob("*")) if path.is_file()]
    return "\n".join([*rows, *(f"{path.name} {path.read_bytes()!r} {path.read_text(errors='replace')}" for path in files)])


def test_nothing_of_the_device_is_left_and_all_of_the_others_is(workshop: Workshop) -> None:
    assert DEVICE in everything(workshop)
    assert SECRET in everything(workshop)

    erased = erase(workshop)

    assert (erased.runs, erased.feedback, erased.rows, erased.teacher_answers) == (2, 2, 4, 2)
    left = everything(workshop)
    for gone in (DEVICE, SECRET, "Größi", SHORT, "run-1", "run-2"):
        assert gone not in left, gone
    assert left.count(THEIRS) > 3
    assert [row.source for row in datasets.examples_of(workshop.conn, "dataset:gold@1")] == ["run-3"]
    costs = workshop.conn.execute("SELECT count(*) AS n, sum(cost_usd) AS usd FROM teacher_calls").fetchone()
    assert costs is not None
    assert (costs["n"], float(costs["usd"])) == (3, 1.5)  # what was paid was paid


def test_what_descends_from_it_is_marked_wherever_it_is_shown(workshop: Workshop) -> None:
    workshop.train(name="both", parents=("adapter:prose@1",))
    erased = erase(workshop)

    assert [(one.ref, one.rows) for one in erased.datasets] == [("dataset:corpus@1", 2), ("dataset:gold@1", 2)]
    assert [(one.ref, one.rows) for one in erased.adapters] == [("adapter:both@1", 2), ("adapter:prose@1", 2)]
    version = adapters.get(workshop.conn, workshop.storage, "adapter:prose@1")
    assert version.erased_rows == 2
    assert version.erased_at is not None
    assert "descends from data that was erased" in (version.warning or "")
    version.verify()  # the weights are what they were
    gold = datasets.get(workshop.conn, "gold", 1)
    assert (gold.erased_rows, gold.counts) == (2, {"train": 2, "heldout": 1})
    assert "2 of its rows were erased" in (gold.warning or "")
    found = lineage.of(workshop.conn, "adapter:prose@champion")
    assert found.erased == ["adapter:prose@1", "dataset:gold@1", "dataset:corpus@1"]
    passport = passports.issue(workshop.conn, workshop.storage, "adapter:prose@1")["passport"]
    assert passport["erased"]["rows"] == 2
    assert [one["erased_rows"] for one in passport["datasets"]] == [2, 2]
    later = workshop.train(name="merged", parents=("adapter:prose@1",))
    assert later.erased_at is not None  # a merge takes the marks of its parents over


def test_an_adapter_of_other_data_is_not_marked(workshop: Workshop) -> None:
    workshop.record("device-number-three", "ein Haus am Meer im Winter")
    workshop.make_corpus()
    clean = workshop.make_gold()
    assert clean.ref == "dataset:gold@2"
    workshop.train(name="second")
    assert [one.ref for one in erase(workshop, "device-number-three").adapters] == ["adapter:second@1"]
    assert adapters.get(workshop.conn, workshop.storage, "adapter:prose@1").erased_at is None


def test_the_files_of_a_dataset_are_what_its_rows_are(workshop: Workshop) -> None:
    before = datasets.files(workshop.conn, "dataset:gold@1")
    erase(workshop)
    after = datasets.files(workshop.conn, "dataset:gold@1")
    assert not any(workshop.storage.path(stored.uri).exists() for stored in before.values())
    lines = workshop.storage.existing(after["train.jsonl"].uri).read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["run-3"]
    assert "heldout.jsonl" not in after
    manifest = json.loads(workshop.storage.existing(after["manifest.json"].uri).read_text())
    assert manifest["erased"]["rows"] == 2
    assert manifest["files"]["train.jsonl"] == after["train.jsonl"].sha256


def test_a_dry_run_counts_the_same_and_changes_nothing(workshop: Workshop) -> None:
    before = everything(workshop)
    would = erase(workshop, dry_run=True)
    assert everything(workshop) == before
    did = erase(workshop)
    left_out = {"dry_run", "files"}  # before they are written anew nobody knows how many former files there are
    assert would.model_dump(exclude=left_out) == did.model_dump(exclude=left_out)


def test_twice_is_once(workshop: Workshop) -> None:
    erase(workshop)
    marked = adapters.get(workshop.conn, workshop.storage, "adapter:prose@1")
    again = erase(workshop)
    assert not any(again.model_dump(exclude={"dry_run"}).values())
    assert adapters.get(workshop.conn, workshop.storage, "adapter:prose@1") == marked


def test_a_crash_before_the_commit_leaves_all_and_after_it_the_next_one_goes_on(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    rows = "SELECT (SELECT count(*) FROM runs) AS runs, (SELECT count(*) FROM examples) AS examples"
    with monkeypatch.context() as patched:
        patched.setattr(audit, "record", crash)
        with pytest.raises(KeyboardInterrupt):
            erase(workshop)
    assert workshop.conn.execute(rows).fetchone() == {"runs": 3, "examples": 6}
    assert SECRET in everything(workshop)

    with monkeypatch.context() as patched:
        patched.setattr(erasure, "remove_files", crash)
        with pytest.raises(KeyboardInterrupt):
            erase(workshop)
    assert workshop.conn.execute(rows).fetchone() == {"runs": 1, "examples": 2}
    held = [path for path in workshop.storage.root.rglob("*.jsonl") if SECRET in path.read_text()]
    assert held
    erase(workshop, "somebody who was never here")
    assert SECRET not in everything(workshop)
    assert not any(path.exists() for path in held)


def test_the_sweep_goes_on_with_what_a_crash_left(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(erasure, "remove_files", lambda *_: None)
        erase(workshop)
    assert SECRET in everything(workshop)
    settings = Settings(_env_file=None, state_dir=workshop.storage.root)
    retention.sweep(workshop.conn, settings, dry_run=True)
    assert SECRET in everything(workshop)
    retention.sweep(workshop.conn, settings)
    assert SECRET not in everything(workshop)


def test_a_later_import_leaves_the_device_out(workshop: Workshop) -> None:
    erase(workshop)
    again = workshop.job("import")
    recordings.save_runs(workshop.conn, again, 1, workshop.runs)
    assert [run.run_id for run in recordings.runs_of(workshop.conn, again)] == ["run-3"]
    assert DEVICE not in everything(workshop)


def test_the_audit_knows_who_erased_and_not_whom(workshop: Workshop) -> None:
    erase(workshop)
    entry = audit.entries(workshop.conn)[0]
    assert (entry.actor, entry.action) == ("ada", "erase")
    assert entry.subject == f"device:{erasure.device_sha256(DEVICE)[:16]}"
    assert entry.data["runs"] == 2


def test_while_a_job_works_with_it_nothing_is_erased(workshop: Workshop) -> None:
    running = workshop.job("evaluate", config={"kind": "evaluate", "dataset": "dataset:gold@1"})
    workshop.job("train", config={"kind": "train", "dataset": "dataset:elsewhere@1"})
    with pytest.raises(Conflict, match=f"evaluate job:{running} may be working") as refusal:
        erase(workshop)
    assert refusal.value.extra["jobs"] == [f"evaluate job:{running}"]
    assert SECRET in everything(workshop)


def test_an_import_that_runs_may_be_reading_it(workshop: Workshop) -> None:
    importing = workshop.job("import")
    with pytest.raises(Conflict, match=f"import job:{importing}"):
        erase(workshop)


def test_other_jobs_go_on_while_it_is_searched(workshop: Workshop, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = erasure._Erasing._files_of_jobs

    def meanwhile(erasing: erasure._Erasing) -> None:
        searched(erasing)
        with connect(database_url) as other:  # as a worker's heartbeat and a caller do
            other.execute("SET lock_timeout = '1s'")
            other.execute("UPDATE jobs SET heartbeat_at = now()")
            other.execute("INSERT INTO jobs (kind, config, queue, timeout) VALUES ('gold', '{}', 'io', 60)")

    monkeypatch.setattr(erasure._Erasing, "_files_of_jobs", meanwhile)
    with connect(database_url) as own:
        assert erasure.erase(own, workshop.storage, DEVICE, actor="ada", dry_run=False).runs == 2
    assert SECRET not in everything(workshop)


@pytest.mark.parametrize("times", [1, erasure.ATTEMPTS])
def test_a_job_that_ended_while_it_was_searched_is_searched_too(
    workshop: Workshop, database_url: str, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    searched, left = erasure._Erasing._files_of_jobs, list(range(times))

    def meanwhile(erasing: erasure._Erasing) -> None:
        searched(erasing)
        if left:
            left.pop()
            with connect(database_url) as other:
                job_id = evaluating(other)
                artifacts.save(other, workshop.storage, job_id, 1, "said.txt", SECRET.encode(), "text/plain")
                other.execute("UPDATE jobs SET status = 'completed', completed_at = now() WHERE id = %s", (job_id,))

    monkeypatch.setattr(erasure._Erasing, "_files_of_jobs", meanwhile)
    files = len(list(workshop.storage.root.rglob("train.jsonl")))
    if times == 1:
        erase(workshop)
        assert SECRET not in everything(workshop)
        return
    with pytest.raises(Conflict, match="nothing is erased, try again"):
        erase(workshop)
    assert workshop.conn.execute("SELECT count(*) AS n FROM runs").fetchone() == {"n": 3}
    assert len(list(workshop.storage.root.rglob("train.jsonl"))) == files  # what was written anew is gone again


def test_a_job_that_began_while_it_was_searched_is_named(
    workshop: Workshop, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched, began = erasure._Erasing._files_of_jobs, []

    def meanwhile(erasing: erasure._Erasing) -> None:
        searched(erasing)
        with connect(database_url) as other:
            began.append(evaluating(other))

    monkeypatch.setattr(erasure._Erasing, "_files_of_jobs", meanwhile)
    with pytest.raises(Conflict, match="may be working with what is to be erased") as refusal:
        erase(workshop)
    assert refusal.value.extra["jobs"] == [f"evaluate job:{began[0]}"]


def evaluating(conn: Connection) -> UUID:
    row = conn.execute(
        "INSERT INTO jobs (kind, config, queue, timeout, status, attempt, heartbeat_at, worker)"
        """ VALUES ('evaluate', '{"dataset": "dataset:gold@1"}', 'cpu', 60, 'running', 1, now(), 'other') RETURNING id"""
    ).fetchone()
    assert row is not None
    job_id: UUID = row["id"]
    return job_id


def test_two_erasures_at_once(workshop: Workshop, database_url: str) -> None:
    with connect(database_url) as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(hashtext('goldsmith.erasure'))")
        with pytest.raises(Conflict, match="another erasure is under way"):
            erase(workshop)
        assert erase(workshop, dry_run=True).runs == 2


def test_results_events_rules_clusters_and_live_events_lose_it_too(workshop: Workshop) -> None:
    conn, gold_id = workshop.conn, workshop.gold_id
    samples = {"verdict": "wins", "samples": [{"input": SECRET, "answers": {"lora": "made of it"}}, {"input": THEIRS, "n": 1}]}
    done = {"kind": "evaluate", "dataset": "dataset:gold@1"}
    evaluated = workshop.job("evaluate", config=done, status="completed", result=Jsonb(samples))
    conn.execute(
        "INSERT INTO job_events (job_id, seq, attempt, event, data) VALUES (%s, 9, 1, 'log', %s)",
        (evaluated, Jsonb({"message": f"answered {SECRET}"})),
    )
    live = workshop.job("intercept", config={"kind": "intercept", "user_input": SECRET, "config_id": "oil"}, status="completed")
    of_rules = workshop.job("rules", config={"kind": "rules", "runs": f"job:{workshop.import_id}"})
    rules.save_rules(
        conn,
        of_rules,
        1,
        [Rule(0, "run-1", "oil", "de", "model", "Name the dog."), Rule(1, "run-3", "oil", "en", "model", "Name the sun.")],
    )
    rules.save_clusters(
        conn,
        of_rules,
        1,
        [Cluster(0, 2, "active", ["run-1", "run-3"], {"top_rules": []}), Cluster(1, 1, "fallback", ["run-2"])],
    )
    both = ClusterRule(0, 0, "Name it.", 2, 1.0, ["run-1", "run-3"], ["none", "none"], ["oil", "oil"], [0, 1])
    alone = ClusterRule(1, 1, "Name the dog.", 1, 1.0, ["run-2"], ["none"], ["oil"], [])
    cluster_rules.save(conn, of_rules, 1, [both, alone])
    quoted = Rule(2, "run-1", "oil", "de", "feedback", "Name it.", {"session": "run-1", "quote": SECRET})
    rules.save_rules(conn, of_sessions := workshop.job("rules"), 1, [quoted])
    said = f"Feedback 1: changed to {SECRET}"
    sessions.save_sessions(
        conn,
        of_sessions,
        1,
        [
            Session(0, "run-1", "run", SECRET, "a", said, "user_edit", run_id="run-1", device_id=DEVICE),
            Session(1, "run-3", "run", THEIRS, "a", None, "none", run_id="run-3", device_id=OTHER),
        ],
    )
    packed = io.BytesIO()
    numpy.savez_compressed(packed, sessions=numpy.array([DEVICE, "run-3"]))
    artifacts.save(conn, workshop.storage, of_rules, 1, "clusters.npz", packed.getvalue(), "application/octet-stream")
    artifacts.save(conn, workshop.storage, of_rules, 1, "notes.txt", b"nothing of anybody", "text/plain")
    conn.execute("UPDATE jobs SET status = 'completed', completed_at = now() WHERE status = 'running'")
    checkpoint = workshop.storage.path(f"checkpoints/{gold_id}/1-1")
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights").write_bytes(b"learned")

    erased = erase(workshop)

    [left] = cluster_rules.of_job(conn, of_rules)
    assert (left.rule, left.support, left.coverage, left.session_ids) == ("Name it.", 1, 1.0, ["run-3"])
    assert (erased.sessions, erased.rules, erased.cluster_members, erased.jobs_cleared) == (1, 2, 2, 2)
    assert [one.session_id for one in sessions.sessions_of(conn, of_sessions)] == ["run-3"]
    assert [rule.session_id for rule in rules.rules_of(conn, of_rules)] == ["run-3"]
    assert [(one.label, one.members) for one in rules.clusters_of(conn, of_rules)] == [(0, ["run-3"])]
    assert [one.name for one in artifacts.of_job(conn, of_rules)] == ["notes.txt"]
    result = conn.execute("SELECT result FROM jobs WHERE id = %s", (evaluated,)).fetchone()
    assert result is not None
    assert result["result"]["samples"] == [{"input": "[erased]", "answers": {"lora": "[erased]"}}, {"input": THEIRS, "n": 1}]
    config = conn.execute("SELECT config FROM jobs WHERE id = %s", (live,)).fetchone()
    assert config == {"config": {"kind": "intercept", "user_input": "[erased]", "config_id": "oil"}}
    assert not checkpoint.exists()
    assert SECRET not in everything(workshop)


def test_a_clustering_goes_on_without_the_sessions_that_are_erased(conn: Connection, workshop: Workshop) -> None:
    """Its arrays are written anew: the first cluster was the device's alone, and a part of the second was."""
    mine, others = [DEVICE, "run-1"], ["run-3-of-another", "run-4-of-another"]
    axes = numpy.eye(4, dtype=numpy.float32)
    sessions_of, labels = [mine[0], mine[1], *others], numpy.array([0, 1, 1, 2])
    means = numpy.stack([axes[0], (axes[1] + axes[2]) / 2, axes[3]])
    arrays = Clustering("minilm", means, ["c-a", "c-b", "c-c"], sessions_of, labels, axes, axes).arrays()
    made_by = {"kind": "rules", "runs": f"job:{workshop.import_id}"}
    of_rules = workshop.job("rules", config=made_by)
    clusters = workshop.job("cluster", config={"kind": "cluster", "rules": f"job:{of_rules}"})
    for name, content in arrays.items():
        artifacts.save(conn, workshop.storage, clusters, 1, name, content, "application/octet-stream")
    conn.execute("UPDATE jobs SET status = 'completed', completed_at = now() WHERE status = 'running'")

    erase(workshop)

    files = {one.name: workshop.storage.existing(one.uri) for one in artifacts.of_job(conn, clusters)}
    assert {one.sha256 for one in artifacts.of_job(conn, clusters)} == {sha256_file(path) for path in files.values()}
    left = load(files["centroids.npz"], files["embeddings.npz"])
    assert (left.cluster_ids, left.sessions, left.labels.tolist()) == (["c-b", "c-c"], others, [0, 1])
    assert left.centroids.tolist() == left.queries.tolist() == axes[2:].tolist()


@pytest.mark.parametrize("wrong", ["", "  ", "x" * 501, "a\0b"])
def test_what_is_no_id_is_refused(workshop: Workshop, wrong: str) -> None:
    with pytest.raises(InvalidInput, match="device_id"):
        erase(workshop, wrong)


def test_traces_are_found_in_every_spelling(tmp_path: Path) -> None:
    traces = Traces(["d1"])
    traces.learn([SECRET, SHORT, None])
    path = tmp_path / "file"
    for content, found in (
        (json.dumps([SECRET]), True),
        (json.dumps({"text": f"about {SECRET}!"}, ensure_ascii=False), True),
        (json.dumps({"device": "d1"}), True),
        (json.dumps({"sha256": "0d1f", "text": SHORT}), False),
        ("", False),
    ):
        path.write_text(content)
        assert traces.in_file(path) is found, content
    assert traces.in_file(tmp_path / "gone") is False
    weights = tmp_path / "model.gguf"
    weights.write_text(SECRET)
    assert traces.in_file(weights) is False


def test_events_go_and_who_shared_an_interception_is_counted_anew(workshop: Workshop, tmp_path: Path) -> None:
    conn = workshop.conn
    adapter = experimenting.register(conn, workshop.storage, workshop.job(kind="train"), tmp_path / "trained")
    experiment = experimenting.begin(conn, adapter)
    drawn = sketch("A heron of paper stands in the river", b"k" * 32)

    def completed(unit: str, run: str) -> dict[str, Any]:
        facts = {"model_used": "small", "latency_ms": 1, "chars": 99, "context_sha256": "a" * 64, "sketch": drawn}
        at = datetime.now(UTC).isoformat()
        made = {"event_id": f"{unit}-{run}", "event": "interception_completed", "unit": unit, "occurred_at": at}
        return made | {"interception_run_id": run, "data": facts}

    pairs = [(DEVICE, "run-1"), ("tablet", "run-1"), ("tablet", "run-9"), ("phone", "run-2")]
    assert ab_ingest.ingest(conn, experiment.id, [completed(*pair) for pair in pairs]).accepted == 4
    assert erase(workshop, dry_run=True).experiment_events == 3
    assert erase(workshop).experiment_events == 3
    assert [row["unit"] for row in conn.execute("SELECT unit FROM ab_sketches")] == ["tablet"]
    left = conn.execute("SELECT unit, interceptions FROM ab_units").fetchall()
    assert [(row["unit"], row["interceptions"]) for row in left] == [("tablet", 1)]
