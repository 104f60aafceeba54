from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from goldsmith import artifacts, jobs
from goldsmith.client import ApiError, Client, ImportConfig, Job, JobFailed, NotReachable, TrainConfig
from goldsmith.db import Connection, connect
from goldsmith.embedded.valkey import EmbeddedValkey
from goldsmith.jobs import Claimed, Outcome
from tests.client.server import Api, completes, fails, running_api, start_by_hand
from tests.conftest import free_port

SERVER = ("fastapi", "celery", "psycopg", "redis", "sqlalchemy", "alembic", "pydantic_settings", "structlog", "torch", "typer")


def test_submit_sends_a_config_and_returns_a_handle(api: Api) -> None:
    with Client() as client:
        handle = client.submit(ImportConfig(folder="examples/workshop"))

        assert handle.job.status == "queued"
        assert handle.job.config["folder"] == "examples/workshop"
        assert handle.ref == f"job:{handle.id}"
        assert client.get(handle.id) == handle.job
        assert client.handle(str(handle.id)).id == handle.id


def test_submit_takes_a_plain_dict_and_options(api: Api) -> None:
    with Client() as client:
        handle = client.submit({"kind": "noop", "wait_s": 1}, options={"priority": 9})

    assert handle.job.priority == 9
    assert handle.job.config["wait_s"] == 1


def test_wait_shows_progress_and_ends_with_the_result(api: Api) -> None:
    seen: list[Job] = []

    def work(conn: Connection, claimed: Claimed) -> Outcome:
        jobs.progress(conn, claimed.id, claimed.attempt, 50, "halfway", [])
        while not any(job.progress == 50 for job in seen):
            jobs.heartbeat(conn, claimed.id, claimed.attempt)
        return Outcome("completed", result={"pots": 3})

    with api.worker(work), Client() as client:
        handle = client.submit({"kind": "noop"}).wait(seen.append, timeout=120, poll_s=0.02)

    assert handle.result == {"pots": 3}
    assert "halfway" in [job.message for job in seen]
    assert [job.progress for job in seen] == sorted(job.progress for job in seen)
    assert (seen[-1].status, seen[-1].progress) == ("completed", 100)


def test_wait_raises_when_the_job_failed(api: Api) -> None:
    with api.worker(fails), Client() as client:
        handle = client.submit({"kind": "noop"})
        with pytest.raises(JobFailed, match="the clay was too dry") as caught:
            handle.wait(poll_s=0.02)

    assert caught.value.job.status == "failed"
    assert caught.value.job.error is not None
    assert caught.value.job.error["title"] == "Broken"
    with pytest.raises(JobFailed):
        _ = handle.result


def test_wait_raises_when_the_job_was_cancelled(api: Api) -> None:
    with Client() as client:
        handle = client.submit({"kind": "noop"})
        assert handle.cancel().status == "cancelled"
        with pytest.raises(JobFailed, match="cancelled"):
            handle.wait()


def test_wait_gives_up_after_its_timeout(api: Api) -> None:
    with Client() as client, pytest.raises(TimeoutError, match="still queued"):
        client.submit({"kind": "noop"}).wait(timeout=0, poll_s=0.01)


def test_a_failed_job_can_be_queued_again(api: Api) -> None:
    with Client() as client:
        handle = client.submit({"kind": "noop"})
        with api.worker(fails), pytest.raises(JobFailed):
            handle.wait(poll_s=0.02)
        with api.worker(completes()):
            again = client.retry(handle.id).wait(poll_s=0.02)

    assert again.id == handle.id
    assert again.result["attempt"] == 2


def test_wait_survives_a_server_that_is_away_for_a_moment(
    database_url: str, valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOLDSMITH_API_KEY", raising=False)
    with running_api(database_url, valkey, tmp_path) as first, Client(first.url) as client:
        handle = client.submit({"kind": "noop"})
        broken = client._http

        class Away(httpx.BaseTransport):
            asked = 0

            def handle_request(self, request: httpx.Request) -> httpx.Response:
                self.asked += 1
                if self.asked == 1:
                    raise httpx.ConnectError("refused")
                if self.asked == 2:
                    return httpx.Response(503, json={"detail": "the database does not answer"})
                return broken.send(broken.build_request(request.method, request.url))

        away = Away()
        client._http = httpx.Client(base_url=first.url, transport=away)
        with first.worker(completes()):
            handle.wait(poll_s=0.02)
        client._http.close()
        client._http = broken

    assert away.asked > 2


def test_a_refusal_carries_status_and_problem(api: Api) -> None:
    with Client() as client, pytest.raises(ApiError) as caught:
        client.submit({"kind": "train", "dataset": "dataset:gold@1", "name": "x", "lora_r": 0})

    assert caught.value.status == 422
    assert caught.value.problem["title"] == "Invalid input"
    assert [entry["field"] for entry in caught.value.problem["errors"]] == ["lora_r"]
    assert "lora_r" in str(caught.value)


def test_a_field_without_a_message_adds_nothing_to_the_detail() -> None:
    refused = ApiError(422, {"detail": "model 'x' has no price", "errors": [{"field": "model", "value": "x"}]})
    assert str(refused) == "model 'x' has no price (422)"


def test_a_job_that_is_not_there_is_a_404(api: Api) -> None:
    with Client() as client, pytest.raises(ApiError) as caught:
        client.get(uuid4())

    assert caught.value.status == 404


def test_a_wrong_config_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="lora_r"):
        TrainConfig(dataset="dataset:gold@1", name="x", lora_r=0)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "127.0.0.1:{port}"])
