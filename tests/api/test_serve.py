"""The model server over real HTTP, with a tiny model made on the spot."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import torch
import uvicorn
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from api import serve
from goldsmith import adapters
from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.db import Connection
from goldsmith.errors import InvalidInput
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from goldsmith.student import open_chat
from goldsmith.student.loading import load
from goldsmith.student.local import LocalStudent
from goldsmith.student.serving import Completion, ServedStudent
from tests.conftest import free_port, wait_until
from tests.tiny import make_model, prompt

PROMPT = [{"role": "user", "content": prompt("fox")}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_model(tmp_path_factory.mktemp("base")))


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(_env_file=None, state_dir=tmp_path, database_url=database_url, serve_port=free_port())


@pytest.fixture
def student(base: str, settings: Settings) -> LocalStudent:
    return LocalStudent.load(base, None, cache=settings.models)


@pytest.fixture
def register(
    conn: Connection, settings: Settings, student: LocalStudent, job_factory: Callable[..., UUID], tmp_path: Path
) -> Callable[..., AdapterVersion]:
    """Register an adapter with random weights: `register("fox", seed=1, alias="champion")`."""

    def make(name: str, *, seed: int, alias: str | None = None, **more: Any) -> AdapterVersion:
        torch.manual_seed(seed)
        fresh = load(AutoModelForCausalLM, student.folder)
        model = get_peft_model(fresh, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
        for weights_name, weights in model.named_parameters():
            if "lora_B" in weights_name:
                torch.nn.init.normal_(weights, std=0.5)
        folder = tmp_path / f"trained-{name}-{seed}"
        model.save_pretrained(folder)
        values: dict[str, Any] = {
            "base_model": student.base_model,
            "base_sha256": student.base_sha256,
            "tokenizer_sha256": student.tokenizer_sha256,
            "template_sha256": student.template_sha256,
            "dataset": "dataset:gold@1",
            "method": {},
        }
        new = NewAdapter(name=name, folder=folder, alias=alias, **(values | more))
        return adapters.register(conn, Storage(settings.state_dir), job_factory(kind="train"), 1, new)

    return make


class Serving:
    """The server in a thread, and a client of it."""

    def __init__(self, settings: Settings, base: str, **more: Any) -> None:
        self.app = serve.create_app(settings, base=base, host="127.0.0.1", **more)
        self.models: serve.Models = self.app.state.models
        self.url = f"http://127.0.0.1:{settings.serve_port}"
        self.server = uvicorn.Server(uvicorn.Config(self.app, port=settings.serve_port, log_config=None))
        self.thread = threading.Thread(target=self.server.run)
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def __enter__(self) -> Serving:
        self.thread.start()
        wait_until(lambda: self.server.started, "the start of the model server")
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(120)
        assert not self.thread.is_alive()

    def ask(self, model: str, **more: Any) -> httpx.Response:
        body = {"model": model, "messages": PROMPT, "max_tokens": 24, "temperature": 0} | more
        return self.client.post("/v1/chat/completions", json=body)

    def text(self, model: str, **more: Any) -> str:
        response = self.ask(model, **more)
        assert response.status_code == 200, response.text
        return str(response.json()["choices"][0]["message"]["content"])

    def stream(self, model: str, **more: Any) -> list[dict[str, Any]]:
        lines = self.ask(model, stream=True, **more).text.split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


@pytest.fixture
def serving(settings: Settings, base: str) -> Iterator[Serving]:
    with Serving(settings, base) as serving:
        yield serving


class TestAnswers:
    def test_the_base_model_answers_as_it_does_in_a_job(self, serving: Serving, base: str, student: LocalStudent) -> None:
        answer = serving.ask(base).json()
        choice = answer["choices"][0]
        assert choice["message"]["role"] == "assistant"
        assert choice["message"]["content"].strip() == student.generate([PROMPT], 24)[0]
        assert (answer["object"], answer["model"], answer["adapter"]) == ("chat.completion", base, None)
        assert choice["finish_reason"] == ("stop" if answer["usage"]["completion_tokens"] < 24 else "length")
        assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]

    def test_an_adapter_answers_as_it_does_in_a_job_and_leaves_the_base_model_as_it_was(
        self, serving: Serving, base: str, student: LocalStudent, register: Callable[..., AdapterVersion]
    ) -> None:
        fox = register("fox", seed=1)
        plain = serving.text(base)
        answer = serving.ask("adapter:fox@1").json()
        assert (answer["model"], answer["adapter"]) == ("adapter:fox@1", "adapter:fox@1")
        student.use(fox)
        tuned = answer["choices"][0]["message"]["content"]
        assert tuned.strip() == student.generate([PROMPT], 24)[0]
        assert tuned != plain
        assert serving.text(base) == plain

    def test_a_moved_alias_takes_effect_with_the_next_request(
        self, serving: Serving, conn: Connection, register: Callable[..., AdapterVersion]
    ) -> None:
        register("fox", seed=1, alias="champion")
        register("fox", seed=2)
        first = serving.ask("adapter:fox@champion").json()
        adapters.set_alias(conn, "fox", "champion", 2, actor="local")
        second = serving.ask("adapter:fox@champion").json()
        assert [first["model"], second["model"]] == ["adapter:fox@1", "adapter:fox@2"]
        assert second["choices"][0]["message"]["content"] == serving.text("adapter:fox@2") != serving.text("adapter:fox@1")

    def test_the_adapter_used_longest_ago_makes_room_and_comes_back_unchanged(
        self, serving: Serving, register: Callable[..., AdapterVersion], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ServedStudent, "keep", 2)
        refs = [register(name, seed=seed).ref for seed, name in enumerate(("ant", "bee", "cat", "dog"))]
        texts = [serving.text(ref) for ref in refs]
        assert len(set(texts)) == 4
        assert serving.client.get("/healthz").json()["adapters"] == refs[2:]
        assert [serving.text(ref) for ref in refs] == texts

    def test_events_carry_the_same_text_and_end_with_how_it_ended(self, serving: Serving, base: str) -> None:
        events = serving.stream(base)
        assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == serving.text(base)
        assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None] * (len(events) - 1)
        assert events[-1]["choices"][0]["finish_reason"] in ("stop", "length")
        assert events[-1]["usage"] == serving.ask(base).json()["usage"]
        assert {event["model"] for event in events} == {base}
        assert {event["object"] for event in events} == {"chat.completion.chunk"}

    def test_a_seed_makes_sampling_repeatable(self, serving: Serving, base: str) -> None:
        texts = [serving.text(base, temperature=1.5, seed=seed) for seed in (1, 1, 2)]
        assert texts[0] == texts[1] != texts[2]

    def test_max_tokens_cuts_and_says_so(self, serving: Serving, base: str) -> None:
        for name in ("max_tokens", "max_completion_tokens"):
            answer = serving.ask(base, **{"max_tokens": None, name: 2}).json()
            assert (answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]) == (2, "length")

    def test_keys_of_other_servers_and_nulls_are_left_aside(self, serving: Serving, base: str) -> None:
        assert serving.text(base, user="u", top_k=3, stop=None, tools=[], response_format={"type": "text"}) == serving.text(
            base
        )

    def test_the_chat_client_gets_its_answer(
        self, settings: Settings, base: str, register: Callable[..., AdapterVersion]
    ) -> None:
        register("fox", seed=1, alias="champion")
        settings = settings.model_copy(update={"serve_model": base})
        with Serving(settings, base) as serving:
            chat = open_chat(settings)
            plain = asyncio.run(chat.complete(PROMPT, adapter=None, max_tokens=24, temperature=0))
            tuned = asyncio.run(chat.complete(PROMPT, adapter="adapter:fox@champion", max_tokens=24, temperature=0))
            assert (plain.text, plain.model_used, plain.adapter) == (serving.text(base).strip(), base, None)
            assert (tuned.model_used, tuned.adapter) == ("adapter:fox@1", "adapter:fox@1")


class TestModels:
    def test_the_list_has_the_base_model_and_what_was_trained_on_it(
        self, serving: Serving, base: str, register: Callable[..., AdapterVersion]
    ) -> None:
        register("fox", seed=1, alias="champion")
        register("wolf", seed=2, base_sha256="0" * 64)
        listed = serving.client.get("/v1/models").json()
        assert listed["object"] == "list"
        assert [model["id"] for model in listed["data"]] == [base, "adapter:fox@1", "adapter:fox@champion"]

    @pytest.mark.parametrize("model", ["gpt-4o", "adapter:fox@9", "adapter:fox@nobody", "adapter:owl@1", "adapter:FOX", "/etc"])
    def test_an_unknown_model_is_a_404_that_lists_what_there_is(
        self, serving: Serving, base: str, register: Callable[..., AdapterVersion], model: str
    ) -> None:
        register("fox", seed=1, alias="champion")
        response = serving.ask(model)
        assert response.status_code == 404
        error = response.json()["error"]
        assert (error["param"], error["code"], error["type"]) == ("model", "model_not_found", "invalid_request_error")
        assert error["message"].endswith(f"available: {base}, adapter:fox@1, adapter:fox@champion")

    def test_an_adapter_of_another_base_model_is_refused(
        self, serving: Serving, register: Callable[..., AdapterVersion]
    ) -> None:
        register("wolf", seed=2, base_sha256="0" * 64)
        response = serving.ask("adapter:wolf@1")
        assert response.status_code == 422
        assert "was trained on another base" in response.json()["error"]["message"]

    def test_an_adapter_whose_file_changed_is_refused(
        self, serving: Serving, base: str, register: Callable[..., AdapterVersion]
    ) -> None:
        fox = register("fox", seed=1)
        (fox.folder / "adapter_config.json").write_text("{}")
        response = serving.ask(fox.ref)
        assert response.status_code == 422
        assert "adapter_config.json changed" in response.json()["error"]["message"]
        assert serving.ask(base).status_code == 200


class TestRefusals:
    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"messages": []}, "messages"),
            ({"messages": None}, "messages"),
            ({"messages": "hello"}, "messages"),
            ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
            ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
            ({"messages": [{"role": "user", "content": "\0"}]}, "messages.0.content"),
            ({"model": 7}, "model"),
            ({"model": ""}, "model"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tokens": 4097}, "max_tokens"),
            ({"max_tokens": "5"}, "max_tokens"),
            ({"temperature": 2.1}, "temperature"),
            ({"temperature": -0.1}, "temperature"),
            ({"temperature": "warm"}, "temperature"),
            ({"top_p": 0}, "top_p"),
            ({"seed": -1}, "seed"),
            ({"stream": "yes"}, "stream"),
            ({"n": 2}, "n"),
            ({"stop": ["."]}, "stop"),
            ({"tools": [{"type": "function"}]}, "tools"),
            ({"response_format": {"type": "json_object"}}, "response_format"),
        ],
    )
    def test_a_wrong_field_is_a_422_that_names_it(self, serving: Serving, base: str, wrong: dict[str, Any], field: str) -> None:
        response = serving.ask(**({"model": base} | wrong))
        assert response.status_code == 422, response.text
        assert response.json()["error"]["param"] == field
        assert field in response.json()["error"]["message"]

    @pytest.mark.parametrize("stream", [False, True])
    def test_what_does_not_fit_into_the_context_is_refused_also_as_a_stream(
        self, serving: Serving, base: str, stream: bool
    ) -> None:
        response = serving.ask(base, max_tokens=4096, stream=stream)
        assert response.status_code == 422
        assert "do not fit into the context of 512" in response.json()["error"]["message"]

    @pytest.mark.parametrize(
        ("content", "content_type", "status"),
        [
            (b"{", "application/json", 400),
            (b'{"model": "\xff"}', "application/json", 400),
            (b"[]", "application/json", 422),
            (b"{}", "text/plain", 415),
            (b" " * 2_000_000, "application/json", 413),
        ],
    )
    def test_a_body_that_is_no_request_is_a_4xx(
        self, settings: Settings, base: str, content: bytes, content_type: str, status: int
    ) -> None:
        with Serving(settings.model_copy(update={"max_body_bytes": 1_000_000}), base) as serving:
            response = serving.client.post("/v1/chat/completions", content=content, headers={"Content-Type": content_type})
        assert response.status_code == status

    def test_wrong_paths_methods_and_host_names_are_4xx(self, serving: Serving) -> None:
        assert serving.client.get("/v1/nothing").status_code == 404
        assert serving.client.get("/v1/chat/completions").status_code == 405
        assert serving.client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 400

    def test_with_a_key_only_its_bearer_is_answered(self, settings: Settings, base: str) -> None:
        settings = Settings(
            _env_file=None, **(settings.model_dump(include={"state_dir", "database_url", "serve_port"})), inference_key="secret"
        )
        with Serving(settings, base) as serving:
            assert serving.client.get("/healthz").status_code == 200
            assert serving.client.get("/v1/models").status_code == 401
            assert serving.ask(base).status_code == 401
            serving.client.headers["Authorization"] = "Bearer secret"
            assert serving.client.get("/v1/models").status_code == 200
            assert serving.ask(base).status_code == 200

    def test_beyond_loopback_a_key_is_needed(self, settings: Settings, base: str) -> None:
        with pytest.raises(InvalidInput, match="beyond loopback a key is needed"):
            serve.create_app(settings, base=base, host="0.0.0.0")

    def test_without_the_database_the_base_model_still_answers(self, settings: Settings, base: str) -> None:
        with Serving(
            settings.model_copy(update={"database_url": f"postgresql://x@127.0.0.1:{free_port()}/x"}), base
        ) as serving:
            serving.models._database._pool.timeout = 0.5
            assert serving.ask(base).status_code == 200
            response = serving.ask("adapter:fox@1")
            assert response.status_code == 503
            assert "the base model does" in response.json()["error"]["message"]


class TestLine:
    def test_one_answer_is_written_at_a_time_and_the_rest_of_the_server_stays_awake(self, serving: Serving, base: str) -> None:
        expected = serving.text(base)
        release = threading.Event()
        serving.models._line.submit(release.wait, 30)
        with ThreadPoolExecutor(3) as pool:
            answers = [pool.submit(serving.text, base) for _ in range(3)]
            wait_until(lambda: serving.client.get("/healthz").json()["waiting"] == 3, "three requests in line")
            assert not any(answer.done() for answer in answers)
            release.set()
            assert [answer.result() for answer in answers] == [expected] * 3
        assert serving.client.get("/healthz").json()["waiting"] == 0

    def test_a_full_line_sends_the_next_away(self, serving: Serving, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(serve, "MAX_WAITING", 1)
        release = threading.Event()
        serving.models._line.submit(release.wait, 30)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(serving.text, base)
            wait_until(lambda: serving.models.waiting == 1, "a request in line")
            for stream in (False, True):
                refused = serving.ask(base, stream=stream)
                assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
            release.set()
            assert first.result()

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_client_that_leaves_stops_the_writing(
        self, serving: Serving, base: str, stream: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended: list[Completion] = []
        writing = threading.Event()
        answer = ServedStudent.answer

        def watched(
            student: ServedStudent, messages: Any, adapter: Any, sampling: Any, on_text: Any, stopped: Any
        ) -> Completion:
            def slow(text: str) -> None:
                on_text(text)
                writing.set()
                wait_until(stopped, "the news that the client left")

            ended.append(answer(student, messages, adapter, sampling, slow, stopped))
            return ended[-1]

        monkeypatch.setattr(ServedStudent, "answer", watched)
        body = {"model": base, "messages": PROMPT, "max_tokens": 300, "temperature": 1.5, "seed": 3, "stream": stream}
        with socket.create_connection(("127.0.0.1", serving.server.config.port)) as leaving:
            raw = json.dumps(body).encode()
            lines = ["POST /v1/chat/completions HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
            head = "\r\n".join([*lines, f"Content-Length: {len(raw)}", "", ""])
            leaving.sendall(head.encode() + raw)
            assert writing.wait(120)
        wait_until(lambda: bool(ended), "the end of the writing")
        assert ended[0].completion_tokens < 300
        wait_until(lambda: serving.models.waiting == 0, "an empty line")

    def test_a_lazy_server_loads_with_the_first_request(self, settings: Settings, base: str) -> None:
        with Serving(settings, base, lazy=True) as serving:
            assert serving.client.get("/healthz").json() == {
                "status": "ok",
                "model": base,
                "loaded": False,
                "adapters": [],
                "encoders": [],
                "waiting": 0,
            }
            assert serving.text(base)
            assert serving.client.get("/healthz").json()["loaded"] is True


class TestProcess:
    def test_a_taken_port_is_named_with_the_way_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert serve.main(["--port", str(port)]) == 1
        assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err

    def test_a_missing_base_model_ends_the_process(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "api.serve", "--base", str(tmp_path / "nothing"), "--port", str(free_port())]
        environment = {
            "GOLDSMITH_STATE_DIR": str(tmp_path),
            "GOLDSMITH_DATABASE_URL": f"postgresql://x@127.0.0.1:{free_port()}/x",
        }
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, cwd=Path(serve.__file__).parents[1]
        )
        assert ended.returncode == 1
        assert "the base model cannot be loaded" in ended.stderr
        assert "is neither a folder with a config.json nor a .gguf file" in ended.stderr


def test_its_connections_send_without_waiting_for_acknowledgements():
    with serve.listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
