"""The events endpoint, attacked: any bytes and any values come to a verdict, never to a 500, and never come back in an answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from goldsmith.db import Connection
from tests.api.problems import problem
from tests.api.test_experiments_api import event, plan, running

__all__ = ["plan", "running"]

SECRET = "Ich heiße Anna und wohne hier"
JSON = {"content-type": "application/json"}
attacked = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

moments = st.one_of(
    st.just(datetime.now(UTC).isoformat()),
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.sampled_from(
        ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-11-21T10:00:60Z", "now", "infinity", "", "-1"]
    ),
    st.integers(),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(SECRET) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
ids = st.one_of(st.just("tablet-3"), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}", fullmatch=True), anything)
NAMES = [
    "exposure", "interception_completed", "stage_block", "generation_started", "generation_completed", "favorite_added",
    "regeneration", "user_edit", "export", "dwell_ms", "abandon", "error", "applause",
]  # fmt: skip
numbers = st.one_of(st.integers(-1, 20), st.integers(), st.floats(), anything)
data = st.one_of(
    anything,
    st.fixed_dictionaries(
        {},
        optional={
            "assigned": st.sampled_from(["base", "student", SECRET]), "gated": st.sampled_from(["stale", SECRET]), "step": numbers,
            "model_used": ids, "latency_ms": numbers, "wiki_iterations": numbers, "chars": numbers, "context_sha256": st.just("a" * 64),
            "sketch": st.sampled_from(["A" * 512, "_" * 512, SECRET]), "stage": st.sampled_from([1, 3, "safety", 3.0, True]),
            "method": st.sampled_from(["86a_filter", SECRET]), "safety_level": st.sampled_from(["kids", SECRET]),
            "edit_distance": numbers, "dwell_ms": numbers, "fallback_model": ids, "config_id": ids,
        },
    ),
)  # fmt: skip
events = st.one_of(
    anything,
    st.fixed_dictionaries(
        {"event_id": ids, "event": st.sampled_from(NAMES), "unit": ids, "occurred_at": moments},
        optional={"interception_run_id": ids, "data": data, SECRET: anything},
    ),
)


@attacked
@given(batch=st.lists(events, min_size=1, max_size=6))
def test_any_values_have_a_verdict_each_and_none_is_repeated(client: TestClient, running: str, batch: list[Any]) -> None:
    answer = client.post(f"{running}/events", content=json.dumps({"events": batch}), headers=JSON)
    if answer.status_code == 200:
        told = answer.json()
        assert told["accepted"] + told["duplicates"] + len(told["rejected"]) == len(batch)
        assert "Anna" not in answer.text
    else:
        assert answer.status_code in (400, 413, 422), answer.text


@attacked
@given(body=st.one_of(st.binary(), anything.map(lambda value: json.dumps(value).encode()), st.text().map(str.encode)))
@example(b"")
@example(b'{"events": [NaN]}')
@example(b'{"events": ')
@example(b'{"events": [{"unit": ' + b"[" * 100_000)
@example(b"\xef\xbb\xbf{}")
@example(b"9" * 5000)
def test_any_bytes_are_refused_in_words(client: TestClient, running: str, body: bytes) -> None:
    answer = client.post(f"{running}/events", content=body, headers=JSON)
    assert answer.status_code in (400, 413, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_too_much_at_once_is_refused_and_nothing_of_it_is_stored(client: TestClient, conn: Connection, running: str) -> None:
    many = json.dumps({"events": [event()] * 100_000})
    assert client.post(f"{running}/events", content=many, headers=JSON).status_code in (413, 422)
    long = json.dumps({"events": [event() | {"unit": "x" * 10_000_000}]})
    answer = client.post(f"{running}/events", content=long, headers=JSON)
    assert answer.status_code in (200, 413)
    assert len(answer.content) < 2000
    assert conn.execute("SELECT 1 FROM ab_events").fetchone() is None
    problem(client.post(f"{running}/events", json={"events": [event()] * 1001}), 422, "events", "at most 1000 items")


@pytest.mark.parametrize("ahead", [timedelta(minutes=6), timedelta(days=365), timedelta(days=2_900_000)])
def test_a_clock_in_the_future_is_told_the_time(client: TestClient, running: str, ahead: timedelta) -> None:
    told = client.post(
        f"{running}/events", json={"events": [event(occurred_at=(datetime.now(UTC) + ahead).isoformat())]}
    ).json()
    (error,) = told["rejected"][0]["errors"]
    assert error["field"] == "occurred_at"
    assert error["message"].startswith("lies more than 5 minutes in the future; it is 20")
