"""The model server's embeddings, by the real encoder, on OpenAI's wire."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from starlette.testclient import TestClient

from api import encoders
from api.serve import create_app
from goldsmith.errors import InvalidInput
from goldsmith.settings import Settings
from goldsmith.student import check_encoder, load_encoder
from tests.conftest import free_port

TEXTS = ["a fox in the snow", "Ein Boot auf dem Fluss, das langsam treibt", "a fox in the snow"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """No base model is loaded, and no database is there: embeddings need neither."""
    folder = tmp_path_factory.mktemp("state")
    settings = Settings(_env_file=None, state_dir=folder, database_url=f"postgresql://x@127.0.0.1:{free_port()}/x")
    with TestClient(create_app(settings, base="none", host="127.0.0.1", lazy=True), base_url="http://127.0.0.1") as client:
        yield client


def ask(server: TestClient, **body: Any) -> Any:
    return server.post("/v1/embeddings", json={"model": "minilm", "input": TEXTS} | body)


def test_each_text_gets_the_encoders_vector_in_its_place(server: TestClient, tmp_path: Path) -> None:
    answer = ask(server).json()
    rows = numpy.array([one["embedding"] for one in answer["data"]])
    assert numpy.allclose(rows, load_encoder("minilm", cache=tmp_path).encode(TEXTS), atol=1e-6)
    assert [(one["object"], one["index"]) for one in answer["data"]] == [("embedding", number) for number in range(3)]
    assert (answer["object"], answer["model"]) == ("list", "minilm")
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > len(TEXTS)
    assert server.get("/healthz").json()["encoders"] == ["minilm"]


def test_base64_holds_the_same_numbers_and_one_text_needs_no_list(server: TestClient) -> None:
    plain = ask(server, input=TEXTS[0]).json()["data"][0]["embedding"]
    packed = ask(server, input=TEXTS[0], encoding_format="base64").json()["data"][0]["embedding"]
    assert numpy.frombuffer(base64.b64decode(packed), "<f4").tolist() == plain


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"model": "nothing-of-the-kind"}, 404, "nothing-of-the-kind"),
        ({"model": "/etc"}, 404, "GOLDSMITH_MODEL_ROOTS"),
        ({"input": []}, 422, "input"),
        ({"input": ["a", " "]}, 422, "blank"),
        ({"input": [[1, 2, 3]]}, 422, "input"),
        ({"input": ["a"] * 2049}, 422, "at most 2048 texts, not 2049"),
        ({"dimensions": 64}, 422, "dimensions"),
        ({"encoding_format": "int8"}, 422, "encoding_format"),
        ({"model": None}, 422, "model"),
    ],
)
def test_what_cannot_be_embedded_is_refused_in_words(server: TestClient, body: dict[str, Any], status: int, says: str) -> None:
    answer = ask(server, **body)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]


def test_a_full_line_sends_the_next_away(server: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "MAX_WAITING", 0)
    answer = ask(server)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")


def test_a_path_below_the_models_may_be_named(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, state_dir=tmp_path, model_roots=[tmp_path / "mine"])
    check_encoder(str(tmp_path / "mine" / "encoder"), settings)
    with pytest.raises(InvalidInput, match="GOLDSMITH_MODEL_ROOTS"):
        check_encoder(str(tmp_path / "other" / "encoder"), settings)
