"""`/v1/uploads`: what is taken, what is refused and how the wrong lines are named."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from goldsmith import audit, uploads
from goldsmith.cli import uploads as cli_uploads
from goldsmith.cli.app import app
from goldsmith.client import _pack
from goldsmith.db import Connection
from goldsmith.devserver.checkout import Checkout, read_checkout
from goldsmith.errors import Forbidden
from goldsmith.keys import Caller
from goldsmith.storage import Storage
from tests.api.conftest import Serve
from tests.api.problems import problem

JSONL, CSV, ZIP = "application/x-ndjson", "text/csv", "application/zip"
WORKSHOP = Path(__file__).parents[2] / "examples" / "workshop"
IMPORT = "job:018f0000-0000-7000-8000-000000000001"


def send(client: TestClient, body: bytes | str, media_type: str = JSONL, **query: Any) -> Any:
    return client.post("/v1/uploads", content=body, headers={"Content-Type": media_type}, params=query)


def archive(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return raw.getvalue()


def lines(client: TestClient, conn: Connection, storage: Storage, body: bytes | str, media_type: str) -> list[tuple[int, str]]:
    answer = send(client, body, media_type)
    assert answer.status_code == 201, answer.text
    found = uploads.get(conn, answer.json()["ref"])
    return [
        (line.number, line.prompt.input) for line in uploads.read_prompts(storage.existing(found.uri), found.about["format"])
    ]


def test_jsonl_is_kept_as_it_came(client: TestClient, conn: Connection, storage: Storage) -> None:
    body = '\ufeff{"input": " ein Bär\\nund ein \u2028 Fisch ", "language": "de", "config_id": "loom"}\r\n\n{"prompt": "a kite"}\n{"text": "x"}'
    answer = send(client, body, name="meine Prompts", origin="synthetic")
    assert answer.status_code == 201
    upload = answer.json()["upload"]
    assert (upload["kind"], upload["name"], upload["origin"]) == ("prompts", "meine Prompts", "synthetic")
    assert upload["about"] == {"format": "jsonl", "rows": 3}
    assert upload["bytes"] == len(body.encode())
    assert "uri" not in upload
    found = uploads.get(conn, answer.json()["ref"])
    assert storage.existing(found.uri).read_bytes() == body.encode()
    read = list(uploads.read_prompts(storage.existing(found.uri), "jsonl"))
    assert [line.number for line in read] == [1, 3, 4]
    assert read[0].prompt.model_dump() == {"input": "ein Bär\nund ein \u2028 Fisch", "language": "de", "config_id": "loom"}
    assert client.get(f"/v1/uploads/{upload['id']}").json() == answer.json()
    assert client.get("/v1/uploads").json() == [answer.json()]


def test_the_same_bytes_are_the_same_upload_but_for_their_origin(client: TestClient) -> None:
    first = send(client, '{"input": "a kite"}')
    again = send(client, '{"input": "a kite"}', name="another name")
    other = send(client, '{"input": "a kite"}', origin="synthetic")
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert first.json() == again.json()
    assert first.json()["ref"] != other.json()["ref"]


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ("input,language\nein Wal,de\n", [(2, "ein Wal")]),
        ('language;prompt\n;"zwei; Zeilen\nund ""mehr"""\nen;a kite', [(2, 'zwei; Zeilen\nund "mehr"'), (4, "a kite")]),
        ("text\r\none\r\n\r\ntwo\r\n", [(2, "one"), (4, "two")]),
        ("\ufeffprompt;language\r\nein Wal, müde;de\r\n", [(2, "ein Wal, müde")]),
    ],
)
def test_csv_is_read_with_its_header(
    client: TestClient, conn: Connection, storage: Storage, body: str, read: list[tuple[int, str]]
) -> None:
    assert lines(client, conn, storage, body, CSV) == read


