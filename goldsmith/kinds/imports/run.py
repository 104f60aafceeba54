"""Import: find the runs, read those that changed, put them in relation, save what is new. What is broken is listed, stops
nothing, and is tried again by the next import."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from goldsmith.context import JobContext
from goldsmith.devserver.checkout import Checkout, read_checkout
from goldsmith.devserver.exports import export_root, find_runs, read_favorites, read_run
from goldsmith.devserver.files import Skipped, Unreadable, relative
from goldsmith.devserver.readings import Reading, index_entry, reader_version, remembered
from goldsmith.errors import InvalidInput
from goldsmith.kinds.imports.relations import Related, relate, row
from goldsmith.kinds.imports.schema import SKIPPED_SHOWN, ImportConfig, ImportResult
from goldsmith.recordings import RecordedRun

BATCH = 200  # runs between two reports of progress; reading them takes about 0.1 s
SAVED_AT_ONCE = 500  # in one statement: a few MB


async def run(config: ImportConfig, ctx: JobContext) -> ImportResult:
    root = export_root(ctx.folder(config.folder))
    checkout, skipped = await _read_checkout(config, ctx)
    folders, entered = await asyncio.to_thread(find_runs, root)
    if not folders:
        raise _nothing(config, "holds no run: there is no folder with a metadata.json in it")
    key = str(root.resolve())
    reader = _Reader(root, checkout, await asyncio.to_thread(ctx.import_index, key))
    await _read_runs(reader, folders, key, ctx)
    if not reader.readings:
        first = reader.skipped()[0]
        raise _nothing(config, f"holds no run that can be read; the first is {first.path}: {first.reason}")
    favorites, odd = await asyncio.to_thread(read_favorites, root)
    related, unmatched = relate(reader.readings.values(), favorites, await asyncio.to_thread(ctx.reported))
    carried = await asyncio.to_thread(ctx.carry_runs, {each.reading.run_id: each.content_sha256 for each in related})
    related, saved = await _save(related, carried, reader, ctx)
    await asyncio.to_thread(ctx.save_import_index, key, reader.fresh(), reader.gone())
    skipped = [*skipped, *entered, *reader.skipped(), *odd, *unmatched]
    ctx.save_artifact("skipped.json", TypeAdapter(list[Skipped]).dump_json(skipped, indent=2), "application/json")
    return _report(related, saved, skipped, _save_contexts(checkout, ctx), checkout)


async def _read_checkout(config: ImportConfig, ctx: JobContext) -> tuple[Checkout | None, list[Skipped]]:
    if config.checkout is None:
        return None, []
    return await asyncio.to_thread(read_checkout, ctx.folder(config.checkout))


class _Reader:
    """Reads runs, and remembers those that did not change since the last import of the folder."""

    def __init__(self, root: Path, checkout: Checkout | None, index: dict[str, Any]) -> None:
        self._root, self._checkout, self._index = root, checkout, index
        self._version = reader_version(checkout)
        self._folders: dict[str, Path] = {}
        self._fresh: list[str] = []
        self.readings: dict[str, Reading] = {}
        self.problems: dict[Path, str] = {}

    def read(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            self.problems.pop(folder, None)
            try:
                entry = self._index.get(relative(folder, self._root))
                reading = entry and remembered(entry, folder, self._version)
                reading = reading or read_run(folder, self._root, self._checkout)
                if reading.run_id in self.readings:
                    raise Unreadable("a run of this id was already read in another folder")
                self.readings[reading.run_id] = reading
                self._folders[reading.run_id] = folder
                if not reading.remembered:
                    self._fresh.append(reading.run_id)
            except Unreadable as error:
                self.problems[folder] = str(error)

    def again(self, reading: Reading) -> Reading | None:
        """With its texts, where it was only remembered; None when that fails now."""
        if not reading.remembered:
            return reading
        folder = self._folders[reading.run_id]
        try:
            self.readings[reading.run_id] = read_run(folder, self._root, self._checkout)
            self._fresh.append(reading.run_id)
        except Unreadable as error:
            del self.readings[reading.run_id]
            self.problems[folder] = str(error)
        return self.readings.get(reading.run_id)

    def fresh(self) -> dict[str, Any]:
        """Entries for the next import, of the runs that were read since this was asked last."""
        fresh, self._fresh = self._fresh, []
        return {
            relative(self._folders[run_id], self._root): index_entry(self.readings[run_id], self._version) for run_id in fresh
        }

    def gone(self) -> list[str]:
        """Paths of the last import that hold no run any more."""
        there = {relative(self._folders[run_id], self._root) for run_id in self.readings}
        return [path for path in self._index if path not in there]

    def skipped(self) -> list[Skipped]:
        return [Skipped(path=relative(path, self._root), reason=reason) for path, reason in self.problems.items()]


async def _read_runs(reader: _Reader, folders: list[Path], key: str, ctx: JobContext) -> None:
    """Every run, the unreadable ones a second time at the end: the devserver may have been writing them.

    What the next import needs of a batch is kept while the next one is read. That may be more than this job saves, should it
    end early: a run whose row is missing is opened again.
    """
    for first in range(0, len(folders), BATCH):
        batch = folders[first : first + BATCH]
        await asyncio.gather(
            asyncio.to_thread(ctx.save_import_index, key, reader.fresh(), []), asyncio.to_thread(reader.read, batch)
        )
        done = min(first + BATCH, len(folders))
        ctx.progress(
            80 * done / len(folders), f"read {done} of {len(folders)} runs", read=done, unreadable=len(reader.problems)
        )
    await asyncio.to_thread(reader.read, list(reader.problems))


async def _save(related: list[Related], carried: set[str], reader: _Reader, ctx: JobContext) -> tuple[list[Related], int]:
    """The rows that no earlier import wrote; returns what is there now, and how many were written."""
    new = [each for each in related if each.reading.run_id not in carried]
    kept = [each for each in related if each.reading.run_id in carried]
    saved: list[Related] = []
    batch, rows = _rows(reader, new[:SAVED_AT_ONCE])
    for first in range(SAVED_AT_ONCE, len(new) + SAVED_AT_ONCE, SAVED_AT_ONCE):
        (following, more), _ = await asyncio.gather(
            asyncio.to_thread(_rows, reader, new[first : first + SAVED_AT_ONCE]), asyncio.to_thread(ctx.save_runs, rows)
        )
        saved += batch
        done = len(kept) + len(saved)
        ctx.progress(80 + 20 * done / len(related), f"saved {done} of {len(related)} runs", saved=done)
        batch, rows = following, more
    ctx.progress(100, f"{len(kept)} runs were there before, {len(saved)} are new or changed")
    return [*kept, *saved], len(saved)


def _rows(reader: _Reader, new: list[Related]) -> tuple[list[Related], list[RecordedRun]]:
    """Those of `new` that can be read, with their texts, and their rows."""
    batch = [replace(each, reading=reading) for each in new if (reading := reader.again(each.reading)) is not None]
    return batch, [row(each) for each in batch]


def _save_contexts(checkout: Checkout | None, ctx: JobContext) -> str | None:
    if checkout is None:
        return None
    return ctx.save_artifact("contexts.json", checkout.model_dump_json(indent=2).encode(), "application/json")


def _report(
    runs: list[Related], saved: int, skipped: list[Skipped], contexts: str | None, checkout: Checkout | None
) -> ImportResult:
    usable = [run for run in runs if run.exclusion is None]
    signals = Counter(signal for run in usable for signal in run.signals)
    return ImportResult(
        runs=len(runs),
        unchanged=len(runs) - saved,
        may_train=len(usable),
        by_config=_counted(run.reading.config_id for run in usable if run.reading.config_id),
        by_language=_counted(run.reading.language or "unknown" for run in usable),
        excluded=_counted(run.exclusion for run in runs if run.exclusion),
        favourites=signals["favorite"],
        user_edits=signals["user_edit"],
        feedback=dict(sorted(signals.items())),
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
