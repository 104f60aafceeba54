"""Arms told on the caller's own machine: the same as the server's, base in doubt, and never a wait."""

from __future__ import annotations

import copy
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from goldsmith import ab_retired, ab_snapshots, adapters, experiments, signing
from goldsmith.ab import NewExperiment
from goldsmith.ab.snapshot import Assignment, Facts
from goldsmith.adapters import NewAdapter
from goldsmith.client import live as module
from goldsmith.client.live import LiveExperiments
from goldsmith.db import Connection, connect
from goldsmith.storage import Storage
from tests.client.server import Api
from tests.conftest import wait_until

UNITS = [f"device-{number}" for number in range(1000)]
NOWHERE = "http://127.0.0.1:1"
CONTEXT = "a" * 64


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "storage")


@pytest.fixture
def begin(conn: Connection, job_factory: Callable[..., UUID], storage: Storage, tmp_path: Path) -> Callable[..., UUID]:
    return beginner(conn, job_factory(kind="train"), storage, tmp_path)


def beginner(conn: Connection, job_id: UUID, storage: Storage, tmp_path: Path) -> Callable[..., UUID]:
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    adapters.register(conn, storage, job_id, 1, NewAdapter("workshop", folder, "p", "b", "t", "c", "dataset:gold@1", {}))

    def make(name: str = "spring", **more: Any) -> UUID:
        arms = [
            {"name": "base", "model": "small"},
            {"name": "lora", "adapter": "adapter:workshop@1", "model": "local/small-lora"},
        ]
        new = NewExperiment.model_validate({"name": name, "arms": arms, "salt": "a-salt-for-tests"} | more)
        return experiments.start(conn, experiments.create(conn, new).id).id

    return make


@pytest.fixture
def live() -> Iterator[LiveExperiments]:
    """Of a server that is not there: what it knows, a test gives it."""
    with LiveExperiments(NOWHERE, refresh_s=3600) as one:
        yield one


def give(live: LiveExperiments, signed: dict[str, Any], age_s: float = 0) -> None:
    live._held = live._checked(signed, module._now() - age_s)


def every(live: LiveExperiments, **facts: Any) -> list[Assignment]:
    return [live.assign(unit=unit, **facts) for unit in UNITS]


# -- the same as the server


def test_every_answer_is_the_servers(
    conn: Connection, storage: Storage, begin: Callable[..., UUID], live: LiveExperiments
) -> None:
    ramp = [{"weights": {"lora": share}} for share in (0.01, 0.1, 0.5)]
    only = {"context_sha256": [CONTEXT], "input_languages": ["en"], "context_languages": ["en", "de"], "model_present": True}
    plain = begin("plain", configs=["loom"])
    ramped = begin("ramped", configs=["bauhaus"], ramp=ramp, eligibility=only)
    grouped = [begin(f"group-{n}", configs=["mosaic"], group="all", group_share=0.4) for n in range(2)]
    halted = begin("halted", configs=["clay"])
    experiments.next_step(conn, ramped, actor="guard", reason="Enough.")
    experiments.pause(conn, halted)
    full = {"context_sha256": CONTEXT, "input_language": "en", "context_language": "de"}
    requests: list[tuple[UUID, dict[str, Any]]] = [
        (plain, {"config_id": "loom"}),
        (plain, {"config_id": "loom", "models": {"small", "other"}}),
        (plain, {"config_id": "elsewhere"}),
        (plain, {}),
        (ramped, {"config_id": "bauhaus", "models": {"small-lora:latest"}} | full),
        (ramped, {"config_id": "bauhaus"} | full),
        (ramped, {"config_id": "bauhaus"} | full | {"context_sha256": "b" * 64}),
        (ramped, {"config_id": "bauhaus"} | full | {"input_language": None}),
        (ramped, {"config_id": "bauhaus"} | full | {"context_language": "fr"}),
        *((one, {"config_id": "mosaic"}) for one in grouped),
        (halted, {"config_id": "clay"}),
    ]
    give(live, ab_snapshots.signed(conn, storage))
    reasons, arms = set(), set()
    for experiment_id, facts in requests:
        theirs = ab_snapshots.assignments(conn, experiment_id, UNITS, Facts(**facts))
        assert every(live, experiment=str(experiment_id), **facts) == theirs
        reasons |= {one.reason for one in theirs}
        arms |= {one.arm for one in theirs}
    assert reasons == {
        "assigned", "model_missing", "config", "context_sha256", "input_language", "context_language", "group", "paused",
    }  # fmt: skip
    assert arms == {"base", "lora", None}
    adapters.approve(conn, storage, "workshop", 1, actor="anna")
    ab_retired.gate_adapter(conn, "adapter:workshop@1", actor="anna", reason="It swears.")
    give(live, ab_snapshots.signed(conn, storage))
    theirs = ab_snapshots.assignments(conn, plain, UNITS, Facts("loom"))
    assert every(live, config_id="loom") == theirs
    assert {(one.arm, one.assigned, one.gated) for one in theirs} == {
        ("base", "base", None),
        ("base", "lora", "adapter_retired"),
    }


