from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from goldsmith.context import JobContext
from goldsmith.errors import JobCancelled, NotFound
from tests.fakes import FakeContext


def _public_methods(of: type) -> dict[str, inspect.Signature]:
    return {name: inspect.signature(method) for name, method in inspect.getmembers(of, inspect.isfunction) if name[0] != "_"}


def test_fake_context_has_the_protocols_methods_with_the_same_signatures() -> None:
    fake = _public_methods(FakeContext)
    fake.pop("cancel_after")  # the only knob that tests have and runs have not
    assert fake == _public_methods(JobContext)


def test_fake_context_has_the_protocols_attributes(tmp_path: Path) -> None:
    ctx = FakeContext(tmp_path)
    assert all(hasattr(ctx, name) for name in inspect.get_annotations(JobContext))


def test_progress_raises_once_a_cancel_was_asked_for(tmp_path: Path) -> None:
    ctx = FakeContext(tmp_path)
    ctx.cancel_after(2)
    ctx.progress(10, "one", loss=1.5)
    with pytest.raises(JobCancelled):
        ctx.progress(20, "two")
    assert ctx.events[0] == (10, "one", {"loss": 1.5})


def test_an_artifact_is_seen_by_the_next_job_in_the_same_folder(tmp_path: Path) -> None:
    ref = FakeContext(tmp_path).save_artifact("notes.txt", b"hello")
    assert FakeContext(tmp_path).artifact(ref).read_bytes() == b"hello"
    with pytest.raises(NotFound, match="does not exist"):
        FakeContext(tmp_path).artifact(ref + ".old")


def test_a_checkpoint_is_restored_by_the_next_attempt_only(tmp_path: Path) -> None:
    first = FakeContext(tmp_path)
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "step").write_text("7")
    first.checkpoint(weights)

    assert first.restore() is None
    restored = FakeContext(tmp_path, job_id=first.job_id, attempt=2).restore()
    assert restored is not None
    assert (restored / "step").read_text() == "7"


def test_a_model_that_the_test_did_not_give_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="teacher_factory"):
        FakeContext(tmp_path).teacher("rehearsal", model=None, budget_usd=1, recorded=True)
