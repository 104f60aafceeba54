"""`/v1/schedules` over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.problems import problem

NIGHTLY = {"name": "nightly", "cron": "0 3 * * *", "time_zone": "Europe/Berlin", "config": {"kind": "noop"}}


def test_create_read_change_and_remove(client: TestClient) -> None:
    made = client.post("/v1/schedules", json=NIGHTLY)
    assert made.status_code == 201, made.text
    assert made.headers["location"] == "/v1/schedules/nightly"
    problem(client.post("/v1/schedules", json=NIGHTLY), 409, None, "nightly")
    assert client.get("/v1/schedules").json() == [made.json()]

    changed = client.patch("/v1/schedules/nightly", json={"cron": "30 4 * * *", "enabled": False}).json()
    assert (changed["cron"], changed["enabled"], changed["time_zone"]) == ("30 4 * * *", False, "Europe/Berlin")
    assert client.get("/v1/schedules/nightly").json() == changed
    times = client.get("/v1/schedules/nightly/preview").json()["next_times"]
    assert len(times) == 5
    assert all("T04:30:00+0" in time for time in times)

    assert client.delete("/v1/schedules/nightly").status_code == 204
    for answer in (
        client.get("/v1/schedules/nightly"),
        client.get("/v1/schedules/nightly/preview"),
        client.patch("/v1/schedules/nightly", json={}),
        client.delete("/v1/schedules/nightly"),
    ):
        problem(answer, 404, None, "there is no schedule 'nightly'")


@pytest.mark.parametrize(
    ("more", "field", "says"),
    [
        ({"cron": "0 25 * * *"}, "", "bad hour"),
        ({"time_zone": "Berlin"}, "time_zone", "no time zone"),
        ({"config": {"kind": "nonsense"}}, "config.kind", "must be one of"),
        ({"options": {"depends_on": []}}, "options.depends_on", "times of its own"),
        ({"every": "day"}, "every", "unknown key"),
    ],
)
def test_a_wrong_field_is_named(client: TestClient, more: dict[str, Any], field: str, says: str) -> None:
    problem(client.post("/v1/schedules", json=NIGHTLY | more), 422, field, says)


def test_a_change_to_a_wrong_cron_changes_nothing(client: TestClient) -> None:
    client.post("/v1/schedules", json=NIGHTLY)
    problem(client.patch("/v1/schedules/nightly", json={"cron": "x * * * *"}), 422, "cron", "bad minute")
    assert client.get("/v1/schedules/nightly").json()["cron"] == NIGHTLY["cron"]


@pytest.mark.parametrize("wrong", [1, "true", 0])
def test_a_value_of_another_type_is_refused_and_not_made_to_fit(client: TestClient, wrong: object) -> None:
    problem(client.post("/v1/schedules", json=NIGHTLY | {"enabled": wrong}), 422, "enabled")
    assert client.post("/v1/schedules", json=NIGHTLY | {"enabled": False}).status_code == 201
    problem(client.patch("/v1/schedules/nightly", json={"enabled": wrong}), 422, "enabled")
