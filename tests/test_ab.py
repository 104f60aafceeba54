from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from goldsmith.ab import BUCKETS, EVENTS, Arm, NewExperiment, assign, bucket, event_errors, parse_event
from goldsmith.client.sketch import sketch

ROOT = Path(__file__).parent.parent


def arms(lora: float) -> list[Arm]:
    return [
        Arm(name="base", weight=round(1 - lora, 4)),
        Arm(name="lora", weight=lora, adapter="adapter:workshop@1"),
    ]


def plan(**changes: Any) -> dict[str, Any]:
    return {
        "name": "spring",
        "arms": [{"name": "base", "weight": 0.9}, {"name": "lora", "weight": 0.1, "adapter": "adapter:workshop@1"}],
    } | changes


def completed(**changes: Any) -> dict[str, Any]:
    data = {"model_used": "local/qwen3:4b", "latency_ms": 900, "wiki_iterations": 0, "chars": 400, "context_sha256": "a" * 64}
    return {
        "event_id": "e1",
        "event": "interception_completed",
        "unit": "device-1",
        "interception_run_id": "run_1_abc",
        "occurred_at": "2025-03-10T09:00:00+01:00",
        "data": data | changes.pop("data", {}),
    } | changes


# -- assignment


def test_the_published_test_vectors_hold():
    page = (ROOT / "docs" / "assignment.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (\d+) \| (\w+) \| (\w+) \|$", page, re.MULTILINE)
    assert len(rows) >= 8
    assert {row[3] for row in rows} == {"base", "lora"}, "both arms are shown"
    for salt, unit, number, at_tenth, at_half in rows:
        assert bucket(salt, unit) == int(number)
        assert assign(salt, unit, arms(0.1)).name == at_tenth
        assert assign(salt, unit, arms(0.5)).name == at_half


def test_a_growing_weight_never_moves_a_unit_back_to_base():
    units = [f"device-{number}" for number in range(3000)]
    before: set[str] = set()
    for weight in (0.01, 0.1, 0.3, 0.5, 1 - 1 / BUCKETS):
        now = {unit for unit in units if assign("salt-of-a-ramp", unit, arms(weight)).name == "lora"}
        assert before < now
        before = now


def test_the_share_of_units_is_the_weight():
    lora = sum(assign("some-salt", f"{number:x}", arms(0.1)).name == "lora" for number in range(20_000))
    assert lora / 20_000 == pytest.approx(0.1, abs=0.01)  # 4.7 standard deviations


def test_two_experiments_assign_independently():
    units = [str(number) for number in range(20_000)]
    first = {unit for unit in units if assign("first-salt", unit, arms(0.5)).name == "lora"}
    both = sum(assign("second-salt", unit, arms(0.5)).name == "lora" for unit in first)
    assert both / len(first) == pytest.approx(0.5, abs=0.025)


