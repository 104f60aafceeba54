"""From the events that prove a regression to everything that follows, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn
from psycopg.types.json import Jsonb
from standardwebhooks.webhooks import Webhook as Standard

from api.app import create_app
from goldsmith import adapters, webhooks
from goldsmith.adapters import NewAdapter
from goldsmith.client.live import LiveExperiments
from goldsmith.db import Connection, Database, connect
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.kinds.deploy.run import run as deploy
from goldsmith.kinds.deploy.schema import DeployConfig
from goldsmith.settings import Settings
from goldsmith.storage import Storage
from goldsmith.student.ollama import Ollama
from goldsmith.webhooks import NewWebhook, SenderThread
from tests.conftest import free_port, wait_until
from tests.experimenting import register
from tests.fakes import FakeContext
from tests.ollama_server import OllamaServer, ollama_server
from tests.receiver import LOOPBACK, Receiver, receiving
from tests.serving import Serving, serving
from tests.trained import add_adapter, context, make_llama

JobFactory = Callable[..., UUID]
PLAN: dict[str, Any] = {
    "name": "spring",
    "salt": "a-salt-of-ours",
    "arms": [
        {"name": "base", "weight": 0.5, "model": "small"},
        {"name": "lora", "weight": 0.5, "adapter": "adapter:workshop@challenger", "model": "small-lora"},
    ],
}


@pytest.fixture
def server(database_url: str) -> Iterator[Serving]:
    def resolve(ref: str) -> str | None:
        with connect(database_url) as own:
            return adapters.resolve(own, ref)

    with serving(resolve) as running:
        running.tags |= {"workshop:latest": "sha256:two", "workshop:former": "sha256:one"}
        yield running


Api = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def api(server: Serving, database_url: str, valkey: EmbeddedValkey, tmp_path: Path) -> Api:
    """The API on a port, as `python -m api` runs it."""

    @contextmanager
    def running(ollama_host: str) -> Iterator[str]:
        port = free_port()
        settings = Settings(
            _env_file=None, state_dir=tmp_path, database_url=database_url, broker_url=valkey.url, port=port, serve_url=server.url,
            OLLAMA_HOST=ollama_host,
        )  # fmt: skip
        api = uvicorn.Server(uvicorn.Config(create_app(settings), port=port, log_config=None))
        thread = threading.Thread(target=api.run)
        thread.start()
        try:
            wait_until(lambda: api.started, "the start of the API")
            yield f"http://127.0.0.1:{port}"
        finally:
            api.should_exit = True
            thread.join(120)

    return running


@pytest.fixture
def receiver(database: Database) -> Iterator[Receiver]:
    sender = SenderThread(database, allowed=LOOPBACK, dead_after_days=5)
    sender.start()
    with receiving() as running:
        yield running
    sender.stop()
    sender.join(120)


def events(device: str, *, blocked: bool) -> list[dict[str, Any]]:
    """One request of a device: exposed, answered by its arm's model, an attempt, and perhaps a block."""
    facts = {"unit": device, "interception_run_id": f"run-{device}", "occurred_at": datetime.now(UTC).isoformat()}
    found: list[dict[str, Any]] = [
        {"event": "exposure"},
        {"event": "generation_started", "data": {"safety_level": "kids"}},
    ]
    if blocked:
        found.append({"event": "stage_block", "data": {"stage": 3, "method": "86a_filter"}})
    return [{"event_id": f"{device}-{number}", **facts, **event} for number, event in enumerate(found)]


