"""Whatever is sent, the answer to a mistake is a problem document that says what is wrong; never a 500."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb
from starlette.testclient import TestClient

from api import body
from api.app import create_app
from goldsmith.db import Connection
from goldsmith.errors import GoldsmithError
from goldsmith.kinds.registry import BUILT_IN
from goldsmith.settings import Settings
from tests.api.conftest import Serve
from tests.api.problems import problem

JSON = {"content-type": "application/json"}
NOBODY = "00000000-0000-7000-8000-000000000000"
TRAIN = {"kind": "train", "dataset": "dataset:gold@1", "name": "workshop"}
CORPUS = {"kind": "corpus", "name": "corpus"}
NOOP = {"kind": "noop"}
EVERY_KIND = ", ".join(kind.config.model_fields["kind"].default for kind in BUILT_IN)


def row(conn: Connection, kind: str, status: str) -> UUID:
    found = conn.execute(
        "INSERT INTO jobs (kind, config, status, queue, timeout, completed_at, error, run_at) VALUES (%(kind)s, %(config)s,"
        " %(status)s, 'io', 60, CASE WHEN %(status)s IN ('completed', 'failed', 'cancelled') THEN now() END,"
        " CASE WHEN %(status)s = 'failed' THEN '{\"detail\": \"on purpose\"}'::jsonb END,"
        " CASE WHEN %(status)s = 'scheduled' THEN now() + interval '1 day' END) RETURNING id",
        {"kind": kind, "config": Jsonb({"kind": kind}), "status": status},
    ).fetchone()
    assert found is not None
    return UUID(str(found["id"]))


def count(conn: Connection) -> int:
    found = conn.execute("SELECT count(*) AS n FROM jobs").fetchone()
    assert found is not None
    return int(found["n"])


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"kind": "nonsense"}, "kind", EVERY_KIND),
        ({}, "kind", "must be one of"),
        ({"kind": None}, "kind", "must be one of"),
        ({"kind": ["train"]}, "kind", "must be one of"),
        ({"kind": {"train": 1}}, "kind", "must be one of"),
        ({"kind": "x" * 5000}, "kind", "must be one of"),
        (TRAIN | {"learning_rat": 1}, "learning_rat", "learning_rate"),
        (TRAIN | {"learning_rate": 2}, "learning_rate", "less than or equal to 1"),
        (TRAIN | {"learning_rate": -1}, "learning_rate", "greater than 0"),
        (TRAIN | {"lora_r": "sixteen"}, "lora_r", "valid integer"),
        (TRAIN | {"lora_r": 2**62}, "lora_r", "less than or equal to 512"),
        (TRAIN | {"lora_r": 0}, "lora_r", "greater than or equal to 1"),
        (TRAIN | {"load_in_3bit": True}, "load_in_3bit", "4 bits (method: qlora) or not at all"),
        (TRAIN | {"load_in_4bit": True, "method": "dora"}, "load_in_4bit", "only method qlora"),
        (TRAIN | {"num_train_epochs": 60}, "num_train_epochs", "more than max_epochs 50"),
        (TRAIN | {"lora_target_modules": "q_proj"}, "lora_target_modules", "valid list"),
        (TRAIN | {"lora_target_modules": ["q proj"]}, "lora_target_modules.0", "match pattern"),
        (TRAIN | {"name": "Not A Name"}, "name", "match pattern"),
        (TRAIN | {"name": "workshop\n"}, "name", "match pattern"),
        ({"kind": "train", "name": "workshop"}, "dataset", "required"),
        (CORPUS | {"runs": f"job:{NOBODY}", "min_words": 5, "max_words": 4}, "min_words", "5 is above max_words 4"),
        (NOOP | {"options": []}, "options", "object"),
        (NOOP | {"options": None}, "options", "object"),
        (NOOP | {"options": {"priority": "5"}}, "options.priority", "valid integer"),
        (NOOP | {"options": {"priority": True}}, "options.priority", "valid integer"),
        (NOOP | {"options": {"run_at": 4102444800}}, "options.run_at", "ISO 8601"),
        (NOOP | {"options": {"run_at": "4102444800"}}, "options.run_at", "ISO 8601"),
        (NOOP | {"wait_s": "1"}, "wait_s", "valid number"),
        (NOOP | {"wait_s": True}, "wait_s", "valid number"),
        (TRAIN | {"lora_r": "16"}, "lora_r", "valid integer"),
        (TRAIN | {"load_in_4bit": "yes"}, "load_in_4bit", "valid boolean"),
        (TRAIN | {"load_in_4bit": 1}, "load_in_4bit", "valid boolean"),
        (NOOP | {"options": {"priority": 10}}, "options.priority", "less than or equal to 9"),
        (NOOP | {"options": {"priority": -1}}, "options.priority", "greater than or equal to 0"),
        (NOOP | {"options": {"priority": "high"}}, "options.priority", "valid integer"),
        (NOOP | {"options": {"prio": 1}}, "options.prio", "unknown key"),
        (NOOP | {"options": {"run_at": "2030-01-01T00:00:00"}}, "options.run_at", "timezone"),
        (NOOP | {"options": {"run_at": "9999-12-31T23:59:59-12:00"}}, "options.run_at", "less than"),
        (NOOP | {"options": {"run_at": "0001-01-01T00:00:00+12:00"}}, "options.run_at", "greater than"),
        (NOOP | {"options": {"max_attempts": 0}}, "options.max_attempts", "greater than or equal to 1"),
        (NOOP | {"options": {"timeout_s": 10**9}}, "options.timeout_s", "less than or equal to 604800"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(
    shared: TestClient, shared_conn: Connection, body: dict[str, Any], field: str, says: str
) -> None:
    before = count(shared_conn)
    refused = problem(shared.post("/v1/jobs", json=body), 422, field, says)
    assert field in refused["detail"], "the detail names the field too"
    assert "Value error" not in json.dumps(refused)
    assert count(shared_conn) == before


def test_a_wrong_number_stands_in_the_sentence_itself(shared: TestClient) -> None:
    gold = {"kind": "gold", "dataset": "dataset:prompts@1", "name": "gold", "teacher": "rehearsal", "budget_usd": 0}
    detail = problem(shared.post("/v1/jobs", json=gold), 422)["detail"]
    assert "budget_usd: Input should be greater than 0, not 0" in detail


def test_of_very_many_mistakes_the_first_are_told_and_the_others_counted(shared: TestClient) -> None:
    refused = shared.post("/v1/jobs", json=NOOP | {"k" * 500 + str(number): 1 for number in range(150)})
    errors = problem(refused, 422, says="`errors` has the others")["errors"]
    assert (len(errors), errors[-1]) == (51, {"field": "", "message": "and 100 more"})
    assert len(refused.content) < 30_000


def test_a_wrong_value_is_repeated_only_in_short(shared: TestClient) -> None:
    body = TRAIN | {"base_model": ["x" * 1000] * 50, "backend": "y" * 1000, "name": {"z": 1}, "lora_r": 10**18}
    found = problem(shared.post("/v1/jobs", json=body), 422)["errors"]
    assert {entry["field"]: entry["value"] for entry in found} == {
        "base_model": "an array of 50",
        "backend": "y" * 200 + "…",
        "name": "an object with 1 keys",
        "lora_r": "1000000000000000000",
    }


def test_a_missing_field_has_no_value(shared: TestClient) -> None:
    found = problem(shared.post("/v1/jobs", json={"kind": "train", "name": "workshop"}), 422, "dataset")["errors"]
    assert found == [{"field": "dataset", "message": "Field required"}]


@pytest.mark.parametrize("body", [[1] * 200_001, [[]] * 200_001, [{str(n): n for n in range(1000)}] * 201])
def test_a_body_of_too_many_values_is_refused_before_anything_looks_at_them(client: TestClient, body: list[Any]) -> None:
    for path in ("/v1/jobs", "/v1/experiments", f"/v1/experiments/{NOBODY}/events"):
        problem(client.post(path, json={"kind": "noop", "events": body}), 413, says="more than 200,000 values")


def test_a_body_of_too_many_keys_is_refused(client: TestClient) -> None:
    problem(client.post("/v1/jobs", json=NOOP | {str(number): 1 for number in range(1000)}), 413, says="more than 1,000 keys")


def test_a_large_body_is_read_off_the_event_loop(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    parse = body._parse
    monkeypatch.setattr(body, "_parse", lambda raw, *more: threads.append(threading.current_thread()) or parse(raw, *more))
    for size in (10, 200_000):
        problem(client.post("/v1/jobs", json={"kind": "noop", "x": "y" * size}), 422, "x", "unknown key")
    assert [thread.name.startswith("AnyIO worker thread") for thread in threads] == [False, True]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (CORPUS | {"runs": "job:1"}, "runs"),
        (CORPUS | {"runs": NOBODY}, "runs"),
        (CORPUS | {"runs": f"job:{NOBODY}; DROP TABLE jobs"}, "runs"),
        (CORPUS | {"runs": f"job:{NOBODY.upper().replace('0', 'A')}"}, "runs"),
        (CORPUS | {"runs": f"job:{NOBODY}", "contexts": f"job:{NOBODY}/../../etc/passwd"}, "contexts"),
        (TRAIN | {"dataset": "dataset:gold"}, "dataset"),
        (TRAIN | {"dataset": "dataset:gold@0"}, "dataset"),
        (TRAIN | {"dataset": "dataset:gold@newest"}, "dataset"),
        ({"kind": "evaluate", "dataset": "dataset:gold@1", "adapter": "adapter:workshop"}, "adapter"),
        ({"kind": "ab_report", "experiment": "first"}, "experiment"),
    ],
)
def test_a_malformed_reference_is_refused(shared: TestClient, body: dict[str, Any], field: str) -> None:
    problem(shared.post("/v1/jobs", json=body), 422, field, "match pattern")


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (CORPUS | {"runs": f"job:{NOBODY}"}, "runs", f"there is no job {NOBODY}"),
        ({"kind": "cluster", "rules": f"job:{NOBODY}", "runs": f"job:{NOBODY}"}, "rules", f"there is no job {NOBODY}"),
        (TRAIN, "dataset", "gold"),
        (TRAIN | {"dataset": "dataset:gold@latest"}, "dataset", "gold"),
        ({"kind": "ab_report", "experiment": NOBODY}, "experiment", f"there is no experiment {NOBODY}"),
        (
            {"kind": "intercept", "config_id": "clay", "user_input": "a fox", "adapter": "adapter:w@champion"},
            "adapter",
            "known adapters",
        ),
    ],
)
def test_a_reference_to_what_is_not_there_is_refused(shared: TestClient, body: dict[str, Any], field: str, says: str) -> None:
    problem(shared.post("/v1/jobs", json=body), 422, field, says)


def test_a_reference_to_an_adapter_that_is_not_there_is_refused(serve: Serve, conn: Connection) -> None:
    made = conn.execute("INSERT INTO datasets (name) VALUES ('gold') RETURNING id").fetchone()
    assert made is not None
    conn.execute(
        "INSERT INTO dataset_versions (dataset_id, version, content_sha256, counts, manifest, parents, rehearsal)"
        " VALUES (%s, 1, 'x', '{}', '{}', '{}', true)",
        (made["id"],),
    )
    body = {"kind": "evaluate", "dataset": "dataset:gold@latest", "adapter": "adapter:workshop@1"}
    problem(serve().post("/v1/jobs", json=body), 422, "adapter", "there is no adapter:workshop@1; known adapters: none yet")


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_reference_to_a_job_that_left_nothing_is_refused(shared: TestClient, shared_conn: Connection, status: str) -> None:
    parent = row(shared_conn, "import", status)
    problem(shared.post("/v1/jobs", json=CORPUS | {"runs": f"job:{parent}"}), 422, "runs", f"is {status}")


@pytest.mark.parametrize(
    ("body", "field", "wanted"),
    [
        (CORPUS | {"runs": "job:{noop}"}, "runs", "import"),
        ({"kind": "rules", "runs": "job:{noop}", "teacher": "rehearsal", "budget_usd": 1}, "runs", "import"),
        ({"kind": "cluster", "rules": "job:{rules}", "runs": "job:{noop}"}, "runs", "import"),
        ({"kind": "cluster", "rules": "job:{noop}", "runs": "job:{import}"}, "rules", "rules"),
    ],
)
def test_a_reference_to_a_job_of_another_kind_is_refused(
    shared: TestClient, shared_conn: Connection, body: dict[str, Any], field: str, wanted: str
) -> None:
    ids = {kind: row(shared_conn, kind, "completed") for kind in ("noop", "rules", "import")}
    body = {key: value.format(**ids) if isinstance(value, str) else value for key, value in body.items()}
    problem(shared.post("/v1/jobs", json=body), 422, field, f"is a noop job; this must point to a job of kind {wanted}")


def test_a_reference_to_an_artifact_that_a_finished_job_does_not_have_is_refused(
    shared: TestClient, shared_conn: Connection
) -> None:
    done = row(shared_conn, "import", "completed")
    body = CORPUS | {"runs": f"job:{done}", "contexts": f"job:{done}/contexts.json"}
    problem(shared.post("/v1/jobs", json=body), 422, "contexts", "has no artifact 'contexts.json'")


@pytest.mark.parametrize("status", ["waiting", "scheduled", "queued"])
def test_a_job_that_points_to_an_unfinished_one_waits_for_it(shared: TestClient, shared_conn: Connection, status: str) -> None:
    parent = row(shared_conn, "import", status)
    answer = shared.post("/v1/jobs", json=CORPUS | {"runs": f"job:{parent}"})
    assert (answer.status_code, answer.json()["status"]) == (202, "waiting")
    found = shared_conn.execute("SELECT parent_id FROM job_dependencies WHERE job_id = %s", (answer.json()["id"],)).fetchall()
    assert [each["parent_id"] for each in found] == [parent]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "is not JSON"),
        (b"kind=noop", "is not JSON"),
        (b'{"kind": "noop"', "is not JSON"),
        (b"{'kind': 'noop'}", "is not JSON"),
        (b'{"kind": "noop", "wait_s": NaN}', "NaN is not JSON"),
        (b'{"kind": "noop", "wait_s": Infinity}', "Infinity is not JSON"),
        (b'{"kind": "noop", "wait_s": -Infinity}', "-Infinity is not JSON"),
        (b'\xef\xbb\xbf{"kind": "noop"}', "is not JSON"),
        (b'{"kind": "no\xff"}', "not UTF-8 (byte 12)"),
        ('{"kind": "noop"}'.encode("utf-16"), "not UTF-8"),
        (b'{"kind": "noop", "x": ' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper than 64"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested deeper than 64"),
        (b"[" * 40_000, "nested too deeply"),
    ],
)
def test_a_body_that_is_not_json_is_a_400(shared: TestClient, body: bytes, says: str) -> None:
    for path in ("/v1/jobs", "/api/job/start", "/v1/experiments"):
        problem(shared.post(path, content=body, headers=JSON), 400, says=says)


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (b"[]", "", "a JSON object, not an array"),
        (b'"noop"', "", "a JSON object, not a string"),
        (b"17", "", "a JSON object, not a number"),
        (b"null", "", "a JSON object, not null"),
        (rb'{"kind": "train", "name": "a\u0000b"}', "name", "NUL or lone surrogates"),
        (rb'{"kind": "train", "name": "\ud800"}', "name", "NUL or lone surrogates"),
        (rb'{"kind": "train", "configs": ["fine", "\udfff"]}', "configs.1", "NUL or lone surrogates"),
        (rb'{"kind": "noop", "\ud800": 1}', "?", "NUL or lone surrogates"),
        (b'{"kind": "noop", "wait_s": 9223372036854775808}', "wait_s", "64 bits"),
        (b'{"kind": "noop", "wait_s": -' + b"9" * 400 + b"}", "wait_s", "64 bits"),
        (b'{"kind": "noop", "wait_s": ' + b"9" * 5000 + b"}", "wait_s", "64 bits"),
        (b'{"kind": "noop", "wait_s": 1e999}', "wait_s", "64 bits"),
        (b'{"kind": "noop", "nonsense": [-1e999]}', "nonsense.0", "64 bits"),
    ],
)
def test_json_that_cannot_be_stored_is_a_422(shared: TestClient, body: bytes, field: str, says: str) -> None:
    for path in ("/v1/jobs", "/api/job/start", "/v1/experiments"):
        problem(shared.post(path, content=body, headers=JSON), 422, field, says)


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_another_content_type_is_a_415(shared: TestClient, media_type: str) -> None:
    headers = {"content-type": media_type} if media_type else {}
    problem(shared.post("/v1/jobs", content=b'{"kind": "noop"}', headers=headers), 415, says="application/json")


def test_a_body_over_the_limit_is_a_413_with_and_without_its_length(shared: TestClient, shared_conn: Connection) -> None:
    body = json.dumps({"kind": "noop", "x": "y" * 100_000}).encode()
    before = count(shared_conn)

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    for path in ("/v1/jobs", "/api/job/start", "/v1/experiments"):
        problem(shared.post(path, content=body, headers=JSON), 413, says="larger than 100000 bytes")
        problem(shared.post(path, content=chunks(), headers=JSON), 413, says="larger than 100000 bytes")
    assert count(shared_conn) == before
    assert shared.post("/v1/jobs", json={"kind": "noop"}).status_code == 202


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/{id}"),
        ("GET", "/v1/jobs/{id}/events"),
        ("GET", "/v1/jobs/{id}/artifacts"),
        ("GET", "/v1/jobs/{id}/artifacts/report.md"),
        ("POST", "/v1/jobs/{id}/cancel"),
        ("POST", "/v1/jobs/{id}/retry"),
        ("GET", "/v1/experiments/{id}"),
        ("GET", "/v1/experiments/{id}/report"),
        ("POST", "/v1/experiments/{id}/start"),
        ("POST", "/v1/experiments/{id}/end"),
    ],
)
def test_an_unknown_id_is_a_404_and_a_malformed_one_a_422(shared: TestClient, method: str, path: str) -> None:
    unknown = str(uuid4())
    problem(shared.request(method, path.format(id=unknown)), 404, says=unknown)
    field = "job_id" if "jobs" in path else "experiment_id"
    problem(shared.request(method, path.format(id="17")), 422, field, "UUID")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", {"GET", "POST"}),
        ("DELETE", f"/v1/jobs/{NOBODY}", {"GET", "PATCH"}),
        ("GET", f"/v1/jobs/{NOBODY}/cancel", {"POST"}),
        ("PATCH", "/v1/experiments", {"GET", "POST"}),
        ("POST", "/v1/kinds", {"GET"}),
        ("GET", "/api/job/start", {"POST"}),
        ("POST", "/healthz", {"GET"}),
        ("GET", "/v1/adapters/workshop/aliases/champion", {"PUT", "DELETE"}),
    ],
)
def test_a_wrong_method_is_a_405_that_says_which_are_right(
    shared: TestClient, method: str, path: str, allowed: set[str]
) -> None:
    answer = shared.request(method, path)
    problem(answer, 405, says="allowed: ")
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/jobz", "/v2/jobs", "/api/job", "/v1/jobs/%00", "/.env", "/v1/jobs/../../etc"]
)
def test_an_unknown_path_is_a_problem_document(shared: TestClient, path: str) -> None:
    answer = shared.get(path)
    problem(answer, 422 if "%00" in path else 404)


@pytest.mark.parametrize(
    ("path", "field", "says"),
    [
        ("/v1/jobs?limit=0", "limit", "greater than or equal to 1"),
        ("/v1/jobs?limit=501", "limit", "less than or equal to 500"),
        ("/v1/jobs?limit=many", "limit", "valid integer"),
        ("/v1/jobs?cursor=garbage", "cursor", "UUID"),
        ("/v1/jobs?created_after=2026-01-01T00:00:00", "created_after", "timezone"),
        ("/v1/jobs?created_after=yesterday", "created_after", "datetime"),
        ("/v1/jobs?created_after=1700000000", "created_after", "ISO 8601"),
        ("/v1/jobs?stauts=failed", "stauts", "the known ones are: kind, status, created_after, submitted_by, cursor, limit"),
        ("/v1/kinds?kind=train", "kind", "there are none here"),
        ("/v1/experiments?state=running", "state", "status, name, limit"),
        ("/v1/jobs?status=done", "status", "'waiting', 'scheduled', 'queued'"),
        ("/v1/jobs?kind=nonsense", "kind", "must be one of: import"),
        ("/v1/jobs?kind=%00", "kind", "must be one of: import"),
        (f"/v1/jobs/{NOBODY}/events?after=-1", "after", "greater than or equal to 0"),
        (f"/v1/jobs/{NOBODY}/events?limit=5001", "limit", "less than or equal to 5000"),
        ("/v1/datasets/Gold", "name", "match pattern"),
        ("/v1/datasets/gold/latest", "version", "valid integer"),
        ("/v1/datasets/gold/0", "version", "greater than or equal to 1"),
        ("/v1/datasets/gold/1/examples?split=test", "split", "'train' or 'heldout'"),
        ("/v1/datasets/gold/1/examples?offset=-1", "offset", "greater than or equal to 0"),
        ("/v1/adapters?limit=0", "limit", "greater than or equal to 1"),
        ("/v1/adapters/workshop/Champion", "version", "match pattern"),
        ("/v1/experiments?limit=1001", "limit", "less than or equal to 1000"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(shared: TestClient, path: str, field: str, says: str) -> None:
    problem(shared.get(path), 422, field, says)


@pytest.mark.parametrize("key", ["k" * 256, "two words", "tab\there", "schlüssel", ""])
def test_an_idempotency_key_that_is_none_is_refused(shared: TestClient, shared_conn: Connection, key: str) -> None:
    before = count(shared_conn)
    problem(shared.post("/v1/jobs", json=NOOP, headers=[(b"Idempotency-Key", key.encode("latin-1"))]), 422, "idempotency-key")
    assert count(shared_conn) == before


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:17804", "192.168.0.10", "testserver", "", "[::1"]
)
def test_without_a_key_another_host_name_is_refused(shared: TestClient, host: str) -> None:
    problem(shared.get("/v1/jobs", headers={"Host": host}), 400, says="127.0.0.1, localhost or [::1]")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:17804", "localhost:17804", "LOCALHOST", "[::1]:17804", "[::1]"])
def test_loopback_by_any_of_its_names_is_served(shared: TestClient, host: str) -> None:
    assert shared.get("/v1/jobs", headers={"Host": host}).status_code == 200


def test_with_an_api_key_every_request_must_carry_it_and_health_stays_open(serve: Serve) -> None:
    client = serve(api_key="sesame")
    for given in (None, "Bearer wrong", "sesame", "Basic sesame", "Bearer sésame", "Bearer sesame2"):
        headers = [(b"Authorization", given.encode())] if given else []
        for path in ("/v1/jobs", "/v1/kinds", "/v1/experiments", f"/api/job/{NOBODY}/status", "/v1/jobs/malformed"):
            answer = client.get(path, headers=headers)
            problem(answer, 401, says="GOLDSMITH_API_KEY")
            assert answer.headers["www-authenticate"] == "Bearer"
        problem(client.post("/v1/jobs", content=b"nonsense", headers=headers), 401)
    key = {"Authorization": "bearer sesame", "Host": "goldsmith.example"}
    assert client.get("/v1/jobs", headers=key).status_code == 200
    assert client.post("/v1/jobs", json=NOOP, headers=key).status_code == 202
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.10", "goldsmith.example"])
def test_beyond_loopback_no_app_is_made_without_a_key(database_url: str, host: str) -> None:
    settings = Settings(_env_file=None, database_url=database_url, host=host)
    with pytest.raises(GoldsmithError, match="set GOLDSMITH_API_KEY"):
        create_app(settings)