def test_the_config_says_which_experiment_and_a_group_shares_it(
    conn: Connection, storage: Storage, begin: Callable[..., UUID], live: LiveExperiments
) -> None:
    ids = [str(begin(f"group-{n}", configs=["mosaic"], group="all", group_share=0.5)) for n in range(2)]
    give(live, ab_snapshots.signed(conn, storage))
    found = [one.experiment_id for one in every(live, config_id="mosaic")]
    assert set(found) == set(ids), "each unit is in one of the two"
    assert live.assign(unit="device-1", config_id="loom").reason == "no_experiment"
    experiments.end(conn, UUID(ids[0]))
    give(live, ab_snapshots.signed(conn, storage))
    left = every(live, config_id="mosaic")
    assert {(one.experiment_id, one.arm is None) for one in left} == {(ids[1], True), (ids[1], False)}


def test_the_run_stands_in_for_a_device(
    conn: Connection, storage: Storage, begin: Callable[..., UUID], live: LiveExperiments
) -> None:
    begin()
    give(live, ab_snapshots.signed(conn, storage))
    assert live.assign(unit=None, run_id="device-16") == live.assign(unit="device-16", run_id="another")
    assert live.assign().reason == "no_unit"
    for no_id in ("a child's tablet", "tablet\n", "x" * 129, "-tablet", "täblet"):
        assert live.assign(unit=no_id).reason == "no_unit", "no event could name it"


def test_a_plan_by_runs_takes_the_run(
    conn: Connection, storage: Storage, begin: Callable[..., UUID], live: LiveExperiments
) -> None:
    begin(unit="run_id")
    give(live, ab_snapshots.signed(conn, storage))
    by_run = [live.assign(unit="one-device", run_id=unit).arm for unit in UNITS]
    assert set(by_run) == {"base", "lora"}
    assert by_run == [live.assign(run_id=unit).arm for unit in UNITS]


# -- base in doubt


def test_without_a_snapshot_and_after_the_stop_it_is_base(
    conn: Connection, storage: Storage, begin: Callable[..., UUID], live: LiveExperiments
) -> None:
    begin()
    assert {(one.arm, one.assigned, one.reason) for one in every(live)} == {("base", None, "no_snapshot")}
    give(live, ab_snapshots.signed(conn, storage))
    assert "lora" in {one.arm for one in every(live)}
    live.stop()
    live.stop()
    assert {(one.arm, one.assigned, one.reason) for one in every(live)} == {("base", None, "stopped")}
    assert not live._thread.is_alive()


def test_a_stale_snapshot_answers_base_and_keeps_whose_the_unit_is(
    conn: Connection, storage: Storage, begin: Callable[..., UUID], live: LiveExperiments
) -> None:
    begin()
    give(live, ab_snapshots.signed(conn, storage), age_s=9)
    assigned = [one.assigned for one in every(live)]
    give(live, ab_snapshots.signed(conn, storage), age_s=11)
    stale = every(live)
    assert {(one.arm, one.reason, one.adapter) for one in stale} == {("base", "stale", None)}
    assert [one.assigned for one in stale] == assigned
    assert {one.gated for one in stale if one.assigned == "lora"} == {"stale"}


def test_whatever_it_is_asked_it_does_not_raise(
    conn: Connection, storage: Storage, begin: Callable[..., UUID], live: LiveExperiments
) -> None:
    begin()
    give(live, ab_snapshots.signed(conn, storage))
    strange: list[Any] = ["\ud800", "", "a\nb", "x" * 100_000]
    assert {live.assign(unit=unit).arm for unit in strange} <= {"base", "lora", None}
    assert live.assign(unit="device-1", models=3).reason in ("error", "assigned")  # type: ignore[arg-type]


# -- whom it believes


