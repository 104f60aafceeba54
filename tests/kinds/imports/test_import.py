from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from goldsmith.devserver.checkout import Checkout, read_checkout
from goldsmith.errors import InvalidInput, JobCancelled
from goldsmith.kinds.imports.run import run
from goldsmith.kinds.imports.schema import ImportConfig, ImportResult
from goldsmith.recordings import RecordedRun
from tests.fakes import FakeContext

WORKSHOP = Path(__file__).parents[3] / "examples" / "workshop"


@pytest.fixture
def ctx(tmp_path: Path) -> FakeContext:
    return FakeContext(tmp_path / "world")


def imported(ctx: FakeContext, folder: Path, checkout: Path | None = WORKSHOP) -> ImportResult:
    return asyncio.run(run(ImportConfig(folder=str(folder), checkout=checkout and str(checkout)), ctx))


def test_a_workshop_comes_in_with_all_that_was_said_about_it(ctx: FakeContext) -> None:
    result = imported(ctx, WORKSHOP)
    assert (result.runs, result.may_train) == (84, 63)
    assert result.by_config == {"herbarium": 10, "loom": 11, "mosaic": 10, "paper_cut": 10, "risograph": 10, "töpferei": 12}
    assert result.by_language == {"de": 38, "en": 25}
    assert result.excluded == {
        "blocked": 2,
        "canvas": 3,
        "dev_device": 4,
        "ghost": 2,
        "latent_lab": 2,
        "no_interception": 5,
        "personal_data": 2,
        "unknown_config": 1,
    }
    assert (result.favourites, result.user_edits) == (32, 18)
    assert result.runs == result.may_train + sum(result.excluded.values())
    assert len(ctx.recorded_runs[ctx.ref]) == result.runs


def test_every_run_that_was_left_out_is_listed_with_its_reason(ctx: FakeContext) -> None:
    result = imported(ctx, WORKSHOP)
    reasons = [each.reason for each in result.skipped]
    assert result.skipped_total == len(reasons) == 6
    assert sum("truncated" in reason for reason in reasons) == 1
    assert "003_interception.txt is missing" in reasons
    assert sum("a favourite of" in reason for reason in reasons) == 1
    assert sum("not for the student" in reason for reason in reasons) == 3
    stored = json.loads(ctx.artifact(f"{ctx.ref}/skipped.json").read_text())
    assert stored == [each.model_dump() for each in result.skipped]


def test_the_contexts_are_an_artifact_that_reads_back(ctx: FakeContext) -> None:
    result = imported(ctx, WORKSHOP)
    assert result.contexts == f"{ctx.ref}/contexts.json"
    checkout = Checkout.model_validate_json(ctx.artifact(result.contexts).read_bytes())
    assert checkout == read_checkout(WORKSHOP)[0]
    assert result.configs == [each.config_id for each in checkout.configs]


def test_progress_rises_to_the_end(ctx: FakeContext) -> None:
    imported(ctx, WORKSHOP)
    percents = [percent for percent, _, _ in ctx.events]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert len(percents) >= 3


def test_without_a_checkout_there_are_no_contexts(ctx: FakeContext) -> None:
    result = imported(ctx, WORKSHOP, checkout=None)
    assert (result.contexts, result.configs) == (None, [])
    assert result.by_config["counting_song"] == 1


def test_an_import_can_be_cancelled_between_runs(ctx: FakeContext) -> None:
    ctx.cancel_after(1)
    with pytest.raises(JobCancelled):
        imported(ctx, WORKSHOP)
    assert ctx.recorded_runs == {}


def test_a_folder_without_runs_is_an_error_that_names_it(ctx: FakeContext, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="holds no run") as caught:
        imported(ctx, tmp_path / "empty")
    assert caught.value.errors[0]["field"] == "folder"


def test_a_folder_with_nothing_but_broken_runs_is_an_error_with_the_first_reason(ctx: FakeContext, tmp_path: Path) -> None:
    (tmp_path / "2026-03-10" / "device" / "run_1").mkdir(parents=True)
    (tmp_path / "2026-03-10" / "device" / "run_1" / "metadata.json").write_text('{"run_')
    with pytest.raises(InvalidInput, match=r"run_1.*truncated"):
        imported(ctx, tmp_path)


def test_a_missing_folder_is_an_error(ctx: FakeContext, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nowhere"):
        imported(ctx, tmp_path / "nowhere")


def test_a_run_that_lies_in_two_folders_is_saved_once(ctx: FakeContext, tmp_path: Path) -> None:
    shutil.copytree(WORKSHOP / "exports" / "json" / "2026-03-10", tmp_path / "json" / "2026-03-10")
    shutil.copytree(WORKSHOP / "exports" / "json" / "2026-03-10", tmp_path / "json" / "2026-03-11")
    result = imported(ctx, tmp_path / "json")
    ids = [each.run_id for each in ctx.recorded_runs[ctx.ref]]
    assert len(ids) == len(set(ids)) == result.runs
    assert sum("already read" in each.reason for each in result.skipped) == result.runs


def test_a_run_that_was_still_being_written_is_read_at_the_end(tmp_path: Path) -> None:
    """The devserver rewrites metadata.json in place; here it finishes while the rest is read."""
    folder = Path(shutil.copytree(WORKSHOP / "exports" / "json", tmp_path / "json"))
    path = min(each for each in folder.rglob("metadata.json") if '"type": "interception"' in each.read_text())
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])

    class Meanwhile(FakeContext):
        def progress(self, percent: float, message: str = "", **metrics: float) -> None:
            super().progress(percent, message, **metrics)
            path.write_text(whole)

    assert imported(Meanwhile(tmp_path / "world"), folder).runs == 84


