"""What a reference may point to: to go on from a checkpoint, only to a train job that ended before its time."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from goldsmith import adapters, datasets, references
from goldsmith.db import Connection
from goldsmith.errors import NotFound, ReferenceNotUsable
from goldsmith.kinds.router.schema import RouterConfig
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


def test_adapters_by_cluster_are_pinned_and_a_missing_one_is_named(
    conn: Connection, job_factory: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(_: Connection, ref: str) -> str:
        if "missing" in ref:
            raise NotFound(f"{ref} does not exist")
        return "adapter:museum@3"

    monkeypatch.setattr(adapters, "resolve", resolve)
    jobs = {kind: f"job:{job_factory(kind=kind, status='completed', result='{}')}" for kind in ("cluster", "gap")}
    given = {"clusters": jobs["cluster"], "gap": jobs["gap"]}
    pinned, _ = references.resolve(conn, RouterConfig(**given, experts={"c1": "adapter:museum@champion"}))
    assert pinned.experts == {"c1": "adapter:museum@3"}  # type: ignore[attr-defined]
    with pytest.raises(ReferenceNotUsable, match=r"critics\.c2: adapter:missing@1 does not exist"):
        references.resolve(conn, RouterConfig(**given, critics={"c2": "adapter:missing@1"}))