@pytest.mark.parametrize(
    ("body", "media_type", "line", "says"),
    [
        (b"", JSONL, None, "no prompt"),
        (b"\n \n", JSONL, None, "no prompt"),
        (b'{"input": "a"}\n{"input": ', JSONL, 2, "not JSON"),
        (b'{"input": "a"}\n\n["b"]', JSONL, 3, "a JSON object"),
        (b'{"input": "a", "colour": "red"}', JSONL, 1, "known ones are: input, language, config_id"),
        (b'{"input": " "}', JSONL, 1, "at least 1 character"),
        (b'{"input": 5}', JSONL, 1, "valid string"),
        (b'{"language": "de"}', JSONL, 1, "required"),
        (b'{"input": "a", "text": "b"}', JSONL, 1, "input and text"),
        (b'{"input": "a", "language": "Deutsch"}', JSONL, 1, "pattern"),
        (b'{"input": "a\\u0000"}', JSONL, 1, "NUL"),
        (b'{"input": "\\ud800"}', JSONL, 1, "half characters"),
        (b'{"input": "a"}\n{"input": "\xff"}', JSONL, 2, "not UTF-8"),
        (b'{"input": "' + b"x" * 20_001 + b'"}', JSONL, 1, "20000 characters"),
        (b"[" * 50_000, JSONL, 1, "not JSON"),
        ("input;language\na;en\nein Bär;de\n".encode("cp1252"), CSV, 3, "not UTF-8"),
        ("input\na\n".encode("utf-16"), CSV, 1, "not UTF-8"),
        (b'{"input": "a"}\n{"input": "b"\n{"input": "c"}\nnull\n', JSONL, 2, "2 of 4 lines"),
        (b"name,language\na,de\n", CSV, 1, "input, prompt or text"),
        (b"input,language\na\n", CSV, 2, "1 cells, the header 2"),
        (b'input\n"a\n', CSV, 2, "not CSV"),
        (b"input\n", CSV, None, "no prompt"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_line(
    shared: TestClient, body: bytes, media_type: str, line: int | None, says: str
) -> None:
    refused = problem(send(shared, body, media_type), 422, says=says)
    assert refused["errors"][0].get("line") == line
    assert shared.get("/v1/uploads").json() == []


def test_a_log_of_sessions_is_kept_and_its_lines_are_checked(shared: TestClient, client: TestClient) -> None:
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "model": "m"}
    body = "\n".join(map(json.dumps, [chat, {"conversations": [{"from": "human", "value": "a"}]}, {"text": "a", "score": 1}]))
    upload = send(client, body, kind="sessions").json()["upload"]
    assert upload["kind"] == "sessions"
    assert upload["about"] == {
        "format": "jsonl",
        "rows": 3,
        "formats": {"openai": 1, "sharegpt": 1, "feedback": 1},
        "ignored": {"model": 1},
    }
    wrong = problem(send(shared, f'{body}\n{{"messages": 5}}\n{"[" * 50_000}', kind="sessions"), 422, says="2 of 5 lines")
    assert [entry["line"] for entry in wrong["errors"]] == [4, 5]
    assert wrong["errors"][0]["field"] == "line 4: messages"
    no_text = problem(send(shared, '{"messages": [{"role": "user", "content": 5}]}', kind="sessions"), 422)
    assert {entry["field"] for entry in no_text["errors"]} == {"line 1: messages.0.content"}
    problem(send(shared, "text\na\n", CSV, kind="sessions"), 422, "kind", "as jsonl, not as csv")
    problem(send(shared, '{"input": "a"}', kind="sessions"), 422, says="neither messages")
    problem(send(shared, "", kind="sessions"), 422, says="no session")
    problem(send(shared, body, kind="logs"), 422, "kind")


def test_of_many_wrong_lines_the_first_are_named_and_all_are_counted(shared: TestClient) -> None:
    body = "\n".join(json.dumps({"input": "" if number % 2 else "a kite"}) for number in range(200))
    refused = problem(send(shared, body), 422, says="100 of 200 lines")
    assert [entry["line"] for entry in refused["errors"]] == list(range(2, 102, 2))


def test_a_body_over_the_limit_or_of_another_type_is_refused(serve: Serve) -> None:
    client = serve(max_body_bytes=1000)
    problem(send(client, b'{"input": "a"}\n' * 100), 413, says="GOLDSMITH_MAX_BODY_BYTES")
    problem(send(client, b"a kite", "text/plain"), 415, says="application/x-ndjson")
    problem(send(client, b'{"input": "a"}', origin="elsewhere"), 422)
    problem(client.get(f"/v1/uploads/{uuid4()}"), 404, says="there is no upload")


def test_a_checkout_or_its_configs_become_contexts(
    client: TestClient, conn: Connection, storage: Storage, tmp_path: Path
) -> None:
    _pack(WORKSHOP / "devserver", tmp_path / "checkout.zip")
    whole = send(client, (tmp_path / "checkout.zip").read_bytes(), ZIP)
    assert whole.status_code == 201, whole.text
    found = uploads.get(conn, whole.json()["ref"], "contexts")
    kept = Checkout.model_validate_json(storage.existing(found.uri).read_bytes())
    assert kept == read_checkout(WORKSHOP)[0]
    assert found.about["template_version"] == kept.template_version
    assert len(found.about["skipped"]) == 3

    folder = WORKSHOP / "devserver" / "schemas" / "configs" / "interception"
    nested = {f"mine/{unicodedata.normalize('NFD', path.name)}": path.read_bytes() for path in folder.iterdir()}
    alone = send(client, archive(nested), ZIP)
    assert alone.json()["upload"]["about"]["configs"] == found.about["configs"]
    assert alone.json()["upload"]["about"]["template_version"] != kept.template_version


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"../loom.json": b"{}"}, "outside of its folder"),
        ({"/etc/loom.json": b"{}"}, "outside of its folder"),
        ({"configs/../../loom.json": b"{}"}, "outside of its folder"),
        ({"configs\\..\\loom.json": b"{}"}, "outside of its folder"),
        ({"readme.txt": b"hello"}, "no devserver checkout"),
        ({"loom.json": b'{"pipeline": "x"}'}, "no usable interception config"),
        ({"big.json": b" " * 64_000_001}, "at most 2,000"),
    ],
)
def test_a_zip_that_holds_no_contexts_is_refused(shared: TestClient, files: dict[str, bytes], says: str) -> None:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    problem(send(shared, raw.getvalue(), ZIP), 422, says=says)


