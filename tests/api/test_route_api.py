"""`POST /v1/route` over HTTP: decisions by given vectors and by the real encoder, answers by a tiny model, and every refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import numpy
import pytest
from starlette.testclient import TestClient

from api.decisions import Decisions
from goldsmith import adapters, routes
from goldsmith.adapters import AdapterVersion
from goldsmith.client import Client, NotReachable
from goldsmith.db import AsyncDatabase, Connection, Database
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.errors import InvalidInput
from goldsmith.router import Router, embeddings
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from goldsmith.student import load_encoder
from goldsmith.uno.route import Leg, RoutingTable
from tests.api.problems import problem
from tests.api.test_serve import Serving, base, register, settings, student  # noqa: F401 - fixtures
from tests.client.server import running_api
from tests.conftest import free_port, wait_until
from tests.routers import make_router

JobFactory = Callable[..., UUID]
LEGS = [
    Leg(0, "c-north", 40, "primary", "low gap", expert="adapter:north@1"),
    Leg(1, "c-east", 35, "reflective", "high gap", critic="adapter:east@1"),
    Leg(2, "c-far", 9, "base", "too small"),
]
VECTORS = [[0.0, 0.8, 0.0], [0.7, 0.0, 0.0], [0.0, 0.0, -0.9]]


@pytest.fixture
def made(conn: Connection, storage: Storage, job_factory: JobFactory) -> tuple[str, RoutingTable]:
    return make_router(conn, storage, job_factory, LEGS, VECTORS)


def test_a_vector_is_routed_and_the_decision_kept(client: TestClient, made: tuple[str, RoutingTable], conn: Connection) -> None:
    ref, table = made
    queries = [[0.1, 3, 0.2], [5, 1, 1], [0, 0, -1], [0, -1, 1]]
    answers = [client.post("/v1/route", json={"router": ref, "vector": query}) for query in queries]
    assert [answer.status_code for answer in answers] == [200] * 4
    for query, answer in zip(queries, answers, strict=True):
        assert answer.json() == table.decide(query).as_dict()
    assert [answer.json()["path"] for answer in answers] == ["primary", "reflective", "base", "base"]
    assert [answer.json()["outlier"] for answer in answers] == [False, False, False, True]
    assert (
        len(client.get("/v1/routes", params={"router": ref}).json()["routes"]) == 4
    )  # whoever reads waits for what is being written
    rows = conn.execute("SELECT * FROM routes ORDER BY id").fetchall()
    for row, answer in zip(rows, answers, strict=True):
        kept = ("cluster_id", "label", "path", "distance", "second_distance", "outlier", "adapter", "critic")
        assert {name: row[name] for name in kept} == {name: answer.json()[name] for name in kept}
        assert f"job:{row['router_job_id']}" == ref


def test_decisions_are_listed_newest_first_page_by_page(client: TestClient, made: tuple[str, RoutingTable]) -> None:
    ref, _ = made
    routed = [client.post("/v1/route", json={"router": ref, "vector": [first, 1, 0]}).json() for first in range(5)]
    whole = client.get("/v1/routes", params={"router": ref}).json()
    assert [one["distance"] for one in whole["routes"]] == [one["distance"] for one in reversed(routed)]
    assert whole["next_cursor"] is None
    page = client.get("/v1/routes", params={"router": ref, "limit": 3}).json()
    rest = client.get("/v1/routes", params={"router": ref, "limit": 3, "cursor": page["next_cursor"]}).json()
    assert page["routes"] + rest["routes"] == whole["routes"]
    problem(client.get("/v1/routes", params={"router": f"job:{uuid4()}"}), 404, says="there is no job")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"vector": [1.0, 2.0]}, 409, "2 numbers; the router's centroids have 3"),
        ({"vector": [0, 0, 0]}, 422, "length 0"),
        ({"vector": []}, 422, "vector"),
        ({"vector": [1, None, 0]}, 422, "vector.1"),
        ({"vector": ["1", 0, 0]}, 422, "vector.0"),
        ({"vector": [True, 0, 0]}, 422, "vector.0"),
        ({"vector": [1, 0, 0], "query": "a"}, 422, "query and vector"),
        ({}, 422, "not none"),
        ({"query": "  "}, 422, "blank"),
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "assistant", "content": "Hello"}]}, 422, "user"),
        ({"vector": [1, 0, 0], "answer": True}, 422, "cannot be answered"),
        ({"vector": [1, 0, 0], "temperature": 3}, 422, "temperature"),
        ({"vector": [1, 0, 0], "colour": "red"}, 422, "colour"),
        ({"vector": [1, 0, 0], "router": "job:1"}, 422, "router"),
        ({"vector": [1, 0, 0], "router": "latest"}, 422, "router"),
    ],
)
def test_what_cannot_be_routed_is_refused_in_words(
    client: TestClient, made: tuple[str, RoutingTable], conn: Connection, body: dict[str, Any], status: int, says: str
) -> None:
    problem(client.post("/v1/route", json={"router": made[0]} | body), status, says=says)
    assert conn.execute("SELECT count(*) AS n FROM routes").fetchone() == {"n": 0}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-1e999"])
def test_a_number_that_is_none_is_a_4xx(client: TestClient, made: tuple[str, RoutingTable], number: str) -> None:
    body = f'{{"router": "{made[0]}", "vector": [1, {number}, 0]}}'
    answer = client.post("/v1/route", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_router_that_is_none_or_not_done_is_named(
    client: TestClient, made: tuple[str, RoutingTable], job_factory: JobFactory, conn: Connection
) -> None:
    def route(ref: str) -> Any:
        return client.post("/v1/route", json={"router": ref, "vector": [1, 0, 0]})

    problem(route(f"job:{uuid4()}"), 404, says="there is no job")
    problem(route(f"job:{job_factory(kind='train', status='completed', result='{}')}"), 422, says="train job; a router job")
    problem(route(f"job:{job_factory(kind='router')}"), 409, says="is running")
    assert route(made[0]).status_code == 200
    wait_until(lambda: conn.execute("SELECT FROM routes").rowcount == 1, "the decision's row")
    conn.execute("DELETE FROM artifacts")
    conn.execute("DELETE FROM jobs WHERE id = %s", (made[0].removeprefix("job:"),))
    assert route(made[0]).status_code == 200  # it was in memory; that it is gone shows when the decision is written
    problem(client.get("/v1/routes", params={"router": made[0]}), 404, says="there is no job")
    problem(route(made[0]), 404, says="there is no job")


def test_a_router_of_another_version_is_refused(
    client: TestClient, conn: Connection, storage: Storage, job_factory: JobFactory
) -> None:
    with pytest.raises(InvalidInput, match="format version 9"):
        make_router(conn, storage, job_factory, LEGS, VECTORS, format_version=9)
    ref = conn.execute("SELECT 'job:' || id AS ref FROM jobs").fetchone()
    assert ref is not None
    problem(client.post("/v1/route", json={"router": ref["ref"], "vector": [1, 0, 0]}), 422, says="format version 9")


def test_without_a_model_server_a_text_is_a_503_and_a_vector_is_routed(
    serve: Callable[..., TestClient], made: tuple[str, RoutingTable]
) -> None:
    client = serve(serve_port=free_port())
    problem(client.post("/v1/route", json={"router": made[0], "query": "a fox"}), 503, says="start it with `goldsmith serve`")
    assert client.post("/v1/route", json={"router": made[0], "vector": [1, 0, 0]}).status_code == 200


def test_decisions_wait_for_a_database_that_is_away_and_a_router_that_is_gone_is_forgotten(
    database: Database, made: tuple[str, RoutingTable], conn: Connection
) -> None:
    router, gone, decision = UUID(made[0].removeprefix("job:")), uuid4(), made[1].decide([1, 0, 0])
    forgotten: list[UUID] = []

    async def decide() -> None:
        there = AsyncDatabase(database.url)
        decisions = Decisions(there, SimpleNamespace(forget=forgotten.append))  # type: ignore[arg-type]
        decisions.keep(router, decision)
        await decisions.written()  # the pool is not open yet
        assert routes.newest(conn, router, before=None, limit=10) == []
        await there.open()
        decisions.keep(gone, decision)
        decisions.keep(router, decision)
        await decisions.written()
        await there.close()

    asyncio.run(decide())
    assert len(routes.newest(conn, router, before=None, limit=10)) == 2
    assert forgotten == [gone]


# -- with the model server

TEXTS = ("a red fox in the snow", "how do I bake rye bread", "the train to Kassel is late")


@pytest.fixture
def asked(
    settings: Settings,  # noqa: F811
    base: str,  # noqa: F811
    conn: Connection,
    job_factory: JobFactory,
    valkey: EmbeddedValkey,
) -> Iterator[Callable[..., Any]]:
    """A server with a router whose clusters are these three texts: `asked(experts, critics)` gives its client and reference."""
    with (
        Serving(settings, base, lazy=True) as serving,
        running_api(
            settings.database, valkey, settings.state_dir, serve_port=settings.serve_port, serve_model=base, rescue_every_s=60
        ) as api,
        Client(api.url) as client,
    ):

        def make(*adapters: tuple[str | None, str | None]) -> tuple[Client, str, Serving]:
            legs = [
                Leg(label, f"c{label}", 30, "primary" if expert else "reflective" if critic else "base", "", expert, critic)
                for label, (expert, critic) in enumerate(adapters)
            ]
            ref, _ = make_router(conn, api.storage, job_factory, legs, 0.9 * load_encoder("minilm").encode(TEXTS[: len(legs)]))
            return client, ref, serving

        yield make


def test_a_text_goes_where_its_encoder_says_and_the_sdk_decides_the_same(asked: Callable[..., Any]) -> None:
    client, ref, serving = asked((None, None), ("adapter:bread@1", None), (None, None))
    routed = client.route(ref, "How is rye bread baked?")
    assert (routed["cluster_id"], routed["path"], routed["adapter"]) == ("c1", "primary", "adapter:bread@1")
    assert "answer" not in routed
    minilm = load_encoder("minilm")
    local = Router.fetch(client, ref, encode=lambda name, text: minilm.encode([text])[0])
    remote = Router.fetch(client, ref, encode=embeddings(serving.url))
    turns = [{"role": "system", "content": "You know trains."}, {"role": "user", "content": "Is it late?"}]
    for query in ({"query": "How is rye bread baked?"}, {"query": "ein Fuchs im Schnee"}, {"messages": turns}):
        server = client.route(ref, **query)
        for router in (local, remote):
            mine = router.route(**query).as_dict()
            assert mine == {
                name: pytest.approx(server[name], abs=1e-6) if "distance" in name else server[name] for name in mine
            }
    text = client.route(ref, "You know trains.\n\nIs it late?")
    assert text["distance"] == client.route(ref, messages=turns)["distance"]
    rows = list(client.routes(ref, limit=2))
    assert len(rows) == 6
    assert not any("bread" in str(value) for row in rows for value in row.values() if value != row["adapter"])


def test_an_expert_answers_and_a_critic_makes_the_base_write_twice(
    asked: Callable[..., Any],
    register: Callable[..., AdapterVersion],  # noqa: F811
    base: str,  # noqa: F811
) -> None:
    expert, critic = register("expert", seed=1), register("critic", seed=2)
    client, ref, serving = asked((expert.ref, None), (None, critic.ref), (None, None))
    more = {"max_tokens": 16, "temperature": 0.0}
    primary, reflective, plain = (client.route(ref, text, answer=True, **more) for text in TEXTS)
    said = [
        serving.text(model, messages=[{"role": "user", "content": TEXTS[0]}], max_tokens=16).strip()
        for model in (expert.ref, base)
    ]
    assert (primary["answer"], primary["answered_by"], primary["draft"], primary["note"]) == (said[0], expert.ref, None, None)
    assert said[0] != said[1]
    assert reflective["critic"] == critic.ref
    assert reflective["draft"] == serving.text(base, messages=[{"role": "user", "content": TEXTS[1]}], max_tokens=16).strip()
    assert reflective["critique"]
    assert (reflective["answered_by"], reflective["note"]) == (None, None)
    assert (plain["draft"], plain["critique"], plain["answered_by"], plain["model_used"]) == (None, None, None, base)


def test_an_adapter_that_is_gone_or_retired_leaves_the_answer_to_the_base_model(
    asked: Callable[..., Any],
    register: Callable[..., AdapterVersion],  # noqa: F811
    conn: Connection,
    settings: Settings,  # noqa: F811
    base: str,  # noqa: F811
) -> None:
    retired = register("old", seed=1)
    for move in (adapters.approve, adapters.retire):
        move(conn, Storage(settings.state_dir), "old", 1, actor="test")
    client, ref, _ = asked(("adapter:nobody@1", None), (None, "adapter:nobody@2"), (retired.ref, None))
    gone, mute, old = (client.route(ref, text, answer=True, max_tokens=12) for text in TEXTS)
    assert [one["answered_by"] for one in (gone, mute, old)] == [None] * 3
    assert [one["model_used"] for one in (gone, mute, old)] == [base] * 3
    assert "adapter:nobody@1" in gone["note"]
    assert (mute["answer"], mute["critique"]) == (mute["draft"], None)
    assert "adapter:nobody@2" in mute["note"]
    assert "is retired" in old["note"]


def test_a_local_router_without_an_encoder_or_a_server_says_so() -> None:
    table = RoutingTable.read(
        {"format_version": 1, "router": "job:x", "outlier_distance": 1.2, "clusters": [vars(LEGS[0])]},
        __import__("goldsmith.uno.centroids", fromlist=["Centroids"]).Centroids(
            numpy.eye(1, 3, dtype="f4"), ["c-north"], "minilm"
        ),
    )
    with pytest.raises(Exception, match="no encoder was given"):
        Router(table).route("a fox")
    with pytest.raises(NotReachable, match="no answer from"):
        Router(table, embeddings(f"http://127.0.0.1:{free_port()}")).route("a fox")
