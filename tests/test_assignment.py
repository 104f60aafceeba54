"""The published function: its test vectors, and what it promises whatever the weights."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from goldsmith.ab import BASE, BUCKETS, ExperimentPlan, bucket
from goldsmith.ab.assignment import arm_of, group_salt, held, regions
from goldsmith.ab.plan import Eligibility
from goldsmith.ab.snapshot import Facts, Rules, SnapshotArm, SnapshotExperiment

PAGE = (Path(__file__).parent.parent / "docs" / "assignment.md").read_text(encoding="utf-8")
SALT = "workshop-week-2025-03"


def plan(*steps: dict[str, float], **more: Any) -> ExperimentPlan:
    names = sorted({name for step in steps for name in step} - {BASE})
    arms = [{"name": BASE}, *({"name": name, "adapter": f"adapter:{name}@1"} for name in names)]
    return ExperimentPlan.model_validate({"name": "p", "arms": arms, "ramp": [{"weights": step} for step in steps]} | more)


# -- the page


def test_the_vectors_of_two_arms_and_three_steps_hold():
    ramp = plan({"a": 0.05, "b": 0.05}, {"a": 0.1, "b": 0.2}, {"a": 0.2, "b": 0.3})
    rows = re.findall(r"^\| `([^`]+)` \| (\d+) \| (\w+) \| (\w+) \| (\w+) \|$", PAGE, re.MULTILINE)
    assert len(rows) >= 10
    assert {arm for row in rows for arm in row[2:]} == {"base", "a", "b"}
    for unit, number, *arms in rows:
        assert bucket(SALT, unit) == int(number)
        assert [ramp.arm_at(step, SALT, unit) for step in range(3)] == arms


def test_the_vectors_of_a_group_hold():
    salt = group_salt("spring-school")
    assert f"`{salt}`" in PAGE
    rows = re.findall(r"^\| `([^`]+)` \| (\d+) \| (first|second|none) \|$", PAGE, re.MULTILINE)
    assert {row[2] for row in rows} == {"first", "second", "none"}
    for unit, number, experiment in rows:
        assert bucket(salt, unit) == int(number)
        assert experiment == ("first" if int(number) < 5000 else "second" if int(number) < 7500 else "none")


def test_the_buckets_that_the_page_gives_a_weight_are_those_that_it_holds():
    rows = re.findall(r"one of (0\.\d+) holds (\d+)|A weight of (0\.\d+) holds (\d+)", PAGE)
    found = {float(one or two): int(n or m) for one, n, two, m in rows}
    assert found == {0.00125: 12, 0.00375: 38, 0.00126: 13}, "a half in both directions"
    for weight, buckets in found.items():
        assert len(held({"a": weight}, {"a": weight})["a"]) == buckets


# -- its promises


@st.composite
def ramps(draw: st.DrawFn) -> list[dict[str, float]]:
    """Steps of one to four arms that only grow, in ten-thousandths, with something left for base."""
    names = "abcd"[: draw(st.integers(1, 4))]
    last = [draw(st.integers(1, 2400)) for _ in names]
    steps = [last]
    for _ in range(draw(st.integers(0, 3))):
        steps.insert(0, [draw(st.integers(1, ceiling)) for ceiling in steps[0]])
    return [{name: share / BUCKETS for name, share in zip(names, step, strict=True)} for step in steps]


@settings(max_examples=60, deadline=None)
@given(ramps())
def test_a_bucket_only_ever_leaves_base_and_each_arm_holds_its_share(steps: list[dict[str, float]]):
    ramp = plan(*steps)
    for number in range(0, BUCKETS, 7):
        arms = [arm_of(number, ramp.holding(step)) for step in range(ramp.steps)]
        first = next((step for step, arm in enumerate(arms) if arm != BASE), ramp.steps)
        assert set(arms[:first]) <= {BASE}
        assert len(set(arms[first:])) <= 1, "it stays in the arm in which it is"
    for step, weights in enumerate(steps):
        assert {name: ramp.share(step, name) for name in weights} == pytest.approx(weights)
        assert sum(ramp.share(step, arm.name) for arm in ramp.arms) == pytest.approx(1)


@st.composite
def any_ramps(draw: st.DrawFn) -> ExperimentPlan:
    """A plan that is accepted: whatever shares, also none at first, in any order of the arms."""
    names = "abcdefghi"[: draw(st.integers(1, 9))]
    parts = [draw(st.floats(0.001, 1)) for _ in names]
    last = [part / sum(parts) * draw(st.floats(0.2, 0.999)) for part in parts]
    steps = [last]
    for _ in range(draw(st.integers(0, 6))):
        steps.insert(0, [ceiling * draw(st.sampled_from((0.0, 0.5, 0.9999, 1.0))) for ceiling in steps[0]])
    weights = [dict(zip(names, step, strict=True)) for step in steps if any(share * BUCKETS > 0.5 for share in step)]
    arms = [{"name": BASE}, *({"name": name, "adapter": f"adapter:{name}@1"} for name in names)]
    return ExperimentPlan.model_validate(
        {"name": "p", "arms": draw(st.permutations(arms)), "ramp": [{"weights": step} for step in weights]}
    )


@settings(max_examples=150, deadline=None)
@given(any_ramps())
def test_no_step_of_any_accepted_ramp_moves_a_bucket_out_of_an_arm(ramp: ExperimentPlan):
    before: dict[str, range] = {}
    for step in range(ramp.steps):
        holding = ramp.holding(step)
        ends = sorted((buckets.start, buckets.stop) for buckets in holding.values() if buckets)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(ends)), "no bucket is in two arms"
        for name, former in before.items():
            now = holding[name]
            assert not former or (now.start <= former.start and former.stop <= now.stop), "what an arm held it holds"
        assert sum(ramp.share(step, name) for name in [BASE, *holding]) == pytest.approx(1)
        before = holding


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_regions_never_overlap_nor_leave_the_buckets(weights: list[float]):
    total = sum(weights) or 1
    widest = {f"a{n}": weight / total for n, weight in enumerate(weights)}
    owned = [number for region in regions(widest).values() for number in region]
    assert owned == list(range(len(owned)))
    assert len(owned) <= BUCKETS


def test_two_salts_assign_independently_by_chi_square():
    """9 cells of 3 arms by 3 arms; 20 is beyond the 99.9th percentile of 4 degrees of freedom, 18.5."""
    weights = {"a": 0.3, "b": 0.3}
    holding = held(weights, weights)
    for pair in range(5):
        salts = (f"salt-{pair}-one", f"salt-{pair}-two")
        counts: dict[tuple[str, str], int] = {}
        for number in range(9000):
            cell = tuple(arm_of(bucket(salt, f"device-{number}"), holding) for salt in salts)
            counts[cell] = counts.get(cell, 0) + 1
        shares = {"a": 0.3, "b": 0.3, BASE: 0.4}
        expected = {(one, two): 9000 * shares[one] * shares[two] for one in shares for two in shares}
        assert sum((counts.get(cell, 0) - n) ** 2 / n for cell, n in expected.items()) < 20


def test_the_place_in_a_group_says_nothing_of_the_arm():
    inside = [unit for unit in (f"device-{n}" for n in range(20_000)) if bucket(group_salt("g"), unit) < 2500]
    assert len(inside) == pytest.approx(5000, abs=300)
    assert sum(bucket("some-salt", unit) < 1000 for unit in inside) / len(inside) == pytest.approx(0.1, abs=0.02)


def test_three_arms_get_their_shares():
    ramp, rng = plan({"a": 0.2, "b": 0.05}), random.Random(5)
    got = [ramp.arm_at(0, "some-salt", f"{rng.getrandbits(64):x}") for _ in range(20_000)]
    shares = {name: got.count(name) / len(got) for name in ("base", "a", "b")}
    assert shares == pytest.approx({"base": 0.75, "a": 0.2, "b": 0.05}, abs=0.013)


# -- whether an arm's model is there


@pytest.mark.parametrize(
    ("model", "named", "there"),
    [
        *((model, named, True) for model in ("q", "local/q", "q:latest", "local/q:latest") for named in ("q", "local/q", "q:latest")),
        ("q:4b", "q:4b", True), ("local/q:4b", "q:4b", True), ("q:4b", "local/q:4b", True),
        ("q", "q:4b", False), ("q:4b", "q", False), ("q:4b", "q:4b:latest", False), ("q", "Q", False), ("q", "qq", False),
    ],
)  # fmt: skip
def test_a_model_is_there_in_every_spelling_and_under_no_other_name(model: str, named: str, there: bool):
    arms = [SnapshotArm(name=BASE), SnapshotArm(name="a", buckets=(0, BUCKETS), model=model)]
    rules = Rules(
        SnapshotExperiment(
            id="x",
            name="x",
            version=1,
            status="running",
            step=0,
            salt=SALT,
            unit="device_id",
            arms=arms,
            eligibility=Eligibility(),
        )
    )
    assert rules.answer("device-1", Facts(models=[named])).gated == (None if there else "model_missing")


# -- plans that cannot work

A, B = {"name": "a", "adapter": "adapter:a@1"}, {"name": "b", "adapter": "adapter:b@1"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ramp": [{"weights": {"a": 0.5, "b": 0.1}}, {"weights": {"a": 0.4, "b": 0.1}}]}, r"ramp\.1\.weights\.a: 0\.4 is less than 0\.5"),
        ({"ramp": [{"weights": {"a": 0.1, "b": 0.1, "c": 0.1}}]}, r"ramp\.0\.weights: unknown arms \['c'\]; the plan's are"),
        ({"ramp": [{"weights": {"a": 0.1}}]}, r"ramp\.0\.weights: the arms \['b'\] are missing"),
        ({"ramp": [{"weights": {"base": 0.9, "a": 0.1, "b": 0.1}}]}, r"ramp\.0\.weights: weights must sum to 1, not 1\.1"),
        ({"ramp": [{"weights": {"a": 0.7, "b": 0.7}}]}, r"ramp\.0\.weights: weights must sum to 1, not 1\.4"),
        ({"ramp": [{"weights": {"a": 0.5, "b": 0.5}}]}, r"ramp\.0\.weights\.base: 0 is below 1/10000"),
        ({"ramp": [{"weights": {"a": 0.5, "b": 0}}]}, r"ramp\.0\.weights\.b: 0 is below 1/10000"),
        ({"ramp": [{"weights": {"a": 0.5, "b": 0.1}, "min_hours": 2, "max_hours": 1}]}, r"ramp\.0\.max_hours: 1 must be more"),
        ({"ramp": [{"weights": {"a": 0.5, "b": -0.1}}]}, "greater than or equal to 0"),
        ({"ramp": [{"weights": {"a": 0.5, "b": 0.1}, "min_unit": 1}]}, "min_unit"),
        ({"arms": [{"name": "base", "weight": 0.8}, A, B], "ramp": [{"weights": {"a": 0.1, "b": 0.2}}]}, r"arms\.0\.weight: 0\.8, but"),
        ({"group_share": 0.5}, r"group_share: 0\.5 of which group"),
        ({"group": "g", "group_share": 0}, "group_share"),
        ({"configs": ["x"], "eligibility": {"configs": ["y"]}}, r"eligibility\.configs: differs from configs"),
        ({"eligibility": {"context_sha256": ["abc"]}}, "context_sha256"),
        ({"eligibility": {"input_languages": ["English"]}}, "input_languages"),
        ({"metrics": [{"name": "safety_block"}]}, "exactly one must have the role 'primary'"),
        ({"metrics": [{"name": "favorite", "role": "primary"}]}, "safety_block must be among them"),
        ({"metrics": [{"name": "favorite", "role": "primary"}, {"name": "favorite"}, {"name": "safety_block"}]}, "named once"),
        ({"metrics": [{"name": "export", "role": "primary"}, {"name": "safety_block"}], "primary_metric": "favorite"}, "primary_metric: 'favorite', but"),
        ({"metrics": [{"name": "safety_block", "role": "primary"}]}, "guardrail"),
        ({"metrics": [{"name": "joy"}]}, "favorite"),
        ({"late_limit_hours": -1}, "late_limit_hours"),
    ],
)  # fmt: skip
def test_a_plan_in_steps_that_cannot_work_is_refused_with_field_and_value(changes: dict[str, Any], message: str):
    body = {"name": "p", "arms": [{"name": "base", "weight": 0.8}, A | {"weight": 0.1}, B | {"weight": 0.1}]}
    if "ramp" in changes and "arms" not in changes:
        body["arms"] = [{"name": "base"}, A, B]
    with pytest.raises(ValidationError, match=message):
        ExperimentPlan.model_validate(body | changes)


def test_what_is_said_once_is_understood_twice():
    ramp = plan({"a": 0.01}, {"a": 0.5}, configs=["x"])
    assert [arm.weight for arm in ramp.arms] == [0.99, 0.01]
    assert ramp.eligibility.configs == ["x"]
    assert plan({"a": 0.1}, eligibility={"configs": ["x"]}).configs == ["x"]
    assert ExperimentPlan.model_validate(ramp.model_dump(mode="json")) == ramp
    default = ExperimentPlan.model_validate({"name": "p", "arms": [{"name": "base"}, A]})
    assert default.weights(0) == {"base": 0.9, "a": 0.1}
