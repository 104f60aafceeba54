"""When is a guardrail in breach? Cases at the borders, worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from goldsmith.ab_guardrails import guardrail_looks
from goldsmith.ab_look import GuardrailLook
from goldsmith.ab_verdict import compare
from tests.ab_data import data, mixed

NAMES = ("safety_block", "latency", "error")


def looked(rows: list[dict[str, Any]], name: str = "safety_block", **guardrail: Any) -> GuardrailLook:
    metrics = [{"name": "favorite", "role": "primary"}, {"name": "safety_block"}]
    metrics = [one for one in metrics if one["name"] != name] + [{"name": name} | guardrail]
    given = data(rows, plan={"metrics": metrics}, lora_weight=0.5)
    return next(one for one in guardrail_looks(given, compare(given), bounds=True) if one.name == name)


def counted(base: tuple[int, int], lora: tuple[int, int]) -> list[dict[str, Any]]:
    """Units of one attempt each, and how many of them were blocked."""
    sizes = {"base": base[0], "lora": lora[0]}
    return mixed(sizes, blocks=(base[1] / base[0] + 1e-9, lora[1] / lora[0] + 1e-9))


def test_more_than_five_points_is_more_than_five_points():
    """2 % against 7 % is a rise of 5.0 points, 7.1 % of 5.1. That there is one is beyond doubt in both."""
    at, beyond = looked(counted((1000, 20), (1000, 70))), looked(counted((1000, 20), (1000, 71)))
    assert (at.state, beyond.state) == ("watch", "breach")
    for one in (at, beyond):
        assert isinstance(one.numbers["e_value"], float)
        assert one.numbers["e_value"] > 100
        assert isinstance(one.numbers["lower"], float)
        assert one.numbers["lower"] > 0
    assert "within the 5.0 points that are allowed" in at.words


@pytest.mark.parametrize(("base", "lora"), [((100, 7), (100, 12)), ((1000, 10), (1000, 60))])
def test_a_rise_of_five_points_is_not_more_by_the_rounding_of_floats(base: tuple[int, int], lora: tuple[int, int]):
    assert looked(counted(base, lora)).state != "breach"


def test_a_rise_that_may_be_chance_is_no_breach():
    """7 of 50 against 2 of 50: 10 points, which one unit in twenty gives by chance."""
    found = looked(counted((50, 2), (50, 7)))
    assert found.state == "watch"
    assert isinstance(found.numbers["e_value"], float)
    assert 1 < found.numbers["e_value"] < 100
    assert isinstance(found.numbers["lower"], float)
    assert found.numbers["lower"] < 0


@pytest.mark.parametrize(("attempts", "state"), [(49, "unknown"), (50, "breach")])
def test_nothing_is_a_breach_before_the_fiftieth_attempt(attempts: int, state: str):
    assert looked(counted((450, 9), (attempts, attempts))).state == state


def test_alpha_is_the_limit_of_the_evidence():
    """The same numbers under an alpha just above and just below what they prove."""
    rows = counted((300, 6), (300, 30))
    proved = looked(rows).numbers["e_value"]
    assert isinstance(proved, float)
    assert math.isfinite(proved)
    for factor, state in ((1.01, "breach"), (0.99, "watch")):
        assert looked(rows, alpha=factor / proved).state == state


def test_the_ceiling_is_absolute():
    rows = counted((300, 120), (300, 120))
    assert looked(rows, ceiling=0.25).state == "breach"
    assert looked(rows, ceiling=0.45).state == "ok"
    assert looked(rows, ceiling=None).state == "ok"


@pytest.mark.parametrize(("name", "column"), [("latency", "slow"), ("error", "errors")])
def test_latency_and_errors_are_watched_by_the_same_rule(name: str, column: str):
    def state(units: int, share: float) -> str:
        return looked(mixed({"base": 300, "lora": units}, **{column: (0.02, share)}), name).state

    assert [state(49, 0.9), state(50, 0.9), state(300, 0.02)] == ["unknown", "breach", "ok"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("silent", ["base", "lora"])
def test_what_an_arm_does_not_tell_is_unknown_and_not_zero(name: str, silent: str):
    counts: Mapping[str, int] = {"attempts": 0, "interceptions": 0}
    rows = [row | (counts if row["arm"] == silent else {}) for row in mixed({"base": 300, "lora": 300})]
    found = looked(rows, name)
    assert found.state == "unknown"
    assert found.numbers["base" if silent == "base" else "arm"] is None
    assert f"of {silent} " in found.words


def test_entropy_without_sketches_is_unknown():
    assert looked(mixed({"base": 300, "lora": 300}), "entropy").state == "unknown"


@pytest.mark.parametrize("silent", ["base", "lora"])
def test_where_the_check_itself_failed_no_block_is_no_safety(silent: str):
    def found(share: float, blocks: float = 0.02) -> GuardrailLook:
        shares = (share, 0.0) if silent == "base" else (0.0, share)
        return looked(mixed({"base": 300, "lora": 300}, blocks=(0.02, blocks), unchecked=shares))

    assert found(0.5).state == "ok"
    assert found(0.6).state == "unknown"
    assert f"in 180 of {silent}'s 300 generation attempts the safety check itself failed" in found(0.6).words
    assert found(0.6, blocks=0.4).state == "breach", "what is proved all the same acts"