# -- plans


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": [{"name": "base", "weight": 0.9}, {"name": "lora", "weight": 0.2, "adapter": "adapter:a@1"}]}, "sum to 1"),
        ({"arms": [{"name": "base", "weight": 0.5}, {"name": "base", "weight": 0.5}]}, "exactly one must be named 'base'"),
        ({"arms": [{"name": "a", "weight": 0.5}, {"name": "b", "weight": 0.5}]}, "exactly one must be named 'base'"),
        ({"arms": [{"name": "base", "weight": 0.9}, {"name": "lora", "weight": 0.1}]}, "needs an adapter"),
        (
            {
                "arms": [
                    {"name": "base", "weight": 0.9, "adapter": "adapter:a@1"},
                    {"name": "lora", "weight": 0.1, "adapter": "adapter:a@1"},
                ]
            },
            "has no adapter",
        ),
        (
            {"arms": [{"name": "base", "weight": 0.99999}, {"name": "lora", "weight": 0.00001, "adapter": "adapter:a@1"}]},
            "no unit would get it",
        ),
        (
            {
                "arms": [
                    {"name": "base", "weight": 0.9, "model": "m"},
                    {"name": "lora", "weight": 0.1, "model": "m", "adapter": "adapter:a@1"},
                ]
            },
            "must tell the arms apart",
        ),
        ({"arms": [{"name": "base", "weight": 1}]}, "at least 2"),
        ({"salt": "short"}, "salt"),
        ({"salt": "has a newline\n"}, "salt"),
        ({"alpha": 0}, "alpha"),
        ({"safety_margin": -0.1}, "safety_margin"),
        ({"min_unit": 3}, "min_unit"),
        ({"unit": "child"}, "unit"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_with_the_reason(changes: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        NewExperiment.model_validate(plan(**changes))


def test_weights_may_be_off_by_rounding_and_no_more():
    def weighing(lora: float) -> dict[str, Any]:
        return plan(arms=[{"name": "base", "weight": 0.7}, {"name": "lora", "weight": lora, "adapter": "adapter:a@1"}])

    assert NewExperiment.model_validate(weighing(0.3 - 1e-12)).treated.weight == pytest.approx(0.3)
    with pytest.raises(ValidationError, match="sum to 1"):
        NewExperiment.model_validate(weighing(0.3 - 1e-6))


# -- events


def test_every_event_is_known_by_its_name():
    assert len(EVENTS) == len(set(EVENTS)) == 13


def test_a_sketch_is_accepted():
    for drawn in (sketch("", b"k" * 32), sketch("A heron of paper " * 5000, b"k" * 32), "A" * 512, "_" * 512):
        assert parse_event(completed(data={"sketch": drawn})).data.sketch == drawn


def test_a_completed_interception_is_accepted():
    assert parse_event(completed()).data.model_used == "local/qwen3:4b"


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (completed(event="thoughts"), "event"),
        (completed(note="a secret"), "note"),
        (completed(data={"text": "a secret"}), "data.text"),
        (completed(data={"model_used": "a secret sentence"}), "data.model_used"),
        (completed(data={"chars": "a secret"}), "data.chars"),
        (completed(data={"chars": "12"}), "data.chars"),
        (completed(data={"latency_ms": -1}), "data.latency_ms"),
        (completed(data={"latency_ms": True}), "data.latency_ms"),
        (completed(data={"context_sha256": "a secret"}), "data.context_sha256"),
        (completed(data={"sketch": base64.urlsafe_b64encode(b"a secret story. " * 24).decode()}), "data.sketch"),
        (completed(data={"sketch": base64.urlsafe_b64encode("Größi!\n".encode() * 42 + b"      ").decode()}), "data.sketch"),
        (completed(unit="anna@school.example"), "unit"),
        (completed(unit="a secret"), "unit"),
        (completed(unit="d" * 129), "unit"),
        (completed(event_id="nul\0"), "event_id"),
        (completed(interception_run_id=None), "interception_run_id"),
        (completed(occurred_at="2025-03-10T09:00:00"), "occurred_at"),
        (completed(occurred_at=1741590000), "occurred_at"),
        (completed(occurred_at="1970-01-01T00:00:00Z"), "occurred_at"),
        (completed(event="exposure", data={"a secret": 1}), "data.…"),
        (completed() | {"event": "stage_block", "data": {"stage": 2, "method": "a_secret"}}, "data.stage"),
        (completed() | {"event": "stage_block", "data": {"stage": 3, "method": "a secret"}}, "data.method"),
        (completed() | {"event": "generation_started", "data": {}}, "data.safety_level"),
        (completed() | {"event": "dwell_ms", "data": {"dwell_ms": -1}}, "data.dwell_ms"),
        (completed() | {"event": "dwell_ms", "data": {}, "abandon": 1}, "abandon"),
        (completed() | {"event": "favorite_added", "data": {"user_note": "a secret"}}, "data.user_note"),
        (completed() | {"event": "error", "data": {"fallback_model": "a secret"}}, "data.fallback_model"),
    ],
)
def test_a_wrong_event_is_refused_by_field_and_its_value_never_repeated(event: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as caught:
        parse_event(event)
    errors = event_errors(caught.value)
    assert field in [error["field"] for error in errors]
    assert "secret" not in json.dumps(errors)


def test_the_words_of_an_experiment_need_no_server():
    server = {"psycopg", "celery", "fastapi", "numpy"}
    code = f"import sys, goldsmith.ab, goldsmith.kinds.ab_report.schema; print(sorted({server} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