def test_events_that_prove_a_regression_pull_the_arm_back_everywhere(
    conn: Connection, job_factory: JobFactory, tmp_path: Path, server: Serving, api: Api, receiver: Receiver
) -> None:
    for number, alias in enumerate(["champion", "challenger"]):
        register(conn, Storage(tmp_path), job_factory(kind="train"), tmp_path / f"trained-{number}", alias=alias)
    result = {
        "adapter": "adapter:workshop@2", "model": "workshop", "tag": "workshop:v2", "digest": "sha256:two",
        "former_digest": "sha256:one", "alias": None, "former_alias_version": None,
    }  # fmt: skip
    job_factory(kind="deploy", status="completed", result=Jsonb(result))
    hook = webhooks.add(conn, NewWebhook(url=receiver.url, events=["experiment.rolled_back"]))
    with api(server.url) as url, httpx.Client(base_url=url, timeout=120) as client, LiveExperiments(url) as live:
        made = client.post("/v1/experiments", json=PLAN).raise_for_status().json()
        path = f"/v1/experiments/{made['id']}"
        client.post(f"{path}/start").raise_for_status()
        devices = [f"device-{number}" for number in range(300)]
        given = client.post(f"{path}/assignments", json={"units": devices}).raise_for_status().json()["assignments"]
        lora = {one["unit"] for one in given if one["arm"] == "lora"}
        device = min(lora)
        wait_until(lambda: live.assign(unit=device, run_id="r", config_id="c").arm == "lora", "the first snapshot")

        sent = [event for number, one in enumerate(devices) for event in events(one, blocked=one in lora and number % 2 == 0)]
        answer = client.post(f"{path}/events", json={"events": sent}).raise_for_status().json()
        assert answer["rejected"] == []

        def report() -> dict[str, Any]:
            found: dict[str, Any] = client.get(f"{path}/report").raise_for_status().json()
            return found

        wait_until(lambda: live.assign(unit=device, run_id="r", config_id="c").arm != "lora", "base in the SDK")
        wait_until(lambda: report()["decisions"][0]["probe"]["state"] == "passed", "the probe")
        wait_until(lambda: bool(receiver.got), "the webhook")
        shown = report()
        again = client.post(f"{path}/assignments", json={"units": [device]}).json()["assignments"][0]

    assert again["arm"] != "lora"
    assert shown["experiment"]["status"] == "rolled_back"
    decision = shown["decisions"][0]
    assert (decision["decision"], decision["actor"]) == ("rollback", "guard")
    assert "adapter:workshop@1 when asked for adapter:workshop@challenger" in decision["probe"]["words"]
    assert adapters.resolve(conn, "adapter:workshop@challenger") == "adapter:workshop@1"
    assert server.tags["workshop:latest"] == "sha256:one"
    assert shown["look"]["verdict"]["decision"] == "rollback"
    (got,) = receiver.got
    told = Standard(hook.secret).verify(got.body, got.headers)
    assert told["data"]["reason"] == decision["reason"]
    assert json.loads(got.body)["type"] == "experiment.rolled_back"
    entry = conn.execute("SELECT data FROM audit_log WHERE action = 'experiment.rollback'").fetchone()
    assert entry is not None
    assert entry["data"]["statistics"]["guardrails"][0]["numbers"]["e_value"] >= 100


@pytest.fixture
def ollama(tmp_path: Path) -> Iterator[OllamaServer]:
    pytest.importorskip("xllamacpp", reason="pip install 'goldsmith[export]'")
    folder = tmp_path / "blobs"
    folder.mkdir()
    with ollama_server(folder) as server:
        yield server


def test_after_a_real_deployment_the_old_answers_come_back(
    conn: Connection, job_factory: JobFactory, tmp_path: Path, api: Api, ollama: OllamaServer
) -> None:
    """Two versions of an adapter, each deployed by its job; callers ask the model by its name, as they always do."""
    world = context(tmp_path, base := str(make_llama(tmp_path / "llama")))
    add_adapter(world, base, cache=tmp_path, seed=8)

    def answer() -> str:
        body = {"model": "tiny", "prompt": "a clay pot", "stream": False, "options": {"num_predict": 12}}
        found: str = httpx.post(f"{ollama.url}/api/generate", json=body, timeout=60).raise_for_status().json()["response"]
        return found

    answers = []
    for version, alias in enumerate(("champion", "challenger"), 1):
        ctx = FakeContext(tmp_path, kind="deploy")
        ctx.datasets, ctx.adapters, ctx.student_factory = world.datasets, world.adapters, world.student_factory
        ctx.ollama_factory = lambda: Ollama(ollama.url)
        facts = world.adapters["tiny"][version - 1].model_dump(
            include=set(NewAdapter.__dataclass_fields__) - {"folder", "parents"}
        )
        new = NewAdapter(**facts, folder=world.adapters["tiny"][version - 1].folder, alias=alias)
        adapters.register(conn, Storage(tmp_path), job_factory(kind="train"), 1, new)
        config = DeployConfig(adapter=f"adapter:tiny@{version}", parity_prompts=1, parity_tokens=8)
        result = deploy(config, ctx).model_dump(mode="json")
        job_factory(kind="deploy", status="completed", result=Jsonb(result))
        adapters.set_alias(conn, "tiny", "deployed", version, actor="job")
        answers.append(answer())
    assert answers[0] != answers[1]

    arms = [PLAN["arms"][0], PLAN["arms"][1] | {"adapter": "adapter:tiny@challenger"}]
    with api(ollama.url) as url, httpx.Client(base_url=url, timeout=120) as client:
        path = f"/v1/experiments/{client.post('/v1/experiments', json=PLAN | {'arms': arms}).raise_for_status().json()['id']}"
        client.post(f"{path}/start").raise_for_status()
        devices = [f"device-{number}" for number in range(300)]
        given = client.post(f"{path}/assignments", json={"units": devices}).json()["assignments"]
        blocked = {one["unit"] for one in given if one["arm"] == "lora"}
        sent = [event for device in devices for event in events(device, blocked=device in blocked)]
        assert client.post(f"{path}/events", json={"events": sent}).json()["rejected"] == []

        def probe() -> dict[str, Any]:
            decisions = client.get(f"{path}/report").raise_for_status().json()["decisions"]
            found: dict[str, Any] = decisions[0]["probe"] or {}
            return found

        wait_until(lambda: probe().get("state") == "passed", "the probe")
        assert "tiny:latest answers" in probe()["words"]
    assert answer() == answers[0]
    assert {alias: adapters.resolve(conn, f"adapter:tiny@{alias}") for alias in ("challenger", "deployed")} == dict.fromkeys(
        ("challenger", "deployed"), "adapter:tiny@1"
    )
