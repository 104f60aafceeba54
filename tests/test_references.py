"""What a reference may point to: to go on from a checkpoint, only to a train job that ended before its time."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from goldsmith import datasets, references
from goldsmith.db import Connection
from goldsmith.errors import ReferenceNotUsable
from goldsmith.kinds.train.schema import TrainConfig


@pytest.fixture(autouse=True)
def no_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    known = type("Known", (), {"ref": "dataset:gold@1"})
    monkeypatch.setattr(datasets, "get", lambda *_: known)


def asked(job_id: UUID) -> TrainConfig:
    return TrainConfig(dataset="dataset:gold@1", name="workshop", continue_from=f"job:{job_id}")


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_train_job_that_ended_before_its_time_is_gone_on_from(
    conn: Connection, job_factory: Callable[..., UUID], status: str
) -> None:
    job_id = job_factory(kind="train", status=status)
    pinned, parents = references.resolve(conn, asked(job_id))
    assert pinned == asked(job_id)
    assert parents == []  # nothing to wait for


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        ("train", "completed", "is completed and keeps no checkpoint"),
        ("train", "queued", "is queued; cancel it first"),
        ("gold", "failed", "is a gold job; this must point to a job of kind train"),
    ],
)
def test_no_other_job_is(conn: Connection, job_factory: Callable[..., UUID], kind: str, status: str, message: str) -> None:
    job_id = job_factory(kind=kind, status=status)
    with pytest.raises(ReferenceNotUsable, match=f"continue_from: job {job_id} {message}"):
        references.resolve(conn, asked(job_id))


def test_an_unknown_job_is_named(conn: Connection) -> None:
    job_id = uuid4()
    with pytest.raises(ReferenceNotUsable, match=f"continue_from: there is no job {job_id}"):
        references.resolve(conn, asked(job_id))
