from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from goldsmith.devserver.readings import Reading
from goldsmith.kinds.imports.relations import Related, relate, row
from goldsmith.recordings import Feedback

MORNING = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)


def reading(run_id: str, minute: int = 0, **more: object) -> Reading:
    whole = Reading(
        run_id=run_id,
        device_id="device",
        recorded_at=MORNING + timedelta(minutes=minute),
        config_id="loom",
        exclusion=None,
        input="ein Fuchs mit Hut",
        output="Der Fuchs ist Garn.",
        accepted="Der Fuchs ist Garn.",
        input_key="ein fuchs mit hut",
        generation_key="garn",
        seed=1,
        imaged=True,
    )
    return replace(whole, **more)  # type: ignore[arg-type]


def image(run_id: str, minute: int, seed: int, **more: object) -> Reading:
    """A second image of the text: a run of its own, without an interception."""
    return reading(run_id, minute, seed=seed, output=None, exclusion="no_interception", **more)


def signals(runs: list[Related], run_id: str) -> list[tuple[str, dict[str, object]]]:
    return [(each.signal, each.data) for run in runs if run.reading.run_id == run_id for each in row(run).feedback]


def test_a_new_image_of_an_old_text_is_a_regeneration_of_its_run() -> None:
    runs, _ = relate([image("third", 9, seed=3), reading("first"), image("second", 5, seed=2)], {})
    assert signals(runs, "first") == [
        ("regeneration", {"run_id": "second", "seed": 2, "previous_seed": 1}),
        ("regeneration", {"run_id": "third", "seed": 3, "previous_seed": 2}),
    ]
    assert signals(runs, "second") == []


def test_another_device_or_the_same_seed_is_no_regeneration() -> None:
    runs, _ = relate([reading("first"), image("other child", 5, seed=2, device_id="b"), image("same seed", 6, seed=1)], {})
    assert signals(runs, "first") == []


def test_a_favourite_of_a_second_image_goes_to_the_run_of_the_text() -> None:
    runs, unmatched = relate([reading("first"), image("second", 5, seed=2)], {"second": MORNING})
    assert ("favorite", {"run_id": "second"}) in signals(runs, "first")
    assert signals(runs, "second") == []
    assert unmatched == []


def test_a_favourite_of_an_image_without_a_known_text_stays_with_it() -> None:
    runs, _ = relate([image("lonely", 5, seed=2)], {"lonely": None})
    assert signals(runs, "lonely") == [("favorite", {"run_id": "lonely"})]


def test_a_favourite_of_a_run_that_was_not_read_is_listed() -> None:
    _, unmatched = relate([reading("first")], {"gone": MORNING})
    assert [each.path for each in unmatched] == ["favorites.json"]
    assert "gone" in unmatched[0].reason


def test_no_text_of_a_run_that_must_stay_out_is_kept() -> None:
    edit = Feedback("user_edit", {"entity": "interception", "before": "secret", "after": "hidden"})
    block = Feedback("stage_block", {"stage": 1})
    left_out = reading("out", exclusion="personal_data", context="secret", feedback=(edit, block))
    (related,), _ = relate([left_out], {"out": MORNING})
    run = row(related)
    assert not run.may_train
    assert (run.input, run.output, run.accepted, run.context) == (None, None, None, None)
    assert [each.signal for each in run.feedback] == ["stage_block", "favorite"]


def test_the_order_of_reading_changes_nothing() -> None:
    readings = [reading("first"), image("second", 5, seed=2), reading("no time", recorded_at=None), reading("third", 9, seed=4)]
    assert relate(readings, {"second": None}) == relate(readings[::-1], {"second": None})
    assert [run.reading.run_id for run in relate(readings, {})[0]] == ["first", "second", "third", "no time"]


def test_the_hash_changes_with_what_was_said_and_with_nothing_else() -> None:
    def content(reading: Reading, **more: object) -> str:
        return relate([reading], **({"favorites": {}} | more))[0][0].content_sha256  # type: ignore[arg-type]

    first = reading("first", digest="1")
    assert content(first) == content(reading("first", digest="1", remembered=True))
    assert content(first) != content(reading("first", digest="2"))
    assert content(first) != content(first, favorites={"first": MORNING})
    assert content(first) != content(first, reported={"first": [Feedback("export")]})


def test_an_answer_without_an_image_was_abandoned_when_its_device_went_on() -> None:
    runs, _ = relate([reading("first", imaged=False), reading("second", 5), reading("last", 9, imaged=False)], {})
    assert signals(runs, "first") == [("abandon", {"next_run_id": "second"})]
    assert signals(runs, "second") == signals(runs, "last") == []


def test_what_a_live_experiment_was_told_is_said_of_the_run() -> None:
    told = {"first": [Feedback("export", {}, MORNING), Feedback("abandon", {}, MORNING)], "gone": [Feedback("export")]}
    runs, _ = relate([reading("first", imaged=False), reading("second", 5)], {}, told)
    assert [each.signal for each in row(runs[0]).feedback] == ["export", "abandon"]


def test_a_block_that_only_an_event_tells_of_keeps_the_run_out_and_its_text_wherever_it_is() -> None:
    told = {"first": [Feedback("stage_block", {"stage": "vlm_safety"}, MORNING)]}
    others = [reading("same text", 5, device_id="b"), reading("other text", 6, input_key="ein igel")]
    runs, _ = relate([reading("first"), *others], {}, told)
    assert [run.exclusion for run in runs] == ["blocked", "blocked_text", None]
    assert row(runs[1]).input is None


def test_a_text_that_was_blocked_on_disk_is_not_used_from_another_run() -> None:
    runs, _ = relate([reading("first", exclusion="blocked", input=None), reading("second", 5)], {})
    assert runs[1].exclusion == "blocked_text"
