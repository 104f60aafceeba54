"""Whether the models of arms are in Ollama: what is seen, what is not, and what could not be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID

import pytest

from goldsmith import ab_presence, ab_retired, ab_snapshots, ab_watch, adapters, experiments, webhooks
from goldsmith.ab import Experiment
from goldsmith.ab.snapshot import Facts
from goldsmith.ab_reading import Reader
from goldsmith.db import Connection, Database, connect
from goldsmith.errors import Conflict
from goldsmith.guard import work_off
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from goldsmith.webhooks import NewWebhook
from tests.experimenting import begin, register
from tests.ollama_server import OllamaServer

Look = Callable[[], None]
HERE = {"small:latest": {}, "small-lora:latest": {}}
RAMP = [{"weights": {"lora": 0.1}, "min_units": 50}, {"weights": {"lora": 0.5}}]
UNITS = [f"device-{number}" for number in range(200)]


@pytest.fixture
def ollama(tmp_path: Path) -> Iterator[OllamaServer]:
    server = OllamaServer(tmp_path)
    server.models = dict(HERE)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, size=2).open()
    yield database
    database.close()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "storage")


@pytest.fixture
def start(conn: Connection, job_factory: Callable[..., UUID], storage: Storage, tmp_path: Path) -> Callable[..., Experiment]:
    register(conn, storage, job_factory(kind="train"), tmp_path / "trained")
    return lambda **more: begin(conn, "adapter:workshop@1", **more)


@pytest.fixture
def look(conn: Connection, database: Database, ollama: OllamaServer, tmp_path: Path) -> Callable[..., None]:
    """Time has passed, and a guard looks; at another Ollama than the one of the test, when told so."""

    def once(url: str | None = None) -> None:
        conn.execute("UPDATE arms SET model_looked_at = model_looked_at - interval '1 minute'")
        settings = Settings(_env_file=None, state_dir=tmp_path, OLLAMA_HOST=url or ollama.url)
        work_off(database, settings, Event())

    return once


def gated(conn: Connection, experiment: Experiment) -> str | None:
    (lora,) = (arm.gated for arm in experiments.get(conn, experiment.id).arms if arm.name == "lora")
    return lora


def answers(conn: Connection, experiment: Experiment, **facts: Any) -> set[tuple[str | None, str | None, str]]:
    found = ab_snapshots.assignments(conn, experiment.id, UNITS, Facts(**facts))
    return {(one.assigned, one.arm, one.reason) for one in found}


def test_a_model_that_vanishes_is_answered_for_by_base_until_it_is_back(
    conn: Connection, ollama: OllamaServer, start: Callable[..., Experiment], look: Look
):
    hook = webhooks.add(conn, NewWebhook(url="https://hooks.example/"))
    experiment = start(ramp=RAMP)
    look()
    assert answers(conn, experiment) == {("base", "base", "assigned"), ("lora", "lora", "assigned")}
    before = ab_snapshots.snapshot(conn).sequence
    ollama.models = {"small:latest": {}}
    look()
    assert answers(conn, experiment) == {("base", "base", "assigned"), ("lora", "base", "model_missing")}
    assert ab_snapshots.snapshot(conn).sequence > before, "callers hear of it"
    (told,) = webhooks.deliveries(conn, hook.id)
    assert (told.event, "small-lora is not in Ollama" in told.payload["data"]["reason"]) == ("experiment.held", True)
    for _ in range(2):  # a guard's look, long before the step has its units, does not let it go on
        found = ab_watch.watch(conn, experiment.id, Reader(), full=True)
        assert found is not None
        assert "base answers for lora: model missing" in [rule.words for rule in found.ramp.rules if not rule.met]
        assert experiments.get(conn, experiment.id).held_reason == "Step 1 of 2 is held: base answers for lora: model missing."
    look()
    ollama.models = dict(HERE)
    look()
    assert answers(conn, experiment) == {("base", "base", "assigned"), ("lora", "lora", "assigned")}
    assert experiments.get(conn, experiment.id).held_reason is None
    history = [row["decision"] for row in reversed(experiments.decisions_of(conn, experiment.id))]
    assert history == ["create", "start", "gate", "release"], "each said once"


def test_a_plan_that_wants_the_model_there_is_gated_from_the_start(
    conn: Connection, ollama: OllamaServer, start: Callable[..., Experiment], look: Look
):
    ollama.models = {"small:latest": {}}
    experiment = start(eligibility={"model_present": True})
    look()
    everything = answers(conn, experiment, models={"small", "small-lora"})
    assert everything == {("base", "base", "assigned"), ("lora", "base", "model_missing")}
    ollama.models["small-lora:latest"] = {}
    look()
    assert ("lora", "lora", "assigned") in answers(conn, experiment, models={"small", "small-lora"})
    assert experiments.get(conn, experiment.id).held_reason is None


def test_a_model_that_was_never_in_ollama_is_another_servers(
    conn: Connection, ollama: OllamaServer, start: Callable[..., Experiment], look: Callable[..., None]
):
    ollama.models = {}
    experiment = start()
    look()
    look("http://127.0.0.1:1")
    (_, lora) = experiments.get(conn, experiment.id).arms
    assert (lora.gated, lora.model_trouble) == (None, None)


@pytest.mark.parametrize("present", [True, False])
def test_an_ollama_that_does_not_answer_changes_no_answer_and_holds_the_ramp(
    conn: Connection, ollama: OllamaServer, start: Callable[..., Experiment], look: Callable[..., None], present: bool
):
    if not present:
        ollama.models = {}
    experiment = start(ramp=RAMP, eligibility={"model_present": True})
    look()
    before = answers(conn, experiment, models={"small-lora"})
    assert (gated(conn, experiment) is None) == present
    for _ in range(2):
        look("http://127.0.0.1:1")
        assert answers(conn, experiment, models={"small-lora"}) == before
        ab_watch.watch(conn, experiment.id, Reader(), full=True)
        held = experiments.get(conn, experiment.id).held_reason or ""
        assert "whether the model of lora is there is not known: Ollama does not answer at http://127.0.0.1:1" in held
    look()
    ab_watch.watch(conn, experiment.id, Reader(), full=True)
    now = experiments.get(conn, experiment.id)
    assert now.arms[1].model_trouble is None
    assert (now.held_reason is None) == present


def test_an_answer_that_cannot_be_read_says_nothing_of_a_model(
    conn: Connection, ollama: OllamaServer, start: Callable[..., Experiment], look: Look, monkeypatch: pytest.MonkeyPatch
):
    experiment = start()
    look()
    monkeypatch.setattr(ollama, "tags", lambda: [{"tag": "small-lora"}])
    look()
    lora = experiments.get(conn, experiment.id).arms[1]
    assert lora.gated is None
    assert "/api/tags answered without models[].name" in (lora.model_trouble or "")


def test_it_is_asked_only_now_and_then_and_only_for_what_runs(
    conn: Connection, database: Database, ollama: OllamaServer, start: Callable[..., Experiment], tmp_path: Path
):
    settings = Settings(_env_file=None, state_dir=tmp_path, OLLAMA_HOST=ollama.url)
    experiment = start()

    def asked() -> bool:
        before = conn.execute("SELECT model_looked_at FROM arms WHERE name = 'lora'").fetchone()
        ab_presence.look_again(database, settings)
        return before != conn.execute("SELECT model_looked_at FROM arms WHERE name = 'lora'").fetchone()

    ab_presence.look_again(database, Settings(_env_file=None, state_dir=tmp_path))
    assert asked(), "for the first time, as no Ollama was configured before"
    assert not asked(), "it was a moment ago"
    conn.execute("UPDATE arms SET model_looked_at = now() - interval '1 minute'")
    experiments.pause(conn, experiment.id)
    assert not asked(), "base answers everybody anyway"
    experiments.resume(conn, experiment.id)
    with connect(database.url) as other, other.transaction():
        other.execute("SELECT 1 FROM arms FOR UPDATE")
        assert not asked(), "whoever is at it looks"
    assert asked()


def test_a_model_that_is_missing_does_not_let_its_adapter_go_nor_come_back_when_it_went(
    conn: Connection, ollama: OllamaServer, start: Callable[..., Experiment], look: Look, storage: Storage
):
    experiment = start()
    adapters.approve(conn, storage, "workshop", 1, actor="anna")
    look()
    ollama.models = {}
    look()
    assert gated(conn, experiment) == "model_missing"
    with pytest.raises(Conflict, match="in use by the experiment spring"):
        adapters.retire(conn, storage, "workshop", 1, actor="anna")
    ab_retired.gate_adapter(conn, "adapter:workshop@1", actor="anna", reason="It swears.")
    adapters.retire(conn, storage, "workshop", 1, actor="anna")
    ollama.models = dict(HERE)
    look()
    assert gated(conn, experiment) == "adapter_retired"


def test_a_resume_looks_anew_also_where_nobody_looks_any_more(
    conn: Connection, ollama: OllamaServer, start: Callable[..., Experiment], look: Look
):
    experiment = start()
    look()
    ollama.models = {}
    look()
    experiments.pause(conn, experiment.id)
    resumed = experiments.resume(conn, experiment.id)
    assert (resumed.arms[1].gated, resumed.held_reason) == (None, None)
    look()
    assert gated(conn, experiment) == "model_missing", "it was seen before the pause"