def test_nobody_at_the_url_is_not_reachable(url: str) -> None:
    url = url.format(port=free_port())
    with Client(url) as client, pytest.raises(NotReachable) as caught:
        client.kinds()

    assert url in str(caught.value)


def test_the_same_idempotency_key_returns_the_first_job(api: Api) -> None:
    with Client() as client:
        first = client.submit({"kind": "noop"}, idempotency_key="monday")
        assert client.submit({"kind": "noop"}, idempotency_key="monday").id == first.id
        assert client.submit({"kind": "noop"}).id != first.id
        with pytest.raises(ApiError, match="monday"):
            client.submit({"kind": "noop", "wait_s": 1}, idempotency_key="monday")


def test_list_pages_through_every_job_newest_first(api: Api) -> None:
    with Client() as client:
        ids = [client.submit({"kind": "noop"}).id for _ in range(7)]
        client.submit(ImportConfig(folder="examples/workshop"))
        client.cancel(ids[0])

        assert [job.id for job in client.list(kind="noop", limit=2)] == ids[::-1]
        assert [job.id for job in client.list(status="cancelled", limit=1)] == [ids[0]]


def test_events_come_in_order_and_from_where_one_left_off(api: Api) -> None:
    with Client() as client:
        handle = client.submit({"kind": "noop"})
        claimed = start_by_hand(api.database_url, handle.id)
        with connect(api.database_url) as conn:
            for step in range(1, 601):  # more than one page
                jobs.progress(conn, handle.id, claimed.attempt, step / 10, f"step {step}", [])

        events = list(client.events(handle.id))

        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        steps = [event["data"]["message"] for event in events if event["event"] == "progress"]
        assert steps == [f"step {step}" for step in range(1, 601)]
        assert list(client.events(handle.id, after=events[-3]["seq"])) == events[-2:]


def test_download_fetches_the_bytes_of_an_artifact(api: Api, tmp_path: Path) -> None:
    content = bytes(range(256)) * 100
    with Client() as client:
        handle = client.submit({"kind": "noop"})
        claimed = start_by_hand(api.database_url, handle.id)
        with connect(api.database_url) as conn:
            ref = artifacts.save(conn, api.storage, handle.id, claimed.attempt, "pot.bin", content, "application/octet-stream")

        assert [one["ref"] for one in client.artifacts(handle.id)] == [ref]
        assert client.download(ref, tmp_path / "pot.bin").read_bytes() == content
        with pytest.raises(ApiError, match=r"it has: pot\.bin"):
            client.download(f"job:{handle.id}/cup.bin", tmp_path / "cup.bin")
    assert not (tmp_path / "cup.bin").exists()


def test_a_key_is_sent_and_needed(
    database_url: str, valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOLDSMITH_API_KEY", raising=False)
    with running_api(database_url, valkey, tmp_path, api_key="the-key") as server:
        for wrong in (None, "another"):
            with Client(server.url, api_key=wrong) as client, pytest.raises(ApiError) as caught:
                client.kinds()
            assert caught.value.status == 401
        with Client(server.url, api_key="the-key") as client:
            assert client.kinds()
        monkeypatch.setenv("GOLDSMITH_API_KEY", "the-key")
        with Client(server.url) as client:
            assert client.kinds()


def test_leaving_the_context_closes_the_connections(api: Api) -> None:
    with Client() as client:
        assert client.kinds()
    with pytest.raises(RuntimeError, match="closed"):
        client.kinds()


def test_importing_it_needs_nothing_of_the_server() -> None:
    forbid = "; ".join(f"sys.modules[{name!r}] = None" for name in SERVER)

    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {forbid}; import goldsmith.client as c; print(c.TrainConfig.__name__)"],
        capture_output=True,
        text=True,
    )

    assert done.stdout.strip() == "TrainConfig", done.stderr


