"""`/v1/datasets/…/diff` and `/drift`, and the commands that show them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from goldsmith import artifacts, datasets
from goldsmith.cli import datasets as cli_datasets
from goldsmith.cli.app import app
from goldsmith.client import Client
from goldsmith.datasets import Example, Message
from goldsmith.db import Connection
from goldsmith.devserver.checkout import Checkout, read_checkout
from goldsmith.devserver.prompts import render
from goldsmith.storage import Storage
from tests.api.problems import problem

JobFactory = Callable[..., UUID]
WORKSHOP = Path(__file__).parents[2] / "examples" / "workshop"


def row(checkout: Checkout, number: int, config_id: str, output: str, **changes: Any) -> Example:
    prompt = render(checkout, config_id, "de", f"Ein Fuchs, Nummer {number}")
    fields: dict[str, Any] = {
        "split": "heldout" if number % 4 == 3 else "train",
        "messages": [Message(role="user", content=prompt.content), Message(role="assistant", content=output)],
        "config_id": config_id,
        **prompt.model_dump(exclude={"content"}),
        "input": f"Ein Fuchs, Nummer {number}",
        "language": "de",
        "group": f"g{number}",
        "source": f"run_{number}",
    }
    return Example(**(fields | changes))


@pytest.fixture
def checkout() -> Checkout:
    return read_checkout(WORKSHOP)[0]


@pytest.fixture
def contexts(conn: Connection, storage: Storage, job_factory: JobFactory, checkout: Checkout) -> str:
    """Of an import that has read the workshop's checkout."""
    job_id = job_factory(kind="import", status="running")
    ref = artifacts.save(conn, storage, job_id, 1, "contexts.json", checkout.model_dump_json().encode(), "application/json")
    conn.execute("UPDATE jobs SET status = 'completed', completed_at = now() WHERE id = %s", (job_id,))
    return ref


@pytest.fixture
def two(conn: Connection, storage: Storage, job_factory: JobFactory, checkout: Checkout) -> list[str]:
    """Two versions of `gold`: of eight rows one went, one came, one has another answer, one is on the other side."""
    first = [row(checkout, number, "loom", f"Faden {number}") for number in range(8)]
    second = [row(checkout, number, "loom", f"Faden {number}") for number in range(1, 9)]
    second[0] = row(checkout, 1, "loom", "Wolle")
    second[1] = second[1].model_copy(update={"split": "heldout"})
    refs = []
    for rows, seed in ((first, 1), (second, 2)):
        saved = datasets.save_version(
            conn,
            storage,
            job_factory(kind="gold"),
            1,
            "gold",
            rows,
            manifest={"kind": "gold", "config": {"seed": seed, "budget_usd": 2}},
            parents=["dataset:corpus@1"],
            rehearsal=False,
            checkout=checkout,
        )
        refs.append(saved.ref)
    return refs


def test_a_diff_counts_and_names_rows_and_what_the_manifests_say(client: TestClient, two: list[str]) -> None:
    found = client.get("/v1/datasets/gold/2/diff", params={"before": two[0]}).json()
    counts = {name: found[name] for name in ("rows_before", "rows_after", "added", "removed", "changed", "same")}
    assert counts == {"rows_before": 8, "rows_after": 8, "added": 1, "removed": 1, "changed": 2, "same": 5}
    assert found["changed_fields"] == {"output": 1, "split": 1}
    assert found["manifest"]["config.seed"] == [1, 2]
    assert "config.budget_usd" not in found["manifest"]
    named = [(one["change"], one["input"][-1], one["fields"]) for one in found["rows"]]
    assert named == [("removed", "0", []), ("changed", "1", ["output"]), ("changed", "2", ["split"]), ("added", "8", [])]
    assert not found["same_content"]
    same = client.get("/v1/datasets/gold/2/diff", params={"before": "dataset:gold@latest", "limit": 0}).json()
    assert (same["same_content"], same["same"], same["rows"], same["manifest"]) == (True, 8, [], {})


def test_a_diff_with_what_is_not_there_is_refused(client: TestClient, two: list[str]) -> None:
    problem(client.get("/v1/datasets/gold/2/diff", params={"before": "dataset:gold@9"}), 404, says="newest versions")
    problem(client.get("/v1/datasets/gold/2/diff", params={"before": "gold@1"}), 422)
    problem(client.get("/v1/datasets/gold/2/diff"), 422)


def test_drift_is_told_against_the_newest_import_an_artifact_or_an_upload(
    client: TestClient, conn: Connection, storage: Storage, two: list[str], contexts: str, checkout: Checkout
) -> None:
    found = client.get("/v1/datasets/gold/1/drift").json()
    assert (found["drifted"], found["changes"], found["contexts"]) == (False, [], contexts)
    assert found["pins"]["contexts"] == {"loom": {"de": [checkout.config("loom").context_sha256("de")]}}

    other = {"pipeline": "text_transformation", "context": {"de": "Ein anderer Webstuhl.", "en": "Another loom."}}
    answer = client.post("/v1/uploads", content=_zip({"loom.json": other}), headers={"Content-Type": "application/zip"})
    found = client.get("/v1/datasets/gold/1/drift", params={"contexts": answer.json()["ref"]}).json()
    assert found["drifted"]
    assert [change.partition(":")[0] for change in found["changes"]] == ["template or task", "loom (de)"]


