"""Who asked is told of every ended job, once, signed, until it is taken or a day has passed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb
from standardwebhooks.webhooks import Webhook as Standard
from standardwebhooks.webhooks import WebhookVerificationError
from structlog.testing import capture_logs

from goldsmith import jobs, metrics, webhooks
from goldsmith.db import Connection, Database, connect
from goldsmith.embedded.postgres import EmbeddedPostgres
from goldsmith.errors import Conflict, NotFound
from goldsmith.jobs import NewJob, Outcome
from goldsmith.webhooks import (
    RETRY_AFTER_S,
    Answer,
    Claimed,
    Delivery,
    NewWebhook,
    SenderThread,
    WebhookChange,
    WebhookWithSecret,
)
from tests.conftest import wait_until
from tests.receiver import LOOPBACK, Receiver, receiving

JobFactory = Callable[..., UUID]
TEXT = "a dragon that is afraid of the dark"


@pytest.fixture(scope="module")
def module_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute("CREATE DATABASE webhooks TEMPLATE goldsmith STRATEGY file_copy")
        yield postgres.url("webhooks")
        admin.execute("DROP DATABASE webhooks WITH (FORCE)")


@pytest.fixture
def database_url(module_url: str) -> str:
    """One database for all, emptied for each: making one takes longer than most of these tests."""
    with connect(module_url) as conn:
        conn.execute("DELETE FROM webhooks")
        conn.execute("DELETE FROM jobs")
    return module_url


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def add(conn: Connection, url: str = "https://hooks.example/", **more: Any) -> WebhookWithSecret:
    return webhooks.add(conn, NewWebhook(url=url, **more))


def written(conn: Connection, hook: WebhookWithSecret) -> list[Delivery]:
    return webhooks.deliveries(conn, hook.id)


def running_job(conn: Connection, kind: str = "noop", **more: Any) -> jobs.Claimed:
    job, _ = jobs.submit(conn, NewJob(kind, {"kind": kind, "user_input": TEXT}, "io", 60, 3, **more))
    claimed = jobs.claim(conn, job.id, worker="test", gpu_id=None)
    assert claimed is not None
    return claimed


def end_one(conn: Connection, kind: str = "noop") -> UUID:
    claimed = running_job(conn, kind)
    jobs.finish(conn, claimed.id, claimed.attempt, Outcome("completed", result={"rows": 1}))
    return claimed.id


def claim(conn: Connection, hook: WebhookWithSecret) -> Claimed:
    claimed = webhooks.claim(conn, hook.id)
    assert claimed is not None
    return claimed


def fail(conn: Connection, hook: WebhookWithSecret, status: int | None = 500, *, days: float = 5) -> None:
    """One try that fails."""
    conn.execute("UPDATE webhook_deliveries SET next_at = now() WHERE next_at IS NOT NULL")
    webhooks.record(conn, claim(conn, hook), Answer(status, 12, f"the receiver answered {status}"), dead_after_days=days)


# -- written by the transaction that ends the job


def completes(conn: Connection) -> None:
    end_one(conn)


def fails(conn: Connection) -> None:
    claimed = running_job(conn)
    jobs.finish(conn, claimed.id, claimed.attempt, Outcome("failed", message=TEXT))


def is_cancelled_while_running(conn: Connection) -> None:
    claimed = running_job(conn)
    jobs.cancel(conn, claimed.id)
    jobs.finish(conn, claimed.id, claimed.attempt, Outcome("cancelled"))


def is_cancelled_in_the_queue(conn: Connection) -> None:
    job, _ = jobs.submit(conn, NewJob("noop", {"kind": "noop"}, "io", 60, 3))
    jobs.cancel(conn, job.id)


def loses_its_last_worker(conn: Connection) -> None:
    claimed = running_job(conn)
    conn.execute("UPDATE jobs SET heartbeat_at = now() - interval '1 hour', failures = 2 WHERE id = %s", (claimed.id,))
    conn.execute("SELECT pg_sleep(0.05)")
    assert jobs.rescue(conn, lease_s=0.01) == [claimed.id]


ENDS = {
    completes: ["job.completed"],
    fails: ["job.failed"],
    is_cancelled_while_running: ["job.cancelled"],
    is_cancelled_in_the_queue: ["job.cancelled"],
    loses_its_last_worker: ["job.failed"],
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_job_that_ends_is_written_once_for_each_webhook(conn: Connection, end: Callable[[Connection], None]) -> None:
    first, second = add(conn), add(conn)
    end(conn)
    jobs.rescue(conn, lease_s=30)
    for hook in (first, second):
        assert [delivery.event for delivery in written(conn, hook)] == ENDS[end]


def test_a_child_that_fails_with_its_parent_is_written_too(conn: Connection) -> None:
    hook = add(conn)
    parent = running_job(conn)
    child, _ = jobs.submit(conn, NewJob("noop", {"kind": "noop"}, "io", 60, 3, parents=[parent.id]))
    jobs.finish(conn, parent.id, parent.attempt, Outcome("failed", message="broken"))
    assert [(one.job_id, one.event) for one in written(conn, hook)] == [(child.id, "job.failed"), (parent.id, "job.failed")]


def test_a_row_that_is_written_as_ended_is_told_of(conn: Connection, job_factory: JobFactory) -> None:
    hook = add(conn)
    job_id = job_factory(status="cancelled")
    assert [one.job_id for one in written(conn, hook)] == [job_id]


def test_what_is_put_back_has_not_ended(conn: Connection) -> None:
    hook = add(conn)
    for outcome in (Outcome("requeue", after_s=60), Outcome("retry", after_s=60)):
        claimed = running_job(conn)
        jobs.progress(conn, claimed.id, claimed.attempt, 50, "halfway", [])
        jobs.finish(conn, claimed.id, claimed.attempt, outcome)
    assert written(conn, hook) == []


def test_a_retried_job_ends_a_second_time(conn: Connection) -> None:
    hook = add(conn)
    claimed = running_job(conn)
    jobs.finish(conn, claimed.id, claimed.attempt, Outcome("failed", message="broken"))
    jobs.retry(conn, claimed.id)
    again = jobs.claim(conn, claimed.id, worker="test", gpu_id=None)
    assert again is not None
    jobs.finish(conn, again.id, again.attempt, Outcome("completed", result={}))
    assert [one.event for one in written(conn, hook)] == ["job.completed", "job.failed"]


def test_an_end_that_is_rolled_back_is_not_told(conn: Connection) -> None:
    hook = add(conn)
    with conn.transaction(force_rollback=True):
        end_one(conn)
        assert len(written(conn, hook)) == 1
    assert written(conn, hook) == []


def test_only_the_events_and_kinds_that_were_asked_for(conn: Connection) -> None:
    failures, trains, both = add(conn, events=["job.failed"]), add(conn, kinds=["train"]), add(conn)
    off = add(conn)
    webhooks.change(conn, off.id, WebhookChange(active=False))
    for kind in ("train", "gold"):
        end_one(conn, kind)
    fails(conn)
    assert [len(written(conn, hook)) for hook in (failures, trains, both, off)] == [1, 1, 3, 0]
    assert written(conn, trains)[0].payload["data"]["kind"] == "train"


def test_the_payload_has_references_and_no_texts(conn: Connection) -> None:
    hook = add(conn)
    claimed = running_job(conn, "train")
    refs = {
        "adapter": "adapter:workshop@3",
        "dataset": "dataset:gold@12",
        "report": f"job:{claimed.id}/gold.json",
        "parent": f"job:{claimed.id}",
    }
    texts = {
        "output_text": TEXT,
        "ruse": f"job:{claimed.id}/x {TEXT}",
        "note": f"dataset:{TEXT}@1",
        "rows": 3,
        "more": {"a": TEXT},
    }
    jobs.finish(conn, claimed.id, claimed.attempt, Outcome("completed", result=refs | texts))
    fails(conn)
    failed, completed = (one.payload for one in written(conn, hook))
    assert completed["data"]["refs"] == refs
    assert completed["data"].keys() == failed["data"].keys() == {
        "job_id", "kind", "status", "attempt", "created_at", "started_at", "completed_at", "refs"
    }  # fmt: skip
    assert (completed["type"], failed["type"]) == ("job.completed", "job.failed")
    assert completed["timestamp"] == completed["data"]["completed_at"]
    assert "dragon" not in json.dumps([completed, failed])


@pytest.mark.parametrize("result", [None, {}, []])
def test_a_result_of_any_shape_lets_the_job_end(conn: Connection, job_factory: JobFactory, result: Any) -> None:
    hook = add(conn)
    job_id = job_factory()
    conn.execute(
        "UPDATE jobs SET status = 'completed', completed_at = now(), result = %s WHERE id = %s", (Jsonb(result), job_id)
    )
    assert written(conn, hook)[0].payload["data"]["refs"] == {}


def test_a_webhook_that_is_removed_at_the_same_moment_stops_no_job(conn: Connection, database_url: str) -> None:
    hook = add(conn)
    claimed = running_job(conn)
    with connect(database_url) as other, ThreadPoolExecutor(1) as pool:
        with other.transaction():
            webhooks.remove(other, hook.id)
            end = pool.submit(jobs.finish, conn, claimed.id, claimed.attempt, Outcome("completed", result={}))
            wait_until(
                lambda: bool(other.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone()),
                "the end waiting for the lock",
            )
        assert end.result(20).status == "completed"
    assert conn.execute("SELECT count(*) AS n FROM webhook_deliveries").fetchone() == {"n": 0}


# -- signed as Standard Webhooks says


def test_the_signature_is_that_of_the_specifications_own_example() -> None:
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    made = webhooks.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_specifications_own_library_takes_what_we_send(conn: Connection, receiver: Receiver) -> None:
    hook = add(conn, receiver.url)
    job_id = end_one(conn)
    claimed = claim(conn, hook)
    assert webhooks.send(claimed, allowed=LOOPBACK) == Answer(204, pytest.approx(0, abs=10_000), None)
    got = receiver.got[0]
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == str(claimed.id)
    assert Standard(hook.secret).verify(got.body, got.headers)["data"]["job_id"] == str(job_id)
    with pytest.raises(WebhookVerificationError):
        Standard(webhooks.new_secret()).verify(got.body, got.headers)
    with pytest.raises(WebhookVerificationError):
        Standard(hook.secret).verify(got.body + b" ", got.headers)


def test_during_a_rotation_both_secrets_verify(conn: Connection, receiver: Receiver) -> None:
    old = add(conn, receiver.url)
    new = webhooks.rotate(conn, old.id)
    assert new.secret != old.secret
    end_one(conn)
    claimed = claim(conn, old)
    webhooks.send(claimed, allowed=LOOPBACK)
    for secret in (old.secret, new.secret):
        Standard(secret).verify(receiver.got[0].body, receiver.got[0].headers)
    conn.execute("UPDATE webhooks SET previous_secret_until = now() - interval '1 second'")
    webhooks.retry(conn, old.id, claimed.id)
    conn.execute("UPDATE webhook_deliveries SET sending_until = NULL")
    webhooks.send(claim(conn, old), allowed=LOOPBACK)
    Standard(new.secret).verify(receiver.got[1].body, receiver.got[1].headers)
    with pytest.raises(WebhookVerificationError):
        Standard(old.secret).verify(receiver.got[1].body, receiver.got[1].headers)


# -- retried for a day, logged, given up


def test_a_failed_try_is_logged_and_comes_back_later_and_later(conn: Connection) -> None:
    hook = add(conn)
    end_one(conn)
    for number, wanted in enumerate(RETRY_AFTER_S, 1):
        fail(conn, hook)
        (delivery,) = written(conn, hook)
        row = conn.execute("SELECT extract(epoch FROM next_at - now())::float AS s FROM webhook_deliveries").fetchone()
        assert row is not None
        assert 0.8 * wanted < row["s"] < 1.1 * wanted
        assert (delivery.status, delivery.attempts, len(delivery.log)) == ("pending", number, number)
    fail(conn, hook)
    (delivery,) = written(conn, hook)
    assert (delivery.status, delivery.attempts, delivery.next_at) == ("failed", 8, None)
    assert (delivery.status_code, delivery.duration_ms, delivery.error) == (500, 12, "the receiver answered 500")
    assert webhooks.claim(conn, hook.id) is None
    assert sum(RETRY_AFTER_S) == 86_400


def test_jitter_spreads_what_failed_together(conn: Connection) -> None:
    hook = add(conn)
    for _ in range(5):
        end_one(conn)
    for _ in range(5):
        webhooks.record(conn, claim(conn, hook), Answer(None, 5, "no answer"), dead_after_days=5)
    row = conn.execute("SELECT count(DISTINCT next_at - created_at) AS n FROM webhook_deliveries").fetchone()
    assert row == {"n": 5}


@pytest.mark.parametrize(("status", "headers"), [(500, {}), (404, {}), (302, {"Location": "/elsewhere"})])
def test_all_but_2xx_is_a_failure(conn: Connection, receiver: Receiver, status: int, headers: dict[str, str]) -> None:
    hook = add(conn, receiver.url)
    end_one(conn)
    receiver.status, receiver.headers = status, headers
    answer = webhooks.send(claim(conn, hook), allowed=LOOPBACK)
    assert (answer.status_code, answer.error) == (status, f"the receiver answered {status}")
    assert [got.path for got in receiver.got] == ["/hook"]


def test_a_private_target_is_not_called_and_the_log_says_why(conn: Connection, receiver: Receiver) -> None:
    hook = add(conn, receiver.url)
    end_one(conn)
    claimed = claim(conn, hook)
    webhooks.record(conn, claimed, webhooks.send(claimed, allowed=[]), dead_after_days=5)
    (delivery,) = written(conn, hook)
    assert receiver.got == []
    assert (delivery.status, delivery.status_code) == ("pending", None)
    assert delivery.error is not None
    assert "GOLDSMITH_WEBHOOK_PRIVATE" in delivery.error


def test_a_delivery_is_sent_again_on_request(conn: Connection) -> None:
    hook = add(conn)
    end_one(conn)
    claimed = claim(conn, hook)
    webhooks.record(conn, claimed, Answer(200, 5, None), dead_after_days=5)
    (delivery,) = written(conn, hook)
    assert (delivery.status, delivery.error) == ("delivered", None)
    assert webhooks.retry(conn, hook.id, delivery.id).status == "pending"
    assert claim(conn, hook).id == delivery.id
    with pytest.raises(NotFound):
        webhooks.retry(conn, hook.id, hook.id)
    with pytest.raises(NotFound):
        webhooks.retry(conn, delivery.id, delivery.id)


# -- several senders


def test_two_senders_never_take_the_same(conn: Connection, database_url: str) -> None:
    hook = add(conn)
    for _ in range(30):
        end_one(conn)
    start = threading.Barrier(3)

    def take() -> list[UUID]:
        taken = []
        with connect(database_url) as own:
            start.wait()
            while (claimed := webhooks.claim(own, hook.id)) is not None:
                taken.append(claimed.id)
        return taken

    with ThreadPoolExecutor(3) as pool:
        every = [pool.submit(take) for _ in range(3)]
        taken = [one for future in every for one in future.result(30)]
    assert len(taken) == len(set(taken)) == 30


def test_what_is_being_sent_is_taken_by_nobody_else_not_even_on_request(conn: Connection) -> None:
    hook = add(conn)
    end_one(conn)
    claimed = claim(conn, hook)
    webhooks.retry(conn, hook.id, claimed.id)
    assert webhooks.claim(conn, hook.id) is None
    assert webhooks.due(conn) == []


def test_a_sender_that_died_is_followed_by_another_and_changes_nothing_when_it_returns(conn: Connection) -> None:
    hook = add(conn)
    end_one(conn)
    dead = claim(conn, hook)
    conn.execute("UPDATE webhook_deliveries SET sending_until = now() - interval '1 second'")
    assert webhooks.due(conn) == [hook.id]
    second = claim(conn, hook)
    assert (second.id, second.attempt) == (dead.id, 2)
    webhooks.record(conn, dead, Answer(200, 5, None), dead_after_days=5)
    (delivery,) = written(conn, hook)
    assert (delivery.status, delivery.log) == ("pending", [])
    assert webhooks.claim(conn, hook.id) is None
    webhooks.record(conn, second, Answer(200, 5, None), dead_after_days=5)
    assert written(conn, hook)[0].status == "delivered"


# -- dead endpoints


def test_a_webhook_that_takes_nothing_for_days_is_disabled_with_the_reason(conn: Connection) -> None:
    hook = add(conn)
    for _ in range(2):
        end_one(conn)
    fail(conn, hook)
    assert (found := webhooks.get(conn, hook.id)).active
    assert found.failing_since is not None
    conn.execute("UPDATE webhooks SET failing_since = now() - interval '4 days 23 hours'")
    fail(conn, hook)
    assert webhooks.get(conn, hook.id).active
    conn.execute("UPDATE webhooks SET failing_since = now() - interval '5 days 1 minute'")
    fail(conn, hook)
    dead = webhooks.get(conn, hook.id)
    assert not dead.active
    assert dead.disabled_reason is not None
    assert "nothing was taken since" in dead.disabled_reason
    assert "the receiver answered 500" in dead.disabled_reason
    assert {one.status for one in written(conn, hook)} == {"failed"}
    assert any(one.error == "given up: the webhook is not active" for one in written(conn, hook))
    end_one(conn)
    assert len(written(conn, hook)) == 2
    with pytest.raises(Conflict, match="nothing was taken since"):
        webhooks.test(conn, hook.id)
    with pytest.raises(Conflict, match="nothing was taken since"):
        webhooks.retry(conn, hook.id, written(conn, hook)[0].id)
    again = webhooks.change(conn, hook.id, WebhookChange(active=True))
    assert (again.active, again.failing_since, again.disabled_reason) == (True, None, None)


def test_one_delivery_that_is_taken_ends_the_days_of_failure(conn: Connection) -> None:
    hook = add(conn)
    end_one(conn)
    fail(conn, hook)
    conn.execute("UPDATE webhooks SET failing_since = now() - interval '6 days'")
    conn.execute("UPDATE webhook_deliveries SET next_at = now()")
    webhooks.record(conn, claim(conn, hook), Answer(200, 5, None), dead_after_days=5)
    assert webhooks.get(conn, hook.id).failing_since is None


def test_gone_disables_at_once(conn: Connection) -> None:
    hook = add(conn)
    end_one(conn)
    fail(conn, hook, 410)
    assert not webhooks.get(conn, hook.id).active
    assert written(conn, hook)[0].status == "failed"


def test_a_webhook_that_is_removed_while_it_is_sent_breaks_nothing(conn: Connection) -> None:
    hook = add(conn)
    end_one(conn)
    claimed = claim(conn, hook)
    webhooks.remove(conn, hook.id)
    for answer in (Answer(200, 5, None), Answer(500, 5, "the receiver answered 500")):
        webhooks.record(conn, claimed, answer, dead_after_days=5)


# -- the thread


@pytest.fixture
def sender(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[SenderThread]:
    monkeypatch.setattr(webhooks, "LOOK_EVERY_S", 0.02)
    thread = SenderThread(database, allowed=LOOPBACK, dead_after_days=5)
    thread.start()
    yield thread
    thread.stop()
    thread.join(120)
    assert not thread.is_alive()


def test_a_job_ends_and_the_receiver_hears_of_it_once(conn: Connection, receiver: Receiver, sender: SenderThread) -> None:
    hook = add(conn, receiver.url)
    ended = {str(end_one(conn)) for _ in range(5)}
    wait_until(lambda: all(one.status == "delivered" for one in written(conn, hook)), "delivery")
    assert sorted(json.loads(got.body)["data"]["job_id"] for got in receiver.got) == sorted(ended)
    assert [(one.status_code, one.attempts) for one in written(conn, hook)] == [(204, 1)] * 5


def test_a_receiver_that_hangs_holds_up_no_other(conn: Connection, receiver: Receiver, sender: SenderThread) -> None:
    let_go = threading.Event()
    with receiving() as slow:
        slow.before_answer = lambda: let_go.wait(30) and None
        add(conn, slow.url)
        quick = add(conn, receiver.url)
        for _ in range(3):
            end_one(conn)
        wait_until(lambda: len(receiver.got) == 3, "the quick one's deliveries")
        assert len(slow.got) <= 1
        assert all(one.status in ("delivered", "pending") for one in written(conn, quick))
        let_go.set()
        wait_until(lambda: len(slow.got) == 3, "the slow one's deliveries")


def test_with_more_webhooks_than_threads_each_gets_its_turn(
    conn: Connection, receiver: Receiver, sender: SenderThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TURN", 2)
    hooks = [add(conn, f"{receiver.url}/{number}") for number in range(webhooks.SENDERS + 2)]
    for _ in range(3):
        end_one(conn)
    wait_until(lambda: all(one.status == "delivered" for hook in hooks for one in written(conn, hook)), "every delivery")
    assert len(receiver.got) == 3 * len(hooks)


def test_stopping_waits_for_what_is_being_sent(conn: Connection, receiver: Receiver, sender: SenderThread) -> None:
    """A redeploy notes the answer; otherwise it would be sent twice."""
    begun, let_go = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        let_go.wait(30)

    receiver.before_answer = hang
    hook = add(conn, receiver.url)
    end_one(conn)
    assert begun.wait(120)
    sender.stop()
    let_go.set()
    sender.join(120)
    assert written(conn, hook)[0].status == "delivered"


def test_the_sender_survives_the_databases_absence(
    conn: Connection, receiver: Receiver, sender: SenderThread, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = webhooks.due, threading.Event()

    def away(conn: Connection) -> list[UUID]:
        broken.set()
        raise psycopg.OperationalError("the server closed the connection")

    monkeypatch.setattr(webhooks, "due", away)
    assert broken.wait(120)
    monkeypatch.setattr(webhooks, "due", real)
    add(conn, receiver.url)
    end_one(conn)
    wait_until(lambda: len(receiver.got) == 1, "the delivery")


def test_no_secret_gets_into_the_log(conn: Connection, receiver: Receiver, sender: SenderThread) -> None:
    receiver.status = 500
    hook = add(conn, receiver.url)
    with capture_logs() as lines:
        end_one(conn)
        wait_until(lambda: written(conn, hook)[0].attempts == 1 and bool(written(conn, hook)[0].log), "the failed try")
        sender.stop()
        sender.join(120)
    assert "a webhook was not taken" in [line["event"] for line in lines]
    assert hook.secret.removeprefix("whsec_") not in str(lines)


def test_every_try_is_counted_by_what_came_of_it(conn: Connection) -> None:
    def tried() -> dict[str, int]:
        return {row["outcome"]: row["count"] for row in conn.execute("SELECT outcome, count FROM webhook_tries")}

    conn.execute("DELETE FROM webhook_tries")
    hook = add(conn)
    for status_code in (500, 200, 410):
        webhooks.test(conn, hook.id)
        conn.execute("UPDATE webhook_deliveries SET next_at = now() WHERE next_at IS NOT NULL")
        claimed = webhooks.claim(conn, hook.id)
        assert claimed is not None
        error = None if status_code == 200 else f"the receiver answered {status_code}"
        for _ in range(2):  # the second note of one try is none
            webhooks.record(conn, claimed, webhooks.Answer(status_code, 1, error), dead_after_days=5)
            conn.execute("UPDATE webhook_deliveries SET attempts = attempts + 1 WHERE id = %s", (claimed.id,))
    assert tried() == {"put_off": 1, "delivered": 1, "given_up": 1}
    webhooks.remove(conn, hook.id)
    assert metrics.read(conn).webhook_tries == tried()


# -- experiments


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, True),
        ({"events": ["experiment.rolled_back"]}, True),
        ({"events": ["experiment.rolled_back"], "kinds": ["train"]}, True),
        ({"events": ["job.failed"]}, False),
        ({"kinds": ["train"]}, False),
    ],
)
def test_what_happens_to_an_experiment_is_told_to_who_asked_for_it(conn: Connection, asked: dict[str, Any], told: bool):
    hook = add(conn, **asked)
    webhooks.announce(conn, "experiment.rolled_back", {"experiment_id": "e", "reason": "Too many blocks."})
    found = [(one.event, one.job_id, one.payload["type"], one.payload["data"]["reason"]) for one in written(conn, hook)]
    assert found == ([("experiment.rolled_back", None, "experiment.rolled_back", "Too many blocks.")] if told else [])


def test_an_experiment_is_told_of_with_the_act_or_not_at_all(conn: Connection):
    hook = add(conn)
    with conn.transaction(force_rollback=True):
        webhooks.announce(conn, "experiment.completed", {})
    assert written(conn, hook) == []
    conn.execute("UPDATE webhooks SET active = false")
    webhooks.announce(conn, "experiment.completed", {})
    assert written(conn, hook) == []
