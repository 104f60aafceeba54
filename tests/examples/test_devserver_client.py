"""A Flask app in front of Goldsmith: its requests wait for nobody, and what it started is there once."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
import requests
from flask.testing import FlaskClient

from goldsmith import artifacts, jobs
from goldsmith.db import Connection
from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.jobs import Outcome
from tests.client.server import Api, api, completes
from tests.conftest import free_port, wait_until

__all__ = ["api"]

EXAMPLE = Path(__file__).parents[2] / "examples/devserver_client.py"
BODY = {
    "config_id": "clay_workshop",
    "user_input": "Ein Drache, der Angst im Dunkeln hat",
    "language": "de",
    "device_id": "tablet-3",
}
NINE = {"job_id", "status", "progress", "message", "result", "error", "created_at", "started_at", "completed_at"}
App = Callable[..., FlaskClient]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("devserver_client", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "devserver_client", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "POLL_S", 0.05)
    return module


@pytest.fixture
def app(example: ModuleType) -> Iterator[App]:
    """The Flask app in front of a Goldsmith at this URL."""
    made = []

    def make(url: str) -> FlaskClient:
        made.append(example.Goldsmith(url))
        client: FlaskClient = example.create_app(made[-1]).test_client()
        return client

    yield make
    for goldsmith in made:
        goldsmith.close()


@pytest.fixture
def imported(conn: Connection, api: Api, job_factory: Callable[..., UUID]) -> None:
    """Goldsmith has read a checkout, so that it can answer."""
    config = InterceptionConfig(
        config_id="clay_workshop", name={"en": "Clay"}, context={"en": "You work in clay."}, parameters={}, meta={}
    )
    checkout = Checkout(template="{{TASK_INSTRUCTION}} {{CONTEXT}} {{INPUT_TEXT}}", task="Transform.", configs=[config])
    job_id = job_factory(kind="import", status="running")
    artifacts.save(conn, api.storage, job_id, 1, "contexts.json", checkout.model_dump_json().encode(), "application/json")
    jobs.finish(conn, job_id, 1, Outcome("completed", result={}))


def start(app: FlaskClient) -> str:
    answer = app.post("/api/job/start", json=BODY)
    assert answer.status_code == 202, answer.text
    assert answer.json is not None
    assert answer.json.keys() == {"job_id", "status"}
    return str(answer.json["job_id"])


def status(app: FlaskClient, job_id: str) -> dict[str, Any]:
    answer = app.get(f"/api/job/{job_id}/status")
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json.keys() == NINE
    assert answer.json["job_id"] == job_id
    found: dict[str, Any] = answer.json
    return found


@pytest.mark.usefixtures("imported")
def test_a_job_from_the_browsers_start_to_its_result(api: Api, app: App) -> None:
    browser = app(api.url)
    with api.worker(completes({"output_text": "Aus Ton geformt."})):
        job_id = start(browser)
        wait_until(lambda: status(browser, job_id)["status"] == "completed", "the end of the job")
    shown = status(browser, job_id)
    assert (shown["result"], shown["progress"], shown["message"]) == ({"output_text": "Aus Ton geformt."}, 100, "Completed")


def test_a_refusal_is_shown_as_a_failed_job(api: Api, app: App) -> None:
    browser = app(api.url)
    job_id = start(browser)
    wait_until(lambda: status(browser, job_id)["status"] == "failed", "the refusal")
    assert "run an import job with a checkout first" in status(browser, job_id)["error"]


def test_an_unknown_job_is_a_404(app: App) -> None:
    answer = app(f"http://127.0.0.1:{free_port()}").get("/api/job/x/status")
    assert (answer.status_code, answer.json) == (404, {"error": "Job not found"})


def test_no_request_waits_while_goldsmith_hangs(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, let_go = threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        hangs.set()
        let_go.wait(60)
        raise requests.ReadTimeout

    monkeypatch.setattr(requests.Session, "request", hang)
    browser = app("http://127.0.0.1:9")
    first = start(browser)
    assert hangs.wait(120)
    assert [status(browser, job_id)["status"] for job_id in (first, start(browser), start(browser))] == ["queued"] * 3
    assert not let_go.is_set()  # all of this while the call hung
    let_go.set()


@pytest.mark.usefixtures("imported")
def test_a_start_whose_answer_got_lost_is_there_once(
    api: Api, app: App, example: ModuleType, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lost = requests.Session.request, []

    def lossy(self: requests.Session, method: str, *args: Any, **more: Any) -> Any:
        answer = real(self, method, *args, **more)
        if method == "POST" and len(lost) < 2:
            lost.append(answer)
            raise requests.ReadTimeout
        return answer

    monkeypatch.setattr(requests.Session, "request", lossy)
    monkeypatch.setattr(example, "PAUSE_S", 0.01)
    browser = app(api.url)
    job_id = start(browser)
    wait_until(lambda: status(browser, job_id)["created_at"] != "" and len(lost) == 2, "two lost answers")
    with api.worker(completes()):
        wait_until(lambda: status(browser, job_id)["status"] == "completed", "the end of the job")
    assert len(jobs.list_jobs(conn, kind="intercept")) == 1


class Answers:
    """Stands for Goldsmith's network: counts the calls, and answers or fails as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.status, self.headers = 0, {}
        self.content = b'{"job_id": "theirs", "status": "queued"}'
        monkeypatch.setattr(requests.Session, "request", self.request)

    def request(self, method: str, url: str, **_: Any) -> requests.Response:
        self.calls.append(method)
        if self.status == 0:
            raise requests.ConnectionError
        answer = requests.Response()
        answer.status_code = self.status
        answer.headers.update(self.headers)
        answer._content = self.content
        return answer