def test_a_zip_that_lies_about_its_size_is_not_unpacked_beyond_it(shared: TestClient) -> None:
    """100 MB of zeros in 100 kB, said to be 10 bytes."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("loom.json", bytes(100_000_000))
    said = struct.pack("<I", 100_000_000)
    assert raw.getvalue().count(said) == 2  # in the file's header and in the directory
    lying = raw.getvalue().replace(said, struct.pack("<I", 10))
    tracemalloc.start()
    problem(send(shared, lying, ZIP), 422, says="ZIP")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_folder_is_packed_without_what_its_links_lead_to(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"password": 1}')
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "more.json").write_text("{}")
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "loom.json").write_text("{}")
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    _pack(folder, tmp_path / "packed.zip")
    assert zipfile.ZipFile(tmp_path / "packed.zip").namelist() == ["loom.json"]


def test_a_zip_of_too_many_files_is_refused(client: TestClient) -> None:
    problem(send(client, archive({f"{number}.json": b"{}" for number in range(2001)}), ZIP), 422, says="2,001 files")


def test_what_is_no_zip_is_refused(shared: TestClient) -> None:
    problem(send(shared, b"PK\x03\x04 and no more", ZIP), 422, says="no ZIP")


def test_an_upload_is_deleted_with_its_file_once_nothing_needs_it(
    client: TestClient, conn: Connection, storage: Storage, job_factory: Callable[..., UUID]
) -> None:
    body = '{"input": "a kite"}'
    upload, twin = send(client, body).json(), send(client, body, origin="synthetic").json()
    uri = uploads.get(conn, upload["ref"]).uri
    path = f"/v1/uploads/{upload['upload']['id']}"
    job_id = job_factory(kind="corpus", config={"kind": "corpus", "uploads": [upload["ref"]]}, status="running")
    refused = problem(client.delete(path), 409, says=f"{upload['ref']} is named by job:{job_id}")
    assert refused["title"] == "Conflict"
    conn.execute("UPDATE jobs SET status = 'completed', completed_at = now() WHERE id = %s", (job_id,))
    assert client.delete(path).status_code == 204
    problem(client.get(path), 404)
    problem(client.delete(path), 404)
    assert storage.existing(uri).is_file()  # the twin's
    assert client.delete(f"/v1/uploads/{twin['upload']['id']}").status_code == 204
    assert not storage.path(uri).parent.exists()
    assert [entry.action for entry in audit.entries(conn)] == ["upload.delete"] * 2
    assert send(client, body).status_code == 201
    assert storage.existing(uri).read_text() == body


def test_only_who_sent_an_upload_or_an_admin_may_delete_it(conn: Connection, client: TestClient, storage: Storage) -> None:
    upload = send(client, '{"input": "a kite"}').json()["upload"]
    conn.execute("UPDATE uploads SET created_by = 'anna'")
    ben, anna = (Caller(name, frozenset(("jobs:write",))) for name in ("ben", "anna"))
    with pytest.raises(Forbidden, match="sent by another key"):
        uploads.remove(conn, storage, UUID(upload["id"]), ben)
    uploads.remove(conn, storage, UUID(upload["id"]), anna)
    send(client, '{"input": "a kite"}')
    conn.execute("UPDATE uploads SET created_by = 'anna'")
    assert client.delete(f"/v1/uploads/{uploads.newest(conn, 1)[0].id}").status_code == 204  # `local` is an admin


def test_the_commands_send_files_and_folders_and_list_them(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.api.test_datasets_api import Through

    monkeypatch.setattr(cli_uploads, "connect", lambda: Through(client))

    def said(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["uploads", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    (tmp_path / "prompts.csv").write_text("input\na kite\na whale\n")
    assert "2 prompts" in said("add", str(tmp_path / "prompts.csv"), "--origin", "synthetic")
    assert "6 configs" in said("add", str(WORKSHOP / "devserver"))
    listed = json.loads(said("list", "--json"))
    assert [(one["upload"]["kind"], one["upload"]["origin"]) for one in listed] == [
        ("contexts", "upload"),
        ("prompts", "synthetic"),
    ]
    assert "removed" in said("remove", listed[0]["ref"])
    said("remove", listed[0]["ref"], code=2)
    assert len(json.loads(said("list", "--json"))) == 1
    (tmp_path / "prompts.txt").write_text("a kite")
    said("add", str(tmp_path / "prompts.txt"), code=2)
    (tmp_path / "prompts.csv").write_text("name\na kite\n")
    said("add", str(tmp_path / "prompts.csv"), code=2)