def test_follow_yields_events_as_they_happen_to_the_last(api: Api) -> None:
    with Client() as client:
        handle = client.submit({"kind": "noop"})
        told = handle.follow()
        assert next(told)["event"] == "submitted"
        claimed = start_by_hand(api.database_url, handle.id)
        assert next(told)["event"] == "started"
        with connect(api.database_url) as conn:
            jobs.progress(conn, handle.id, claimed.attempt, 50, "half\u2028way", [])
            event = next(told)
            assert (event["event"], event["data"]["message"]) == ("progress", "half\u2028way")
            jobs.finish(conn, handle.id, claimed.attempt, Outcome("completed", result={}))
        assert [event["event"] for event in told] == ["completed"]
        assert [event["seq"] for event in client.follow(handle.id, after=2)] == [3, 4]
        assert list(client.follow(handle.id, after=4)) == []


def test_follow_goes_on_where_a_broken_connection_left_it(api: Api) -> None:
    with Client() as client:
        handle = client.submit({"kind": "noop"})
        told = client.follow(handle.id)
        assert next(told)["event"] == "submitted"
        api.state.wakeups.release()  # the server ends every stream, as when it is restarted
        claimed = start_by_hand(api.database_url, handle.id)
        api.state.wakeups.closing = False
        with connect(api.database_url) as conn:
            jobs.finish(conn, handle.id, claimed.attempt, Outcome("completed", result={}))
        assert [(event["seq"], event["event"]) for event in told] == [(2, "started"), (3, "completed")]


def test_follow_of_a_job_that_is_not_there_is_a_404(api: Api) -> None:
    with Client() as client, pytest.raises(ApiError) as caught:
        next(client.follow(uuid4()))

    assert caught.value.status == 404


def test_waiting_asks_only_when_something_changed(api: Api) -> None:
    with Client() as client:
        handle = client.submit({"kind": "noop"})
        asked: list[str] = []
        client._http.event_hooks = {"request": [lambda request: asked.append(str(request.url))]}
        with api.worker(completes()):
            handle.wait()

    assert all("wait=30" in url for url in asked[1:])
    assert len(asked) <= 5, "the first look, and one for each of at most four changes"


def test_webhooks_are_added_looked_at_and_removed(api: Api) -> None:
    with Client() as client:
        hook = client.add_webhook("https://8.8.8.8/hook", events=["job.cancelled"])
        ended = [client.submit({"kind": "noop"}).cancel().id for _ in range(3)]
        deliveries = list(client.webhook_deliveries(hook["id"], limit=2))
        assert [one["job_id"] for one in deliveries] == [str(job_id) for job_id in reversed(ended)]
        assert list(client.webhook_deliveries(hook["id"], status="failed")) == []
        assert [one["id"] for one in client.webhooks()] == [hook["id"]]
        client.remove_webhook(hook["id"])
        assert client.webhooks() == []


def test_a_batch_returns_its_ids_in_order_and_names_what_is_wrong(api: Api) -> None:
    with Client() as client:
        ids = client.submit_batch([ImportConfig(folder="examples/workshop"), {"kind": "noop", "options": {"priority": 9}}])
        assert [client.get(one).kind for one in ids] == ["import", "noop"]
        assert client.get(ids[1]).priority == 9
        assert client.submit_batch([{"kind": "noop"}], idempotency_key="b") == client.submit_batch(
            [{"kind": "noop"}], idempotency_key="b"
        )
        with pytest.raises(ApiError, match=r"jobs\.1\.wait_s"):
            client.submit_batch([{"kind": "noop"}, {"kind": "noop", "wait_s": "x"}])


def test_many_are_cancelled_and_retried_by_filter(api: Api) -> None:
    with Client() as client:
        ids = client.submit_batch([{"kind": "noop"}] * 3)
        before = client.get(ids[2]).created_at
        assert sorted(client.cancel_many(ids=ids[:2], kind="noop", dry_run=True)) == sorted(ids[:2])
        assert sorted(client.cancel_many(kind="noop", created_before=before, ids=ids)) == []
        assert sorted(client.cancel_many(kind="noop")) == sorted(ids)
        assert sorted(client.retry_many(ids=ids[:1])) == sorted(ids[:1])
        assert [client.get(one).status for one in ids] == ["queued", "cancelled", "cancelled"]
        assert client.set_priority(ids[0], 8).priority == 8
        with api.worker(fails), pytest.raises(JobFailed):
            client.handle(ids[0]).wait()
        assert [(one["id"], one["cause"]) for one in client.dead()] == [(str(ids[0]), "the clay was too dry")]
