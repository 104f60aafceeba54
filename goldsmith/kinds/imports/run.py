"""Import: find the runs, read each, put them in relation, save them. What is broken is listed and stops nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter

from goldsmith.context import JobContext
from goldsmith.devserver.checkout import Checkout, read_checkout
from goldsmith.devserver.exports import Reading, export_root, find_runs, read_favorites, read_run
from goldsmith.devserver.files import Skipped, Unreadable, relative
from goldsmith.errors import InvalidInput
from goldsmith.kinds.imports.relations import relate
from goldsmith.kinds.imports.schema import SKIPPED_SHOWN, ImportConfig, ImportResult
from goldsmith.recordings import RecordedRun

BATCH = 50  # runs between two reports of progress; reading them takes about 0.1 s


async def run(config: ImportConfig, ctx: JobContext) -> ImportResult:
    root = export_root(ctx.folder(config.folder))
    checkout, skipped = await _read_checkout(config, ctx)
    folders, entered = await asyncio.to_thread(find_runs, root)
    if not folders:
        raise _nothing(config, "holds no run: there is no folder with a metadata.json in it")
    readings, unreadable = await _read_runs(folders, root, checkout, ctx)
    if not readings:
        raise _nothing(config, f"holds no run that can be read; the first is {unreadable[0].path}: {unreadable[0].reason}")
    favorites, odd = await asyncio.to_thread(read_favorites, root)
    runs, unmatched = relate(readings, favorites)
    await _save(runs, ctx)
    skipped = [*skipped, *entered, *unreadable, *odd, *unmatched]
    ctx.save_artifact("skipped.json", TypeAdapter(list[Skipped]).dump_json(skipped, indent=2), "application/json")
    return _report(runs, skipped, _save_contexts(checkout, ctx), checkout)


async def _read_checkout(config: ImportConfig, ctx: JobContext) -> tuple[Checkout | None, list[Skipped]]:
    if config.checkout is None:
        return None, []
    return await asyncio.to_thread(read_checkout, ctx.folder(config.checkout))


async def _read_runs(
    folders: list[Path], root: Path, checkout: Checkout | None, ctx: JobContext
) -> tuple[list[Reading], list[Skipped]]:
    """Every run, the unreadable ones a second time at the end: the devserver may have been writing them."""
    readings: dict[str, Reading] = {}
    problems: dict[Path, str] = {}
    for first in range(0, len(folders), BATCH):
        await asyncio.to_thread(_read_batch, folders[first : first + BATCH], root, checkout, readings, problems)
        done = min(first + BATCH, len(folders))
        ctx.progress(80 * done / len(folders), f"read {done} of {len(folders)} runs", read=done, unreadable=len(problems))
    again, problems = list(problems), {}
    await asyncio.to_thread(_read_batch, again, root, checkout, readings, problems)
    return list(readings.values()), [Skipped(path=relative(path, root), reason=reason) for path, reason in problems.items()]


def _read_batch(
    folders: list[Path], root: Path, checkout: Checkout | None, readings: dict[str, Reading], problems: dict[Path, str]
) -> None:
    for folder in folders:
        try:
            reading = read_run(folder, root, checkout)
            if reading.run_id in readings:
                raise Unreadable("a run of this id was already read in another folder")
            readings[reading.run_id] = reading
        except Unreadable as error:
            problems[folder] = str(error)


async def _save(runs: list[RecordedRun], ctx: JobContext) -> None:
    for first in range(0, len(runs), BATCH):
        await asyncio.to_thread(ctx.save_runs, runs[first : first + BATCH])
        done = min(first + BATCH, len(runs))
        ctx.progress(80 + 20 * done / len(runs), f"saved {done} of {len(runs)} runs", saved=done)


def _save_contexts(checkout: Checkout | None, ctx: JobContext) -> str | None:
    if checkout is None:
        return None
    return ctx.save_artifact("contexts.json", checkout.model_dump_json(indent=2).encode(), "application/json")


def _report(runs: list[RecordedRun], skipped: list[Skipped], contexts: str | None, checkout: Checkout | None) -> ImportResult:
    usable = [run for run in runs if run.may_train]
    signals = Counter(each.signal for run in usable for each in run.feedback)
    return ImportResult(
        runs=len(runs),
        may_train=len(usable),
        by_config=_counted(run.config_id for run in usable if run.config_id),
        by_language=_counted(run.language or "unknown" for run in usable),
        excluded=_counted(run.exclusion for run in runs if run.exclusion),
        favourites=signals["favorite"],
        user_edits=signals["user_edit"],
        skipped=skipped[:SKIPPED_SHOWN],
        skipped_total=len(skipped),
        contexts=contexts,
        configs=[each.config_id for each in checkout.configs] if checkout else [],
    )


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


def _nothing(config: ImportConfig, why: str) -> InvalidInput:
    message = f"the folder {why}"
    return InvalidInput(f"{config.folder}: {message}", errors=[{"field": "folder", "value": config.folder, "message": message}])