@pytest.mark.parametrize("broken", [0, 503])
def test_the_breaker_leaves_goldsmith_alone_and_says_so_at_once(
    app: App, example: ModuleType, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    monkeypatch.setattr(example, "PAUSE_S", 60)
    monkeypatch.setattr(example, "LONGEST_PAUSE_S", 60)
    network = Answers(monkeypatch)
    network.status = broken
    browser = app("http://127.0.0.1:9")
    job_id = start(browser)

    def refused() -> bool:
        answer = browser.post("/api/job/start", json=BODY)
        return answer.status_code == 503 and 50 < int(answer.headers["Retry-After"]) <= 60

    wait_until(refused, "the breaker's opening")
    calls = len(network.calls)
    assert all(refused() for _ in range(5))
    assert status(browser, job_id)["status"] == "queued"
    assert len(network.calls) == calls == 1


def test_when_goldsmith_is_back_what_waited_is_handed_over(
    app: App, example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "PAUSE_S", 0.01)
    network = Answers(monkeypatch)
    browser = app("http://127.0.0.1:9")
    start(browser)
    wait_until(lambda: len(network.calls) >= 2, "a second try")
    network.status = 202
    wait_until(lambda: browser.post("/api/job/start", json=BODY).status_code == 202, "the breaker's closing")
    wait_until(lambda: "GET" in network.calls, "a poll of what was handed over")


def test_what_is_not_taken_in_a_minute_has_failed(app: App, example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that polls must come to an end."""
    monkeypatch.setattr(example, "GIVE_UP_S", 0.05)
    Answers(monkeypatch)
    browser = app("http://127.0.0.1:9")
    job_id = start(browser)
    wait_until(lambda: status(browser, job_id)["status"] == "failed", "giving up")
    assert status(browser, job_id)["error"] == "Goldsmith is away"


def test_an_answer_that_is_not_goldsmiths_stops_nothing(app: App, example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "PAUSE_S", 0.01)
    network = Answers(monkeypatch)
    network.status, network.content = 202, b"<html>another service"
    browser = app("http://127.0.0.1:9")
    job_id = start(browser)
    wait_until(lambda: len(network.calls) >= 3, "the third try")
    assert status(browser, job_id)["status"] == "queued"


def test_a_429_is_obeyed_and_is_no_failure(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Answers(monkeypatch)
    network.status, network.headers = 429, {"Retry-After": "30"}
    browser = app("http://127.0.0.1:9")
    first = start(browser)
    wait_until(lambda: len(network.calls) == 1, "the first call")
    second = start(browser)  # it is there, so a start is taken; only the calls wait
    wait_until(lambda: status(browser, second)["status"] == "queued", "a status")
    assert status(browser, first)["status"] == "queued"
    assert len(network.calls) == 1


def test_too_many_starts_on_their_way_ask_the_browser_to_come_back(
    app: App, example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "MOST_STARTS", 3)
    network = Answers(monkeypatch)
    network.status, network.headers = 429, {"Retry-After": "30"}
    browser = app("http://127.0.0.1:9")
    for _ in range(3):
        start(browser)
    answer = browser.post("/api/job/start", json=BODY)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
