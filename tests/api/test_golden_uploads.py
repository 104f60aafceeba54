"""A golden set is checked line by line when it comes, and what it expects survives the tables."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from goldsmith import datasets, golden
from goldsmith.db import Connection
from goldsmith.storage import Storage
from tests.api.problems import problem
from tests.kinds.golden.test_golden import ROWS
from tests.tiny import gold


def send(client: TestClient, *rows: object) -> Any:
    body = "\n".join(map(json.dumps, rows))
    return client.post("/v1/uploads", content=body, headers={"Content-Type": "application/x-ndjson"}, params={"kind": "golden"})


@pytest.mark.parametrize(
    ("row", "field", "says"),
    [
        ({"input": "a"}, "line 2", "nothing is expected of the answer: give one of expected, pattern, schema, rules"),
        ({"input": "a", "expected": "b", "pattern": "b"}, "line 2", "expected and pattern are given"),
        ({"input": "a", "pattern": "("}, "line 2", "does not compile"),
        ({"input": "a", "pattern": ""}, "line 2: pattern", "at least 1 character"),
        ({"input": "a", "schema": {"type": "objekt"}}, "line 2", "no JSON schema"),
        ({"input": "a", "schema": {"$ref": "http://127.0.0.1/x.json"}}, "line 2", "Retrieval is disabled"),
        ({"input": "a", "schema": {}}, "line 2: schema", "at least 1 item"),
        ({"input": "a", "schema": "object"}, "line 2: schema", "valid dictionary"),
        ({"input": "a", "expected": []}, "line 2: expected", "at least 1 item"),
        ({"input": "a", "expected": " "}, "line 2", "1 to 20,000 characters"),
        ({"input": "a", "rules": {"min_words": 9, "max_words": 2}}, "line 2: rules", "min_words: 9 is above max_words 2"),
        ({"expected": "b"}, "line 2", "exactly one of input and messages"),
        ({"input": "a", "messages": [{"role": "user", "content": "b"}], "expected": "c"}, "line 2", "exactly one of input and"),
        ({"messages": [{"role": "assistant", "content": "b"}], "expected": "c"}, "line 2", "the last one must be the user's"),
        ({"input": "a", "expected": "b", "colour": "red"}, "line 2: colour", "known ones are: input, messages, expected"),
        ({"input": "a\0", "expected": "b"}, "line 2", "NUL"),
        (["a"], "line 2", "a JSON object is wanted"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_when_it_comes(shared: TestClient, row: object, field: str, says: str) -> None:
    refused = problem(send(shared, ROWS[0], row), 422, says=says)
    assert refused["errors"][0]["field"] == field
    assert refused["errors"][0]["line"] == 2


def test_an_empty_set_is_refused(shared: TestClient) -> None:
    problem(send(shared), 422, says="the file has no row")


def test_a_set_is_uploaded_frozen_and_read_back(
    client: TestClient, conn: Connection, storage: Storage, job_factory: Any
) -> None:
    """Through the real tables: what is expected survives them, and the JSONL file has one type for a column."""
    answer = send(client, *ROWS)
    assert answer.status_code == 201, answer.text
    assert answer.json()["upload"]["about"] == {
        "format": "jsonl", "rows": 5, "expected": {"expected": 2, "pattern": 1, "schema": 1, "rules": 1},
    }  # fmt: skip
    job_id: UUID = job_factory(kind="golden")
    examples = [
        gold()[0].model_copy(update={"split": "heldout", "expect": golden.read_row(row).expectation.stored()}) for row in ROWS
    ]
    saved = datasets.save_version(
        conn, storage, job_id, 1, "exam", examples, manifest={"kind": "golden"}, parents=[answer.json()["ref"]], rehearsal=False
    )
    assert [row.expect for row in datasets.examples_of(conn, saved.ref)] == [row.expect for row in examples]
    lines = storage.existing(datasets.files(conn, saved.ref)["heldout.jsonl"].uri).read_text().splitlines()
    assert {type(json.loads(line)["expect"]) for line in lines} == {str}