def _zip(files: dict[str, Any]) -> bytes:
    from tests.api.test_uploads import archive

    return archive({name: json.dumps(content).encode() for name, content in files.items()})


def test_drift_without_contexts_or_against_something_else_is_refused(
    client: TestClient, conn: Connection, storage: Storage, job_factory: JobFactory, two: list[str]
) -> None:
    problem(client.get("/v1/datasets/gold/1/drift"), 404, says="import one")
    problem(client.get("/v1/datasets/gold/1/drift", params={"contexts": f"upload:{uuid4()}"}), 404)
    job_id = job_factory(status="running")
    ref = artifacts.save(conn, storage, job_id, 1, "x.json", b"[]", "application/json")
    problem(client.get("/v1/datasets/gold/1/drift", params={"contexts": ref}), 422, says="holds no contexts")


def test_a_captured_request_is_compared_with_what_we_render(
    client: TestClient, contexts: str, checkout: Checkout, conn: Connection
) -> None:
    prompt = render(checkout, "loom", "de", "Ein Wal").content
    body = {"request": {"prompt": prompt, "stream": False}, "config_id": "loom", "text": "Ein Wal", "language": "de"}
    found = client.post("/v1/contexts/check", json=body).json()
    assert (found["contexts"], found["check"]["same"]) == (contexts, True)
    chat = {"request": {"messages": [{"role": "user", "content": f"{prompt}\n"}]}, "contexts": contexts}
    found = client.post("/v1/contexts/check", json=body | chat).json()["check"]
    assert (found["same"], found["first_difference"]) == (False, len(prompt.encode()))
    assert Through(client).check_template(body["request"], "loom", "Ein Wal", language="de")["check"]["same"]  # type: ignore[arg-type]

    problem(client.post("/v1/contexts/check", json=body | {"request": {"x": 1}}), 422, says="neither a text under `prompt`")
    problem(client.post("/v1/contexts/check", json=body | {"config_id": "lom"}), 422, says="known are")
    problem(client.post("/v1/contexts/check", json=body | {"colour": 1}), 422)
    problem(client.post("/v1/contexts/check", json=body | {"contexts": f"upload:{uuid4()}"}), 404)
    conn.execute("DELETE FROM artifacts")
    problem(client.post("/v1/contexts/check", json=body), 404, says="import one")


def test_a_row_shows_what_it_is_made_of_and_its_prompt(client: TestClient, two: list[str], checkout: Checkout) -> None:
    shown = client.get("/v1/datasets/gold/1/examples", params={"limit": 1}).json()[0]
    made_of = ("config_id", "context_sha256", "context_lang", "input", "template_version", "wiki", "output", "origin")
    assert [name for name in made_of if name not in shown] == []
    assert shown["output"] == shown["messages"][1]["content"] == "Faden 0"
    assert shown["messages"][0]["content"] == render(checkout, "loom", "de", shown["input"]).content


class Through(Client):
    """The SDK on a server in this process."""

    def __init__(self, client: TestClient) -> None:
        super().__init__("http://127.0.0.1")
        self._http = client  # type: ignore[assignment]

    def _send(self, method: str, path: str, **more: Any) -> Any:
        return super()._send(method, path, **{name: value for name, value in more.items() if name != "timeout"})

    def close(self) -> None:
        pass


def test_the_commands_show_versions_differences_and_drift_and_fetch_the_files(
    client: TestClient, two: list[str], contexts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_datasets, "connect", lambda: Through(client))

    def said(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["datasets", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    assert "dataset:gold@2" in said("list")
    assert "not to be redistributed" in json.loads(said("show", "gold@1", "--json"))["dataset"]["manifest"]["licence"]
    assert "1 added, 1 removed, 2 changed" in said("diff", "gold@1", "dataset:gold@2")
    assert json.loads(said("diff", "gold@1", "gold@2", "--json"))["changed_fields"] == {"output": 1, "split": 1}
    assert "no drift" in said("drift", "gold@1")
    assert "no drift" in said("drift", "gold@1", "--checkout", str(WORKSHOP))
    changed = tmp_path / "configs"
    changed.mkdir()
    (changed / "mosaic.json").write_text(json.dumps({"pipeline": "text_transformation", "context": "Stones."}))
    assert "loom: the config is gone" in said("drift", "gold@1", "--checkout", str(changed), code=1)
    monkeypatch.setattr(cli_datasets, "wait_for", lambda handle, quiet: None)  # no worker is here
    asked = json.loads(said("render", "gold@1", "--template", contexts, "--name", "anew", "--json"))["config"]
    assert asked == {"kind": "render", "dataset": "dataset:gold@1", "template": contexts, "name": "anew"}
    asked = json.loads(said("render", "gold@1", "--checkout", str(WORKSHOP / "devserver"), "--json"))["config"]
    assert asked["template"] == client.get("/v1/uploads").json()[0]["ref"]
    said("render", "gold@1", code=2)
    said("render", "gold@7", "--template", contexts, code=2)
    said("download", "gold@2", str(tmp_path / "gold"))
    assert sorted(path.name for path in (tmp_path / "gold").iterdir()) == [
        "README.md",
        "heldout.jsonl",
        "manifest.json",
        "train.jsonl",
    ]
