"""From units to numbers and verdicts, where no chance is in the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from goldsmith import ab_days
from goldsmith.ab_analysis import Comparison, _chances, srm
from goldsmith.ab_look import Look
from goldsmith.ab_verdict import look
from tests.ab_data import data, experiment, mixed

THREE = {
    "arms": [
        {"name": "base", "weight": 0.8},
        {"name": "lora", "weight": 0.1, "adapter": "adapter:workshop@1"},
        {"name": "other", "weight": 0.1, "adapter": "adapter:workshop@2"},
    ]
}
RAMP = {
    "arms": [{"name": "base", "weight": 0.9}, {"name": "lora", "weight": 0.1, "adapter": "adapter:workshop@1"}],
    "ramp": [{"weights": {"lora": 0.1}}, {"weights": {"lora": 0.5}}],
}


def state(found: Look, name: str, arm: str = "lora") -> str:
    return next(one.state for one in found.guardrails if (one.name, one.arm) == (name, arm))


def test_several_arms_are_each_compared_with_base_at_an_equal_part_of_alpha():
    rows = mixed({"base": 4000, "lora": 500, "other": 500}, favorites=(0.1, 0.4, 0.1), blocks=(0.01, 0.01, 0.3))
    found = look(data(rows, plan=THREE))
    assert [(one.arm, one.alpha) for one in found.metrics[0].differences] == [("lora", 0.025), ("other", 0.025)]
    assert (state(found, "safety_block", "lora"), state(found, "safety_block", "other")) == ("ok", "breach")
    assert (found.verdict.decision, found.verdict.arm) == ("rollback", "other")
    assert look(data(rows, plan=THREE)) == found, "the same data, the same numbers"


def test_the_chance_of_an_arm_knows_where_the_unit_was_before():
    plan = experiment(plan=RAMP).plan
    chances = _chances(plan, "lora")
    assert chances[0, -1] == pytest.approx(0.1)
    assert chances[1, -1] == pytest.approx(0.5)
    assert chances[1, 0] == pytest.approx(0.4 / 0.9), "of the nine tenths that were in base four went over"


def test_a_ramp_keeps_what_it_knew_and_counts_no_device_twice():
    """What was blocked at the first step stays blocked: no step looks worse for having come later."""
    first = mixed({"base": 900, "lora": 100}, blocks=(0.02, 0.02))
    moved = [row | {"unit": 10_000 + n} for n, row in enumerate(mixed({"base": 500, "lora": 400}, step=1, blocks=(0.1, 0.1)))]
    for row in moved:
        row["former_step"] = 0
    known = [{"arm": "lora", "step": 1, "attempts": 1, "known": True, "blocks": 1, "unit": n} for n in range(100)]
    found = data([*first, *moved, *known], plan=RAMP, step=1)
    comparison = Comparison(found, "lora")
    assert comparison.rise("blocks", "attempts") == pytest.approx(0.16, abs=0.01), "as counted, with those that were known"
    shown = look(found)
    safety = shown.difference("safety_block", "lora")
    assert safety is not None
    assert safety.n == 1900
    assert safety.estimate == pytest.approx(0, abs=0.001)
    assert state(shown, "safety_block") == "watch"
    assert shown.srm.state == "ok"
    assert shown.srm.observed == {"base": 1400, "lora": 500}


def test_units_that_went_the_wrong_way_along_a_ramp_are_missing():
    first = mixed({"base": 900, "lora": 100})
    moved = [row | {"former_step": 0} for row in mixed({"base": 820, "lora": 80}, step=1)]
    assert srm(data([*first, *moved], plan=RAMP, step=1)).state == "mismatch"


@pytest.mark.parametrize(
    ("counts", "name"),
    [({"errors": (0.01, 0.4)}, "error"), ({"slow": (0.01, 0.5)}, "latency")],
)
def test_errors_and_slow_answers_roll_back_too(counts: dict[str, Any], name: str):
    found = look(data(mixed({"base": 900, "lora": 100}, **counts)))
    assert state(found, name) == "breach"
    assert found.verdict.decision == "rollback"


def test_what_could_not_be_computed_is_null_with_words_and_never_zero():
    found = look(data(mixed({"base": 900, "lora": 100}, attempts=0)))
    safety = found.metric("safety_block")
    assert safety is not None
    assert {value.value for value in safety.arms.values()} == {None}
    assert safety.note == "Not known yet: nothing was counted in base and lora."
    assert state(found, "safety_block") == "unknown"
    assert state(found, "entropy") == "unknown"
    empty = look(data([]))
    for metric in empty.metrics:
        assert [(name, value.n, value.value) for name, value in metric.arms.items()] == [("base", 0, None), ("lora", 0, None)]
    assert {one.state for one in empty.guardrails} == {"unknown"}
    assert empty.arms[1].as_treated is None


def test_a_metric_of_which_less_is_better_turns_the_verdict_round():
    plan = {"metrics": [{"name": "abandon", "role": "primary"}, {"name": "safety_block"}]}
    rows = mixed({"base": 5400, "lora": 600}, abandons=(0.4, 0.15), blocks=(0.02, 0.02))
    assert look(data(rows, plan=plan)).verdict.decision == "promote"
    rows = mixed({"base": 5400, "lora": 600}, abandons=(0.15, 0.4), blocks=(0.02, 0.02))
    assert look(data(rows, plan=plan)).verdict.decision == "keep_base"


def test_outcomes_stay_between_0_and_1():
    rows = [{"arm": arm, "interceptions": 1, "edit_share": 3.0, "regenerations": 9} for arm in ("base", "lora") * 20]
    found = look(data(rows))
    for name in ("user_edit", "regeneration"):
        metric = found.metric(name)
        assert metric is not None
        assert [value.value for value in metric.arms.values()] == [1, 1]
    assert np.isfinite(found.srm.e_value or 0)


def test_as_treated_leaves_out_what_another_model_answered_silently_or_gated():
    found = look(data([{"arm": "lora", "interceptions": 10, "foreign_": 1, "gated": 3}, {"arm": "base", "interceptions": 5}]))
    lora = next(arm for arm in found.arms if arm.name == "lora")
    assert (lora.as_treated, lora.foreign, lora.gated) == (0.6, 1, 3)


def test_without_models_in_the_plan_contamination_is_not_known_rather_than_none():
    arms = [{"name": "base", "weight": 0.9}, {"name": "lora", "weight": 0.1, "adapter": "adapter:workshop@1"}]
    rows = [{"arm": arm, "interceptions": 10} for arm in ("base", "lora")]
    found = look(data(rows, plan={"arms": arms}))
    assert (found.contamination.state, found.contamination.share) == ("unknown", None)
    assert "names no arm's `model`" in found.contamination.words
    assert [arm.as_treated for arm in found.arms] == [None, None]
    assert look(data([rows[0], rows[1] | {"foreign_": 1}], plan={"arms": arms})).contamination.state == "warning"
    assert look(data(rows)).contamination.state == "ok"


def known(day: int, last: tuple[int, int], former: tuple[int, int] = (20, 0), *, units: int = 40) -> list[dict[str, Any]]:
    """So many units in either arm, at the second step, known since day 1; `last`: attempts and blocks of the arm on its latest day."""
    rows = []
    for number in range(units):
        for arm in ("base", "lora"):
            attempts, blocks = last if arm == "lora" else (last[0], 0)
            row = {
                "arm": arm,
                "step": 1,
                "unit": 2 * number + (arm == "lora"),
                "known": arm == "lora",
                "first_day": 1,
                "last_day": day,
            }
            row |= {"attempts": former[0] + attempts, "blocks": former[1] + blocks, "interceptions": former[0] + attempts}
            rows.append(row | {"last_attempts": attempts, "last_blocks": blocks, "last_interceptions": attempts})
    return rows


def test_a_regression_among_devices_known_for_long_is_seen_on_the_day():
    """Twenty attempts of each before, all fine, and in no comparison as they were in the arm before the ramp went on: two today, blocked."""
    found = look(data(known(9, (2, 2)), plan=RAMP, step=1))
    safety = next(one for one in found.guardrails if one.name == "safety_block")
    assert safety.state == "breach"
    assert safety.words.startswith(
        "On the latest day alone 100.0% of lora's generation attempts were blocked, and 0.0% of base's"
    )
    assert (safety.numbers["latest_day_arm"], safety.numbers["latest_day_base"]) == (1, 0)
    assert safety.numbers["arm"] == pytest.approx(2 / 22)
    assert found.verdict.decision == "rollback"


@pytest.mark.parametrize(
    ("rows", "step"),
    [
        (known(9, (2, 0)), 1),
        (known(9, (2, 2), units=3), 1),  # three devices are three devices
        ([row | {"step": 0} for row in known(9, (2, 2))], 1),  # the day of another step
        ([row | {"first_day": 0, "last_day": 0} for row in known(9, (2, 2))], 1),  # counted before days were
    ],
)
def test_a_good_day_few_devices_and_another_steps_day_are_no_breach(rows: list[dict[str, Any]], step: int):
    found = look(data(rows, plan=RAMP, step=step))
    assert state(found, "safety_block") != "breach"


def test_each_day_has_its_share_of_alpha_and_all_shares_sum_to_it():
    shares = []
    for day in range(2, 400):
        latest = ab_days.latest(data(known(day, (1, 1)), plan=RAMP, step=1))
        assert latest is not None
        shares.append(np.exp(latest[1]))
    assert shares[0] > shares[1] > shares[50]
    assert sum(shares) + ab_days.WHOLE < 1
    first = [row | {"step": 0} for row in known(1, (1, 1))]
    assert ab_days.latest(data(first, plan=RAMP, step=0)) is None, "the first day is all days"
