"""The guard: what a look decides, once, and what follows from it."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from goldsmith import (
    ab_effects,
    ab_ingest,
    ab_report,
    ab_rollback,
    ab_rows,
    ab_watch,
    adapters,
    audit,
    experiments,
    webhooks,
)
from goldsmith.ab import Decision, Experiment, NewExperiment
from goldsmith.ab_analysis import Data
from goldsmith.ab_guardrails import guardrail_looks
from goldsmith.ab_look import GuardrailLook, Look, OutputsLook
from goldsmith.ab_reading import Reader
from goldsmith.ab_verdict import compare
from goldsmith.abstats.sketch import from_text
from goldsmith.client.sketch import sketch as sketch_of
from goldsmith.db import Connection, Database, connect
from goldsmith.errors import Conflict, ReferenceNotUsable
from goldsmith.guard import EffectsThread, GuardThread
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from goldsmith.webhooks import NewWebhook
from tests.ab_data import mixed
from tests.conftest import wait_until
from tests.experimenting import begin, register, write_units
from tests.serving import Serving, serving

JobFactory = Callable[..., UUID]
BAD = mixed({"base": 450, "lora": 60}, blocks=(0.02, 0.5))
GOOD = mixed({"base": 900, "lora": 100}, blocks=(0.02, 0.02))
STEP = {"min_units": 50}
RAMP = [{"weights": {"lora": 0.1}, **STEP}, {"weights": {"lora": 0.5}}]
SAFETY_ALONE = [{"name": "favorite", "role": "primary"}, {"name": "safety_block"}]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "storage")


@pytest.fixture
def adapter(conn: Connection, storage: Storage, job_factory: JobFactory, tmp_path: Path) -> Callable[..., str]:
    numbers = itertools.count()

    def make(alias: str | None = None) -> str:
        folder = tmp_path / f"trained-{next(numbers)}"
        return register(conn, storage, job_factory(kind="train"), folder, alias=alias)

    return make


@pytest.fixture
def start(conn: Connection, adapter: Callable[..., str]) -> Callable[..., Experiment]:
    """A running experiment: version 1 is champion, version 2 the challenger that is tried."""

    def make(**more: Any) -> Experiment:
        adapter("champion")
        adapter("challenger")
        return begin(conn, "adapter:workshop@challenger", **({"metrics": SAFETY_ALONE} | more))

    return make


def look(conn: Connection, experiment: Experiment) -> Look:
    found = ab_watch.watch(conn, experiment.id, Reader(), full=True)
    assert found is not None
    return found


def history(conn: Connection, experiment: Experiment) -> list[str]:
    """Since the start."""
    return [
        row["decision"]
        for row in reversed(experiments.decisions_of(conn, experiment.id))
        if row["decision"] not in ("create", "start")
    ]


def means(conn: Connection, alias: str) -> str | None:
    try:
        return adapters.resolve(conn, f"adapter:workshop@{alias}")
    except ReferenceNotUsable:
        return None


# -- a breach


def test_a_proved_rise_is_rolled_back_with_all_that_follows(conn: Connection, start: Callable[..., Experiment]):
    hook = webhooks.add(conn, NewWebhook(url="https://hooks.example/"))
    experiment = start()
    write_units(conn, experiment.id, BAD)
    found = look(conn, experiment)
    now = experiments.get(conn, experiment.id)
    assert now.status == "rolled_back"
    assert now.cooldown_until is not None
    assert {arm.name: arm.weight for arm in now.arms} == {"base": 1, "lora": 0}
    assert means(conn, "challenger") == "adapter:workshop@1", "back to the champion"
    decision = experiments.decisions_of(conn, experiment.id)[0]
    assert (decision["decision"], decision["actor"]) == ("rollback", "guard")
    assert "50.0% of lora's generation attempts were blocked, and 2.0% of base's" in decision["reason"]
    (proof,) = decision["statistics"]["guardrails"]
    assert proof["numbers"]["e_value"] >= 100
    assert decision["probe"]["state"] == "pending"
    (entry,) = (one for one in audit.entries(conn) if one.action == "experiment.rollback")
    assert entry.data["statistics"]["guardrails"] == [proof]
    (told,) = webhooks.deliveries(conn, hook.id)
    assert (told.event, told.payload["data"]["reason"]) == ("experiment.rolled_back", decision["reason"])
    assert found.guardrails[0].state == "breach"


def test_eight_guards_at_once_decide_once(conn: Connection, database_url: str, start: Callable[..., Experiment]):
    experiment = start()
    write_units(conn, experiment.id, BAD)
    together = threading.Barrier(8)

    def guard() -> None:
        with connect(database_url) as own:
            together.wait()
            for _ in range(2):
                ab_watch.watch(own, experiment.id, Reader(), full=False)

    threads = [threading.Thread(target=guard) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert history(conn, experiment) == ["rollback"]


@pytest.mark.parametrize("place", ["a decision", "a batch"])
def test_a_process_that_is_stopped_in_the_middle_keeps_nobody_from_deciding(
    conn: Connection, database_url: str, start: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch, place: str
):
    """It holds the lock of the experiment; Postgres ends its transaction."""
    for of in (ab_rows, ab_ingest):
        monkeypatch.setattr(of, "SLEEPS_WITHIN_S", 0.3)
    experiment = start()
    write_units(conn, experiment.id, BAD)
    inside, woken, lost = threading.Event(), threading.Event(), list[Exception]()
    main, (module, name) = (
        threading.current_thread(),
        (ab_rollback, "roll_back") if place == "a decision" else (ab_ingest, "_judge"),
    )
    real = getattr(module, name)

    def stopped(*given: Any, **more: Any) -> Any:
        if threading.current_thread() is not main:
            inside.set()
            woken.wait(60)
        return real(*given, **more)

    def other() -> None:
        with connect(database_url) as own:
            try:
                if place == "a decision":
                    ab_watch.decide_on(own, experiment.id, Reader())
                else:
                    event = {"event_id": "e", "event": "exposure", "unit": "u", "occurred_at": datetime.now(UTC).isoformat()}
                    experiments.ingest(own, experiment.id, [event])
            except psycopg.Error as error:
                lost.append(error)

    monkeypatch.setattr(module, name, stopped)
    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(120)
    assert ab_watch.decide_on(conn, experiment.id, Reader())
    woken.set()
    thread.join()
    assert history(conn, experiment) == ["rollback"]
    assert len(lost) == 1


def test_a_look_that_fails_keeps_nobody_from_looking_at_the_others(
    conn: Connection, database: Database, start: Callable[..., Experiment], settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    broken = start(configs=["a"])
    good = begin(conn, "adapter:workshop@challenger", name="second", metrics=SAFETY_ALONE, configs=["b"])
    for experiment in (broken, good):
        write_units(conn, experiment.id, BAD)
    decide_on = ab_watch.decide_on

    def look_at(of: Connection, experiment_id: UUID, reader: Reader) -> bool:
        if experiment_id == broken.id:
            raise ZeroDivisionError
        return decide_on(of, experiment_id, reader)

    monkeypatch.setattr(ab_watch, "decide_on", look_at)
    guard = GuardThread(database, settings)
    guard.round()
    guard.stop()
    assert [history(conn, experiment) for experiment in (broken, good)] == [[], ["rollback"]]


def test_what_was_decided_while_the_numbers_were_worked_out_is_told_next(
    conn: Connection, database_url: str, start: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
):
    experiment = start()
    write_units(conn, experiment.id, BAD)
    real = ab_watch.look

    def meanwhile(data: Data) -> Look:
        found = real(data)
        with connect(database_url) as other:
            ab_watch.decide_on(other, experiment.id, Reader())
        return found

    monkeypatch.setattr(ab_watch, "look", meanwhile)
    assert ab_watch.tell(conn, experiment.id, Reader()) is not None
    state = conn.execute("SELECT shown_events FROM ab_state").fetchone()
    assert state == {"shown_events": None}
    assert history(conn, experiment)[0] == "rollback"


def test_a_look_in_the_middle_of_a_batch_sees_nothing_of_it(
    conn: Connection, database_url: str, start: Callable[..., Experiment]
):
    experiment = start()
    looked = threading.Thread(target=lambda: ab_watch.watch(conn, experiment.id, Reader(), full=False))
    with connect(database_url) as other:
        with other.transaction():
            write_units(other, experiment.id, BAD)
            looked.start()  # it waits for the batch where it notes how many events it saw
            looked.join(0.5)
        looked.join()
    assert history(conn, experiment) == []
    look(conn, experiment)
    assert history(conn, experiment) == ["rollback"]


def test_what_was_decided_during_a_look_is_not_decided_over(
    conn: Connection, start: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
):
    """A person ends the experiment between the reading and the lock."""
    experiment = start()
    write_units(conn, experiment.id, BAD)
    lock = ab_watch.locked

    def late(of: Connection, experiment_id: UUID) -> Experiment:
        experiments.end(of, experiment_id, actor="anna", reason="Enough.")
        return lock(of, experiment_id)

    monkeypatch.setattr(ab_watch, "locked", late)
    look(conn, experiment)
    assert history(conn, experiment) == ["complete"]
    assert means(conn, "challenger") == "adapter:workshop@2"


def test_a_safe_arm_and_one_with_few_attempts_stay(conn: Connection, start: Callable[..., Experiment]):
    experiment = start()
    write_units(conn, experiment.id, mixed({"base": 360, "lora": 40}, blocks=(0.0, 0.9)))
    found = look(conn, experiment)
    assert found.guardrails[0].state == "unknown"
    assert "lora has 40 of the 50 generation attempts needed" in found.guardrails[0].words
    write_units(conn, experiment.id, mixed({"base": 9000, "lora": 1000}, blocks=(0.02, 0.02)), prefix="v")
    assert look(conn, experiment).guardrails[0].state in ("ok", "watch")
    assert history(conn, experiment) == []


def test_an_absolute_ceiling_holds_whatever_base_has(conn: Connection, start: Callable[..., Experiment]):
    experiment = start(metrics=[SAFETY_ALONE[0], {"name": "safety_block", "ceiling": 0.25}])
    write_units(conn, experiment.id, mixed({"base": 900, "lora": 100}, blocks=(0.6, 0.6)))
    assert look(conn, experiment).verdict.decision == "rollback"
    assert "more than 25.0%, the most that any arm may have" in experiments.decisions_of(conn, experiment.id)[0]["reason"]


@pytest.mark.parametrize("aliases", [["challenger"], ["champion"], ["champion", "challenger"]])
def test_every_alias_of_the_bad_version_goes_back(conn: Connection, adapter: Callable[..., str], aliases: list[str]):
    """Also where it was made champion meanwhile, or was tried as the champion."""
    adapter("champion")
    bad = adapter()
    for alias in aliases:
        adapters.set_alias(conn, "workshop", alias, 2, actor="anna")
    experiment = begin(conn, f"adapter:workshop@{aliases[-1]}", metrics=SAFETY_ALONE)
    assert experiment.plan.treated.adapter == bad
    write_units(conn, experiment.id, BAD)
    look(conn, experiment)
    assert {alias: means(conn, alias) for alias in aliases} == dict.fromkeys(aliases, "adapter:workshop@1")


def test_an_alias_with_nothing_before_it_means_nothing_and_one_that_moved_on_stays(
    conn: Connection, adapter: Callable[..., str]
):
    adapter("challenger")
    experiment = begin(conn, "adapter:workshop@challenger", metrics=SAFETY_ALONE, cooldown_minutes=0)
    write_units(conn, experiment.id, BAD)
    look(conn, experiment)
    assert means(conn, "challenger") is None
    adapter("challenger")
    second = begin(conn, "adapter:workshop@challenger", name="summer", metrics=SAFETY_ALONE)
    adapter("challenger")
    write_units(conn, second.id, BAD)
    look(conn, second)
    assert means(conn, "challenger") == "adapter:workshop@3"


# -- what follows outside of the database


@pytest.fixture
def server(database_url: str) -> Iterator[Serving]:
    def resolve(ref: str) -> str | None:
        with connect(database_url) as own:
            return means(own, ref.partition("@")[2])

    with serving(resolve) as running:
        yield running


@pytest.fixture
def settings(server: Serving, database_url: str, tmp_path: Path) -> Settings:
    return Settings(_env_file=None, state_dir=tmp_path, database_url=database_url, serve_url=server.url, OLLAMA_HOST=server.url)


def probe(conn: Connection, experiment: Experiment, decision: str = "rollback") -> dict[str, Any]:
    found = next(row for row in experiments.decisions_of(conn, experiment.id) if row["decision"] == decision)
    answer: dict[str, Any] = found["probe"]
    return answer


def overdue(conn: Connection) -> None:
    """The next try is now."""
    conn.execute("UPDATE ab_decisions SET due_at = now() WHERE due_at IS NOT NULL")


def test_the_serving_route_proves_a_rollback(
    conn: Connection, database: Database, start: Callable[..., Experiment], server: Serving, settings: Settings
):
    experiment = start()
    ab_rollback.roll_back(conn, experiment.id, "Too dark.", actor="anna")
    assert ab_effects.run_due(database, settings)
    assert server.asked == ["adapter:workshop@challenger"]
    found = probe(conn, experiment)
    assert (found["state"], found["attempts"]) == ("passed", 1)
    assert found["words"].startswith("The snapshot that callers assign by gives every unit to base; ")
    assert "answers with adapter:workshop@1 when asked for adapter:workshop@challenger" in found["words"]
    assert not ab_effects.run_due(database, settings), "once is enough"
    assert history(conn, experiment) == ["rollback"]


def test_a_route_that_still_answers_with_the_bad_adapter_is_loud_and_asked_again(
    conn: Connection, database: Database, start: Callable[..., Experiment], server: Serving, settings: Settings
):
    hook = webhooks.add(conn, NewWebhook(url="https://hooks.example/", events=["experiment.probe_failed"]))
    experiment = start()
    ab_rollback.roll_back(conn, experiment.id, "Too dark.", actor="anna")
    server.stuck = "adapter:workshop@2"
    for _ in range(2):
        assert ab_effects.run_due(database, settings)
        overdue(conn)
    found = probe(conn, experiment)
    assert (found["state"], found["attempts"]) == ("failed", 2)
    assert "still answers with adapter:workshop@2 when asked for adapter:workshop@challenger" in found["words"]
    assert history(conn, experiment) == ["rollback", "probe"], "told once"
    (told,) = webhooks.deliveries(conn, hook.id)
    assert "NOT proved" in told.payload["data"]["reason"]
    assert next(one.action for one in audit.entries(conn)) == "experiment.probe_failed"
    server.stuck = None
    assert ab_effects.run_due(database, settings)
    assert probe(conn, experiment)["state"] == "passed"
    assert history(conn, experiment) == ["rollback", "probe", "probe"]


@pytest.mark.parametrize("trouble", ["down", "silent"])
def test_a_route_that_does_not_answer_proves_nothing(
    conn: Connection, database: Database, start: Callable[..., Experiment], server: Serving, settings: Settings, trouble: str
):
    experiment = start()
    ab_rollback.roll_back(conn, experiment.id, "Too dark.", actor="anna")
    server.down = True
    if trouble == "silent":
        settings = settings.model_copy(update={"serve_url": "http://127.0.0.1:9"})
    ab_effects.run_due(database, settings)
    assert probe(conn, experiment)["state"] == "failed"
    assert "nothing is proved" in probe(conn, experiment)["words"]


def test_an_alias_that_is_gone_is_proved_by_a_refusal_that_names_it(
    conn: Connection, database: Database, adapter: Callable[..., str], server: Serving, settings: Settings
):
    adapter("challenger")
    experiment = begin(conn, "adapter:workshop@challenger")
    ab_rollback.roll_back(conn, experiment.id, "Too dark.", actor="anna")
    ab_effects.run_due(database, settings)
    assert probe(conn, experiment)["words"].endswith("has no adapter:workshop@challenger any more.")


def deployed(conn: Connection, job_factory: JobFactory, server: Serving, *, former: str | None) -> None:
    """As a deploy job leaves it: version 2 is `latest`, what that was is `former`."""
    server.tags |= {"workshop:latest": "sha256:two", "workshop:v2": "sha256:two"}
    if former is not None:
        server.tags["workshop:former"] = former
    result = {
        "adapter": "adapter:workshop@2", "model": "workshop", "tag": "workshop:v2", "digest": "sha256:two", "former_digest": former,
        "alias": "deployed", "former_alias_version": 1,
    }  # fmt: skip
    adapters.set_alias(conn, "workshop", "deployed", 2, actor="anna")
    job_factory(kind="deploy", status="completed", result=Jsonb(result))


def test_a_version_that_was_deployed_twice_is_not_its_own_former_one(
    conn: Connection,
    database: Database,
    start: Callable[..., Experiment],
    job_factory: JobFactory,
    server: Serving,
    settings: Settings,
):
    """Once as it is, once quantised: what was before the first time comes back."""
    experiment = start()
    deployed(conn, job_factory, server, former="sha256:one")
    result = {
        "adapter": "adapter:workshop@2", "model": "workshop", "digest": "sha256:two-q8", "former_digest": "sha256:two",
        "alias": "deployed", "former_alias_version": 2,
    }  # fmt: skip
    job_factory(kind="deploy", status="completed", result=Jsonb(result))
    for latest in ("sha256:two-q8", "sha256:two"):
        server.tags["workshop:latest"] = latest
        ab_rollback.roll_back(conn, experiment.id, "Too dark.", actor="anna")
        assert ab_effects.run_due(database, settings)
        assert server.tags["workshop:latest"] == "sha256:one"
        assert means(conn, "deployed") == "adapter:workshop@1"
        server.tags["workshop:v2"] = "sha256:two-q8"
        ab_rollback.force(conn, experiment.id, "On.", actor="anna")
        assert ab_effects.run_due(database, settings)
        assert server.tags["workshop:latest"] == "sha256:two-q8"


def test_a_forced_switch_that_comes_late_does_not_undo_the_next_rollback(
    conn: Connection,
    database: Database,
    start: Callable[..., Experiment],
    job_factory: JobFactory,
    server: Serving,
    settings: Settings,
):
    experiment = start()
    deployed(conn, job_factory, server, former="sha256:one")
    ab_rollback.roll_back(conn, experiment.id, "Too dark.", actor="anna")
    assert ab_effects.run_due(database, settings)
    ab_rollback.force(conn, experiment.id, "On.", actor="anna")
    server.down = True
    assert ab_effects.run_due(database, settings)
    assert probe(conn, experiment, "force")["state"] == "failed"
    server.down = False
    ab_rollback.roll_back(conn, experiment.id, "Still too dark.", actor="anna")
    assert ab_effects.run_due(database, settings)
    overdue(conn)
    assert ab_effects.run_due(database, settings)
    assert server.tags["workshop:latest"] == "sha256:one"
    assert "rolled_back by a later decision" in probe(conn, experiment, "force")["words"]


@pytest.mark.parametrize("former", ["sha256:one", None])
def test_a_tag_that_goldsmith_deployed_goes_back(
    conn: Connection,
    database: Database,
    start: Callable[..., Experiment],
    job_factory: JobFactory,
    server: Serving,
    settings: Settings,
    former: str | None,
):
    experiment = start()
    deployed(conn, job_factory, server, former=former)
    ab_rollback.roll_back(conn, experiment.id, "Too dark.", actor="anna")
    assert means(conn, "deployed") == "adapter:workshop@1"
    for _ in range(2):  # a guard that died after the copy does it again
        conn.execute("UPDATE ab_decisions SET due_at = now() WHERE decision = 'rollback'")
        assert ab_effects.run_due(database, settings)
        assert server.tags.get("workshop:latest") == former
        assert probe(conn, experiment)["state"] == "passed"
    assert server.tags["workshop:v2"] == "sha256:two"
    assert ("workshop:latest" in server.asked) == (former is not None)


def test_a_tag_that_somebody_deployed_since_stays(
    conn: Connection,
    database: Database,
    start: Callable[..., Experiment],
    job_factory: JobFactory,
    server: Serving,
    settings: Settings,
):
    experiment = start()
    deployed(conn, job_factory, server, former="sha256:one")
    server.tags["workshop:latest"] = "sha256:three"
    ab_rollback.roll_back(conn, experiment.id, "Too dark.", actor="anna")
    ab_effects.run_due(database, settings)
    assert server.tags["workshop:latest"] == "sha256:three"
    assert probe(conn, experiment)["state"] == "passed"


def test_whoever_is_killed_while_it_asks_is_followed_by_another_at_once(
    conn: Connection,
    database: Database,
    start: Callable[..., Experiment],
    job_factory: JobFactory,
    server: Serving,
    settings: Settings,
):
    experiment = start()
    deployed(conn, job_factory, server, former="sha256:one")
    ab_rollback.roll_back(conn, experiment.id, "Too dark.", actor="anna")
    server.answers.clear()
    code = (
        "import sys; from goldsmith import ab_effects; from goldsmith.db import Database; from goldsmith.settings import Settings;"
        "ab_effects.run_due(Database(sys.argv[1]).open(), Settings(_env_file=None, serve_url=sys.argv[2], OLLAMA_HOST=sys.argv[2]))"
    )
    with subprocess.Popen([sys.executable, "-c", code, settings.database, server.url]) as other:
        wait_until(lambda: bool(server.asked), "the question")
        assert server.tags["workshop:latest"] == "sha256:one", "what is slow to answer keeps no tag waiting"
        assert not ab_effects.run_due(database, settings), "one at a time"
        other.kill()
    server.answers.set()
    assert ab_effects.run_due(database, settings)
    assert (probe(conn, experiment)["state"], probe(conn, experiment)["attempts"]) == ("passed", 1)
    assert not ab_effects.run_due(database, settings), "once is enough"


def test_an_io_worker_asks_where_the_api_cannot(
    conn: Connection, database: Database, start: Callable[..., Experiment], server: Serving, settings: Settings
):
    experiment = start()
    ab_rollback.roll_back(conn, experiment.id, "Too dark.", actor="anna")
    guard = GuardThread(database, settings.model_copy(update={"guard_asks": False}))
    guard.round()
    guard.stop()
    assert probe(conn, experiment)["state"] == "pending"
    worker = EffectsThread(database, settings)
    worker.start()
    try:
        wait_until(lambda: probe(conn, experiment)["state"] == "passed", "the probe")
    finally:
        worker.stop()
        worker.join(120)
    assert server.asked == ["adapter:workshop@challenger"]


# -- a person decides


def test_forced_on_again_everything_is_as_it_was_and_shown_for_ever(
    conn: Connection,
    database: Database,
    start: Callable[..., Experiment],
    job_factory: JobFactory,
    server: Serving,
    settings: Settings,
):
    experiment = start()
    deployed(conn, job_factory, server, former="sha256:one")
    write_units(conn, experiment.id, BAD)
    look(conn, experiment)
    ab_effects.run_due(database, settings)
    forced = ab_rollback.force(conn, experiment.id, "A false alarm: the filter was new.", actor="anna")
    assert (forced.status, forced.ended_at, forced.cooldown_until) == ("running", None, None)
    assert {arm.name: arm.weight for arm in forced.arms} == {"base": 0.9, "lora": 0.1}
    assert forced.forced is not None
    assert (forced.forced.actor, forced.forced.guardrails) == ("anna", ["safety_block"])
    assert means(conn, "challenger") == "adapter:workshop@2"
    assert ab_effects.run_due(database, settings)
    assert server.tags["workshop:latest"] == "sha256:two"
    shown = ab_report.report(conn, experiment.id, look_now=True).look
    assert shown is not None
    assert shown.guardrails[0].forced, "news without an event"
    found = look(conn, forced)
    assert (found.guardrails[0].state, found.guardrails[0].forced) == ("breach", True)
    assert found.verdict.decision != "rollback"
    assert history(conn, experiment) == ["rollback", "force"], "no flapping"
    conn.execute("UPDATE experiments SET forced = jsonb_set(forced, '{until}', to_jsonb(now() - interval '1 second'))")
    look(conn, forced)
    assert history(conn, experiment)[:3] == ["rollback", "force", "rollback"], "the cool-down is over, the breach is not"


def test_without_a_cool_down_what_was_forced_runs_on_too(conn: Connection, start: Callable[..., Experiment]):
    experiment = start(cooldown_minutes=0)
    write_units(conn, experiment.id, BAD)
    look(conn, experiment)
    for _ in range(2):
        ab_rollback.force(conn, experiment.id, "A false alarm.", actor="anna")
        look(conn, experiment)
        assert experiments.get(conn, experiment.id).status == "running"
        ab_rollback.roll_back(conn, experiment.id, "Still too dark.", actor="anna")


def test_a_report_that_looked_before_a_person_forced_it_does_not_overrule_the_person(
    conn: Connection, start: Callable[..., Experiment], job_factory: JobFactory
):
    experiment = start()
    write_units(conn, experiment.id, BAD)
    seen = look(conn, experiment)
    verdict = Decision(decision="rollback", reason="Because.", statistics=seen.model_dump(mode="json"))
    job = job_factory(kind="ab_report", status="running", attempt=1)
    ab_rollback.record_report(conn, job, 1, experiment.id, verdict)
    ab_rollback.force(conn, experiment.id, "A false alarm.", actor="anna")
    assert means(conn, "challenger") == "adapter:workshop@2", "what the guard moved comes back, the report moved nothing"
    ab_rollback.record_report(conn, job, 1, experiment.id, verdict)
    assert experiments.get(conn, experiment.id).status == "running"
    assert history(conn, experiment) == ["rollback", "rollback", "force", "rollback"], "what the report said is told"


def test_what_one_arm_is_forced_through_does_not_hide_another_arm(conn: Connection, adapter: Callable[..., str]):
    arms = [
        {"name": "base", "weight": 0.5, "model": "small"},
        *({"name": name, "weight": 0.25, "adapter": adapter(), "model": name} for name in ("first", "second")),
    ]
    new = {"name": "three", "arms": arms, "metrics": SAFETY_ALONE}
    experiment = experiments.start(conn, experiments.create(conn, NewExperiment.model_validate(new)).id)
    rows = mixed({"base": 200, "first": 100, "second": 100}, blocks=(0.02, 0.5, 0.02))
    write_units(conn, experiment.id, rows)
    look(conn, experiment)
    forced = ab_rollback.force(conn, experiment.id, "A false alarm.", actor="anna")
    assert forced.forced is not None
    assert forced.forced.arms == {"safety_block": ["first"]}
    write_units(conn, experiment.id, [{"arm": "base"}], prefix="v")
    look(conn, experiment)
    assert experiments.get(conn, experiment.id).status == "running"
    write_units(conn, experiment.id, mixed({"base": 200, "second": 100}, blocks=(0.02, 0.9)), prefix="w")
    look(conn, experiment)
    assert experiments.get(conn, experiment.id).status == "rolled_back"
    assert experiments.decisions_of(conn, experiment.id)[0]["reason"].count("second") >= 1


def test_what_is_no_running_experiment_is_refused(conn: Connection, start: Callable[..., Experiment]):
    experiment = start()
    ab_rollback.roll_back(conn, experiment.id, "Too dark.", actor="anna")
    again = ab_rollback.roll_back(conn, experiment.id, "Again.", actor="anna")
    assert again.status == "rolled_back"
    assert history(conn, experiment) == ["rollback"]
    ab_rollback.force(conn, experiment.id, "On.", actor="anna")
    experiments.end(conn, experiment.id, actor="anna")
    for act in (ab_rollback.roll_back, ab_rollback.force):
        with pytest.raises(Conflict, match="spring is completed"):
            act(conn, experiment.id, "Too dark.", actor="anna")


# -- the ramp, the horizon, a broken experiment


def test_a_ramp_goes_on_when_its_rules_are_met(conn: Connection, start: Callable[..., Experiment]):
    experiment = start(ramp=RAMP)
    write_units(conn, experiment.id, mixed({"base": 400, "lora": 40}, blocks=(0.02, 0.02)))
    found = look(conn, experiment)
    assert [(rule.name, rule.met) for rule in found.ramp.rules][:2] == [("min_units", False), ("min_hours", True)]
    assert experiments.get(conn, experiment.id).step == 0
    write_units(conn, experiment.id, GOOD, prefix="v")
    look(conn, experiment)
    now = experiments.get(conn, experiment.id)
    assert (now.step, {arm.name: arm.weight for arm in now.arms}["lora"]) == (1, 0.5)
    assert history(conn, experiment) == ["ramp"]


def test_a_ramp_is_held_by_what_could_not_be_computed_and_says_so_once(conn: Connection, start: Callable[..., Experiment]):
    hook = webhooks.add(conn, NewWebhook(url="https://hooks.example/"))
    experiment = start(ramp=RAMP)
    write_units(conn, experiment.id, mixed({"base": 900, "lora": 100}, attempts=0))
    for number in range(3):
        write_units(conn, experiment.id, [{"arm": "base"}], prefix=f"more-{number}-")
        look(conn, experiment)
    now = experiments.get(conn, experiment.id)
    assert (now.step, now.held_reason) == (
        0,
        "Step 1 of 2 is held: the guardrail “Generation attempts blocked by a safety stage” of lora is not known.",
    )
    assert history(conn, experiment) == ["hold"]
    assert [told.event for told in webhooks.deliveries(conn, hook.id)] == ["experiment.held"]
    write_units(conn, experiment.id, GOOD, prefix="v")
    look(conn, experiment)
    now = experiments.get(conn, experiment.id)
    assert (now.step, now.held_reason) == (1, None)


def test_a_step_that_needs_approval_waits_for_it(conn: Connection, start: Callable[..., Experiment]):
    experiment = start(ramp=[RAMP[0] | {"approval": True}, RAMP[1]])
    write_units(conn, experiment.id, GOOD)
    look(conn, experiment)
    assert experiments.get(conn, experiment.id).held_reason == "Step 1 of 2 is held: a person must approve the next step."
    experiments.approve(conn, experiment.id, actor="anna", reason="Go on.")
    look(conn, experiment)
    assert experiments.get(conn, experiment.id).step == 1


def test_missing_units_pause_it_once_and_there_is_no_winner(conn: Connection, start: Callable[..., Experiment]):
    experiment = start()
    write_units(conn, experiment.id, mixed({"base": 2000, "lora": 60}, favorites=(0.1, 0.9), blocks=(0.02, 0.02)))
    assert look(conn, experiment).verdict.decision == "invalid"
    assert experiments.get(conn, experiment.id).status == "paused"
    assert history(conn, experiment) == ["invalid", "pause"]
    experiments.resume(conn, experiment.id, actor="anna", reason="I know.")
    assert look(conn, experiment).verdict.decision == "invalid"
    assert experiments.get(conn, experiment.id).status == "running", "a person said so"
    assert history(conn, experiment) == ["invalid", "pause", "resume"]


def test_the_horizon_completes_it(conn: Connection, start: Callable[..., Experiment]):
    hook = webhooks.add(conn, NewWebhook(url="https://hooks.example/"))
    experiment = start(horizon_units=1000)
    write_units(conn, experiment.id, GOOD)
    look(conn, experiment)
    assert experiments.get(conn, experiment.id).status == "completed"
    (decision, *_) = experiments.decisions_of(conn, experiment.id)
    assert decision["reason"].startswith("The horizon is reached: no difference was shown.")
    assert [told.event for told in webhooks.deliveries(conn, hook.id)] == ["experiment.completed"]


# -- promotion


@pytest.fixture
def judged(conn: Connection, job_factory: JobFactory) -> Callable[..., None]:
    def make(kind: str, passed: bool | None = True, adapter: str = "adapter:workshop@2", why: str = "It is as good.") -> None:
        result = {"adapter": adapter, "why": why} | ({} if passed is None else {"passed": passed})
        job_factory(kind=kind, status="completed", result=Jsonb(result))

    return make


def test_a_promotion_says_all_that_is_missing(conn: Connection, start: Callable[..., Experiment], judged: Callable[..., None]):
    experiment = start()
    write_units(conn, experiment.id, mixed({"base": 450, "lora": 60}, blocks=(0.02, 0.12)))
    judged("evaluate", True, "adapter:workshop@1")
    judged("bias_audit", False, why="It is less neutral.")
    with pytest.raises(Conflict) as refusal:
        ab_report.promote(conn, experiment.id, "Go.", actor="anna", arm=None)
    running, safety, evaluation, audit_ = refusal.value.extra["missing"]
    assert running == "the experiment is running, not completed"
    assert safety.startswith("the guardrail safety_block is open: 11.7% of lora's")
    assert evaluation == "there is no completed evaluate job of adapter:workshop@2"
    assert audit_.endswith("it did not pass: It is less neutral.")
    assert means(conn, "champion") == "adapter:workshop@1"
    assert ".;" not in refusal.value.detail


def test_what_was_completed_is_safe_and_passed_becomes_champion(
    conn: Connection, start: Callable[..., Experiment], judged: Callable[..., None]
):
    hook = webhooks.add(conn, NewWebhook(url="https://hooks.example/"))
    experiment = start()
    write_units(conn, experiment.id, GOOD)
    experiments.end(conn, experiment.id, actor="anna")
    for passed in (False, True):  # the newest counts
        judged("evaluate", passed)
        judged("bias_audit", passed)
    ab_report.promote(conn, experiment.id, "The children like it.", actor="anna", arm="lora")
    assert means(conn, "champion") == "adapter:workshop@2"
    decision = experiments.decisions_of(conn, experiment.id)[0]
    assert (decision["decision"], decision["actor"]) == ("promote_done", "anna")
    assert decision["statistics"]["former"] == "adapter:workshop@1"
    assert next(told.event for told in webhooks.deliveries(conn, hook.id)) == "experiment.promoted"
    assert any(one.action == "experiment.promote" and one.actor == "anna" for one in audit.entries(conn))


def test_promoted_again_is_a_no_op_and_a_retired_version_is_missing_too(
    conn: Connection, storage: Storage, start: Callable[..., Experiment], judged: Callable[..., None]
):
    experiment = start()
    write_units(conn, experiment.id, GOOD)
    experiments.end(conn, experiment.id, actor="anna")
    judged("evaluate")
    judged("bias_audit")
    for _ in range(2):
        assert ab_report.promote(conn, experiment.id, "Go.", actor="anna", arm=None).status == "completed"
    assert history(conn, experiment).count("promote_done") == 1
    for alias in ("champion", "challenger"):
        adapters.set_alias(conn, "workshop", alias, 1, actor="anna")
    adapters.approve(conn, storage, "workshop", 2, actor="anna")
    adapters.retire(conn, storage, "workshop", 2, actor="anna")
    with pytest.raises(Conflict) as refusal:
        ab_report.promote(conn, experiment.id, "Go.", actor="anna", arm=None)
    assert refusal.value.extra["missing"] == ["adapter:workshop@2 is retired"]


@pytest.mark.parametrize("attempts", [0, 1])
def test_what_is_not_known_to_be_safe_or_says_nothing_of_passing_is_not_promoted(
    conn: Connection, start: Callable[..., Experiment], judged: Callable[..., None], attempts: int
):
    experiment = start()
    write_units(conn, experiment.id, mixed({"base": 900, "lora": 100}, attempts=attempts))
    experiments.end(conn, experiment.id, actor="anna")
    judged("evaluate", None if attempts else True)
    judged("bias_audit")
    with pytest.raises(Conflict) as refusal:
        ab_report.promote(conn, experiment.id, "Go.", actor="anna", arm=None)
    (missing,) = refusal.value.extra["missing"]
    assert "its result" in missing or "the guardrail safety_block is unknown" in missing


# -- outputs that repeat themselves


def sketch(conn: Connection, experiment: Experiment, arm: str, texts: Iterable[str]) -> None:
    """Outputs of an arm for one config."""
    key = b"k" * 32
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ab_sketches (experiment_id, arm, config_id, unit, occurred_at, sketch) VALUES (%s, %s, 'clay', 'u', now(), %s)",
            [(experiment.id, arm, from_text(sketch_of(text, key))) for text in texts],
        )


def outputs(seed: int, count: int, words: int) -> list[str]:
    """Texts of 60 words out of a vocabulary of so many."""
    chance = random.Random(seed)
    return [" ".join(f"word{chance.randrange(words)}" for _ in range(60)) for _ in range(count)]


def test_an_arm_that_begins_to_repeat_itself_is_rolled_back(conn: Connection, start: Callable[..., Experiment]):
    experiment = start(metrics=[*SAFETY_ALONE, {"name": "entropy"}])
    reader = Reader()

    def state(arm_says: list[str]) -> GuardrailLook:
        sketch(conn, experiment, "base", outputs(len(arm_says), len(arm_says), 1000))
        sketch(conn, experiment, "lora", arm_says)
        write_units(conn, experiment.id, [{"arm": "base"}], prefix=f"more-{arm_says[0][:20]}-")
        found = ab_watch.watch(conn, experiment.id, reader, full=True)
        assert found is not None
        told.append(found.outputs)
        return next(one for one in found.guardrails if one.name == "entropy")

    told: list[list[OutputsLook]] = []
    assert state(outputs(1, 10, 1000)).state == "unknown"
    varied = state(outputs(2, 390, 1000))
    assert (varied.state, varied.numbers["worst_config"]) == ("ok", "clay")
    assert [(one.arm, one.config, one.outputs) for one in told[-1]] == [("base", "clay", 400), ("lora", "clay", 400)]
    assert all(one.entropy is not None and 7.8 < one.entropy < 8 for one in told[-1])
    assert all(one.distinct_pairs is not None and one.distinct_pairs > 0.8 for one in told[-1])
    collapsed = state(outputs(3, 200, 40))
    assert collapsed.state == "breach", collapsed.words
    base, lora = told[-1]
    assert (base.near_duplicates, lora.near_duplicates) == (0, 0)
    assert lora.entropy is not None
    assert base.entropy is not None
    assert lora.entropy < base.entropy
    assert experiments.get(conn, experiment.id).status == "rolled_back"
    assert "less entropy than base's" in experiments.decisions_of(conn, experiment.id)[0]["reason"]
    again = Reader().read(conn, experiment.id, full=False).varieties["lora"].numbers()
    assert again["outputs"] == collapsed.numbers["outputs"] == 600, "a guard that starts anew reads the same"


def test_outputs_that_were_not_read_yet_hold_up_no_other_guardrail(conn: Connection, start: Callable[..., Experiment]):
    """After a start there may be 100,000 of them."""
    experiment = start(metrics=[*SAFETY_ALONE, {"name": "entropy"}], ramp=RAMP)
    for arm in ("base", "lora"):
        sketch(conn, experiment, arm, outputs(1, 60, 1000))
    write_units(conn, experiment.id, GOOD)
    reader = Reader(at_most=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("goldsmith.ab_reading.AT_ONCE", 50)
        states = []
        for _ in range(3):
            data = reader.read(conn, experiment.id, full=False)
            looks = {one.name: one for one in guardrail_looks(data, compare(data), bounds=False)}
            states.append((looks["safety_block"].state, looks["entropy"].state))
    assert states == [("ok", "unknown"), ("ok", "unknown"), ("ok", "ok")]
    ab_watch.decide_on(conn, experiment.id, Reader())
    assert experiments.get(conn, experiment.id).step == 1