def test_more_than_a_thousand_bad_entries_are_counted_and_the_first_thousand_shown(ctx: FakeContext, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(WORKSHOP / "exports" / "json" / "2026-04-21", tmp_path / "json" / "2026-04-21"))
    (folder.parent / "favorites.json").write_text(json.dumps({"favorites": [{"run_id": f"gone {n}"} for n in range(1500)]}))
    result = imported(ctx, tmp_path / "json")
    assert len(result.skipped) == 1000
    assert result.skipped_total > 1500
    assert len(json.loads(ctx.artifact(f"{ctx.ref}/skipped.json").read_text())) == result.skipped_total


# -- the second import of a folder


def test_a_second_import_writes_nothing_and_has_the_same_runs(ctx: FakeContext, tmp_path: Path) -> None:
    first = imported(ctx, WORKSHOP)
    second_ctx = following(ctx, tmp_path)
    second = imported(second_ctx, WORKSHOP)
    assert (first.unchanged, second.unchanged) == (0, first.runs)
    assert second_ctx.recorded_runs[second_ctx.ref] == unordered(ctx.recorded_runs[ctx.ref])
    assert second.model_copy(update={"unchanged": 0, "contexts": None}) == first.model_copy(update={"contexts": None})


def test_only_what_changed_is_written_again(ctx: FakeContext, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(WORKSHOP / "exports" / "json", tmp_path / "json"))
    imported(ctx, folder)
    runs = [each for each in ctx.recorded_runs[ctx.ref] if each.may_train and not each.feedback]
    answer = next(folder.rglob(f"{runs[0].run_id}/prompting_process/003_interception.txt"))
    answer.write_text("Ganz anders.")
    favorites = json.loads((folder / "favorites.json").read_text())
    favorites["favorites"].append({"run_id": runs[1].run_id})
    (folder / "favorites.json").write_text(json.dumps(favorites))
    shutil.rmtree(next(folder.rglob(runs[2].run_id)))

    second_ctx = following(ctx, tmp_path)
    result = imported(second_ctx, folder)
    now = {each.run_id: each for each in second_ctx.recorded_runs[second_ctx.ref]}
    assert result.runs - result.unchanged == 2
    assert now[runs[0].run_id].output == "Ganz anders."
    assert [each.signal for each in now[runs[1].run_id].feedback] == ["favorite"]
    assert now[runs[1].run_id].input == runs[1].input
    assert runs[2].run_id not in now
    assert all(each.run_id in now or each == runs[2] for each in ctx.recorded_runs[ctx.ref])


def test_rows_that_were_swept_are_written_again(ctx: FakeContext, tmp_path: Path) -> None:
    imported(ctx, WORKSHOP)
    second_ctx = following(ctx, tmp_path)
    second_ctx.recorded_runs = {}
    result = imported(second_ctx, WORKSHOP)
    assert result.unchanged == 0
    assert second_ctx.recorded_runs[second_ctx.ref] == unordered(ctx.recorded_runs[ctx.ref])


def test_an_import_that_ended_early_costs_the_next_one_no_run(
    ctx: FakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goldsmith.kinds.imports.run.BATCH", 3)
    ctx.cancel_after(4)
    with pytest.raises(JobCancelled):
        imported(ctx, WORKSHOP)
    assert any(ctx.import_indexes.values())
    assert ctx.recorded_runs == {}
    whole = FakeContext(tmp_path / "whole")
    imported(whole, WORKSHOP)
    second_ctx = following(ctx, tmp_path)
    assert imported(second_ctx, WORKSHOP).unchanged == 0
    assert second_ctx.recorded_runs[second_ctx.ref] == whole.recorded_runs[whole.ref]


def test_a_truncated_run_is_read_by_the_next_import(ctx: FakeContext, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(WORKSHOP / "exports" / "json", tmp_path / "json"))
    path = min(each for each in folder.rglob("metadata.json") if '"type": "interception"' in each.read_text())
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    first = imported(ctx, folder)
    path.write_text(whole)
    second = imported(following(ctx, tmp_path), folder)
    assert (second.runs, second.unchanged) == (first.runs + 1, first.runs)


def following(ctx: FakeContext, tmp_path: Path) -> FakeContext:
    """The context of a later job in the same world."""
    later = FakeContext(tmp_path / "world")
    later.recorded_runs, later.import_indexes = ctx.recorded_runs, ctx.import_indexes
    return later


class unordered(list[RecordedRun]):  # noqa: N801 (reads as a word)
    """Equal to a list of the same runs in any order."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and sorted(self, key=_by_id) == sorted(other, key=_by_id)

    __hash__ = None  # type: ignore[assignment]


def _by_id(run: RecordedRun) -> str:
    return run.run_id
