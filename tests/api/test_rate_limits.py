"""How often a caller may come, and what happens while Valkey, which counts writes, is away."""

from __future__ import annotations

import itertools

import pytest
import redis
from starlette.testclient import TestClient

from api import access
from goldsmith import keys, limits
from goldsmith.db import Connection
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.limits import Buckets
from tests.api.conftest import Serve
from tests.api.problems import problem
from tests.api.test_health import samples
from tests.conftest import free_port

NOOP = {"kind": "noop"}
names = map("caller-{}".format, itertools.count())


def caller(conn: Connection) -> dict[str, str]:
    made = keys.create(conn, keys.NewKey(name=next(names), scopes=["jobs:read", "jobs:write"]), actor="test")
    return {"Authorization": f"Bearer {made.key}"}


def rate_of(answer: object) -> tuple[int, ...]:
    names = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
    return tuple(int(answer.headers[name]) for name in names)  # type: ignore[attr-defined]


def counted(client: TestClient, name: str) -> float:
    return sum(samples(client).get(name, {}).values())


def test_without_a_key_there_is_no_limit_unless_one_is_set(serve: Serve) -> None:
    for answer in (serve().get("/v1/jobs"), serve().post("/v1/jobs", json=NOOP), serve(reads_per_minute=0).get("/v1/jobs")):
        assert answer.is_success
        assert not [name for name in answer.headers if name.startswith("ratelimit")]
    client = serve(reads_per_minute=2)
    assert [client.get("/v1/jobs").status_code for _ in range(3)] == [200, 200, 429]


def test_a_key_has_a_generous_limit_from_the_start(serve: Serve, conn: Connection) -> None:
    one = caller(conn)
    client = serve()
    assert rate_of(client.get("/v1/jobs", headers=one)) == (limits.READS_PER_MINUTE, limits.READS_PER_MINUTE - 1, 1)
    limit, left, reset = rate_of(client.post("/v1/jobs", json=NOOP, headers=one))
    assert (limit, left) == (limits.WRITES_PER_MINUTE, limits.WRITES_PER_MINUTE - 1)
    assert 55 < reset <= 60


def test_a_read_too_many_says_when_to_come_back_and_takes_nothing_from_others(serve: Serve, conn: Connection) -> None:
    one, other = caller(conn), caller(conn)
    client = serve(reads_per_minute=3)
    before = counted(client, "goldsmith_rate_limited_total")
    assert [rate_of(client.get("/v1/jobs", headers=one))[1] for _ in range(3)] == [2, 1, 0]
    answer = client.get("/v1/jobs", headers=one)
    assert problem(answer, 429, says="3 reads in a minute")["limit"] == "reads"
    assert rate_of(answer)[:2] == (3, 0)
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    assert client.get("/v1/jobs", headers=other).status_code == 200
    assert client.post("/v1/jobs", json=NOOP, headers=one).status_code == 202
    assert client.get("/healthz").status_code == 200
    assert counted(client, "goldsmith_rate_limited_total") == before + 1


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine does not let writes through uncounted."""
    monkeypatch.setattr(limits.Windows, "TIMEOUT_S", 20)


@pytest.mark.usefixtures("patience")
def test_writes_are_counted_over_all_processes(serve: Serve, conn: Connection, valkey: EmbeddedValkey) -> None:
    one, other = caller(conn), caller(conn)
    clients = [serve(writes_per_minute=3) for _ in range(2)]
    answers = [client.post("/v1/jobs", json=NOOP, headers=one) for client in (*clients, *clients)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert [rate_of(answer)[1] for answer in answers] == [2, 1, 0, 0]
    assert problem(answers[3], 429, says="3 writes in a minute")["limit"] == "writes"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    assert clients[0].post("/v1/jobs", json=NOOP, headers=other).status_code == 202
    with redis.Redis.from_url(valkey.url) as server:
        windows = server.keys("goldsmith:writes:*")
        assert windows
        assert all(0 < server.ttl(window) <= 60 for window in windows)


@pytest.mark.usefixtures("patience")
def test_a_window_that_lost_its_end_gets_one(serve: Serve, conn: Connection, valkey: EmbeddedValkey) -> None:
    one = caller(conn)
    client = serve(writes_per_minute=1)
    client.post("/v1/jobs", json=NOOP, headers=one)
    with redis.Redis.from_url(valkey.url) as server:
        (window,) = server.keys(f"goldsmith:writes:key:{conn.execute('SELECT name FROM api_keys').fetchone()['name']}")  # type: ignore[index]
        server.persist(window)
        client.post("/v1/jobs", json=NOOP, headers=one)
        assert 0 < server.ttl(window) <= 60


def test_while_valkey_is_away_writes_are_let_through_and_counted_as_such(serve: Serve, conn: Connection) -> None:
    one = caller(conn)
    client = serve(writes_per_minute=1, broker_url=f"redis://127.0.0.1:{free_port()}/0")
    before = counted(client, "goldsmith_rate_limit_let_through_total")
    answers = [client.post("/v1/jobs", json=NOOP, headers=one) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert "ratelimit-limit" not in answers[0].headers
    assert counted(client, "goldsmith_rate_limit_let_through_total") == before + 3


def test_wrong_keys_have_a_limit_of_their_own(serve: Serve, conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access.Rates, "UNKNOWN_KEYS_PER_MINUTE", 2)
    one, wrong = caller(conn), {"Authorization": "Bearer gs_wrong"}
    client = serve()
    assert [client.get("/v1/jobs", headers=wrong).status_code for _ in range(3)] == [401, 401, 429]
    assert client.get("/v1/jobs").status_code == 401
    assert client.get("/v1/jobs", headers=one).status_code == 200


def test_a_bucket_refills_with_time_and_never_beyond_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("goldsmith.limits.time.monotonic", lambda: now)
    buckets = Buckets(60)
    assert [buckets.take("a").left for _ in range(61)] == [*range(59, -1, -1), -1]
    assert buckets.take("a").retry_s == 1
    now = 2.5
    assert [buckets.take("a").left for _ in range(3)] == [1, 0, -1]
    now = 10_000.0
    assert buckets.take("a").left == 59


def test_buckets_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Buckets, "KEPT", 100)
    buckets = Buckets(60)
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets._buckets) <= 100