def test_a_changed_a_foreign_and_an_older_snapshot_are_refused(
    conn: Connection, storage: Storage, begin: Callable[..., UUID], live: LiveExperiments, tmp_path: Path
) -> None:
    old = ab_snapshots.signed(conn, storage)
    begin()
    good = ab_snapshots.signed(conn, storage)
    give(live, good)
    forged = copy.deepcopy(good)
    forged["snapshot"]["experiments"][0]["arms"][1]["buckets"] = [0, 10_000]
    with pytest.raises(signing.SignatureInvalid, match="changed after it was signed"):
        give(live, forged)
    with pytest.raises(signing.SignatureInvalid, match="signed with another key"):
        give(live, signing.sign(Storage(tmp_path / "another"), "snapshot", good["snapshot"]))
    with pytest.raises(ValueError, match="not newer than the one before"):
        give(live, old)
    held = live._held
    with pytest.raises(ValueError, match="not newer than the one before"):
        give(live, good)
    assert live._held is held, "what repeats itself gets older all the same"
    with pytest.raises(ValueError, match="format_version"):
        give(live, signing.sign(storage, "snapshot", good["snapshot"] | {"format_version": 2}))
    for nonsense in ({}, {"snapshot": 1}, {"snapshot": {}, "signature": None}, [], "x"):
        with pytest.raises(signing.SignatureInvalid):
            give(live, nonsense)  # type: ignore[arg-type]
    back = good["snapshot"] | {"issued_at": "2026-01-01T00:00:00Z", "sequence": good["snapshot"]["sequence"] + 1}
    give(live, signing.sign(storage, "snapshot", back))


def test_a_given_key_is_the_only_one_that_counts(conn: Connection, storage: Storage, tmp_path: Path) -> None:
    signed = ab_snapshots.signed(conn, storage)
    with LiveExperiments(NOWHERE, refresh_s=3600, public_key=signing.public_key(storage)) as live:
        give(live, signed)
    with (
        LiveExperiments(NOWHERE, refresh_s=3600, public_key=signing.public_key(Storage(tmp_path / "another"))) as live,
        pytest.raises(signing.SignatureInvalid, match="signed with another key"),
    ):
        give(live, signed)


def test_without_the_packages_for_signatures_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "goldsmith.signing", None)
    monkeypatch.delattr("goldsmith.signing", raising=False)
    with pytest.raises(RuntimeError, match=r"pip install 'goldsmith\[live\]'"):
        LiveExperiments(NOWHERE)


# -- the thread


@pytest.fixture
def served(api: Api, tmp_path: Path) -> Iterator[tuple[Api, Connection, Callable[..., UUID]]]:
    with connect(api.database_url) as conn:
        job = conn.execute(
            "INSERT INTO jobs (kind, config, queue, timeout, status, attempt, worker, heartbeat_at, started_at)"
            " VALUES ('train', '{\"kind\": \"train\"}', 'cpu', 60, 'running', 1, 'test', now(), now()) RETURNING id"
        ).fetchone()
        assert job is not None
        yield api, conn, beginner(conn, job["id"], api.storage, tmp_path)


def test_it_hears_of_a_start_and_of_an_end_and_agrees_with_the_api(
    served: tuple[Api, Connection, Callable[..., UUID]],
) -> None:
    api, conn, begin = served
    experiment_id = begin(configs=["bauhaus"])
    with LiveExperiments(api.url, refresh_s=0.1) as live:
        assert live.wait(120)
        answer = httpx.post(
            f"{api.url}/v1/experiments/{experiment_id}/assignments", json={"units": UNITS, "config_id": "bauhaus"}, timeout=20
        )
        theirs = [Assignment(**{key: one[key] for key in Assignment._fields}) for one in answer.json()["assignments"]]
        assert every(live, config_id="bauhaus") == theirs
        assert "lora" in {one.arm for one in theirs}
        experiments.end(conn, experiment_id)
        wait_until(lambda: {one.arm for one in every(live, config_id="bauhaus")} == {"base"}, "the news of the end")
        assert live.trouble is None


def test_a_fork_fetches_for_itself_and_threads_may_ask_at_once(served: tuple[Api, Connection, Callable[..., UUID]]) -> None:
    api, _, begin = served
    begin()
    with LiveExperiments(api.url, refresh_s=0.1) as live:
        assert live.wait(120)
        answers: list[list[Assignment]] = []
        threads = [threading.Thread(target=lambda: answers.append(every(live))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [answers[0]] * 4
        child = os.fork()
        if child == 0:
            held = live._held
            try:
                wait_until(lambda: live._held is not held, "a snapshot of the child's own")
                os._exit(0 if live.assign(unit="device-1").reason == "assigned" else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
