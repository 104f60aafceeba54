"""Read the rows, try their patterns, render their prompts, save them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from goldsmith import golden, privacy, uploads
from goldsmith.context import JobContext
from goldsmith.datasets import DatasetVersion, Example, Message
from goldsmith.devserver.checkout import Checkout
from goldsmith.devserver.prompts import render
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.golden import GoldenRow
from goldsmith.kinds.golden.schema import GoldenConfig, GoldenResult, PersonalData
from goldsmith.language import language_of
from goldsmith.uploads import Upload

UNDETERMINED = "und"
SHOWN = 20


async def run(config: GoldenConfig, ctx: JobContext) -> GoldenResult:
    ctx.progress(0, "reading rows")
    version, duplicates = await asyncio.to_thread(_of_upload if config.upload is not None else _of_dataset, config, ctx)
    rows = list(ctx.examples(version.ref))
    return GoldenResult(
        dataset=version.ref,
        content_sha256=version.content_sha256,
        rows=len(rows),
        groups=len({row.group for row in rows}),
        expected=dict(Counter(_expects(row) for row in rows)),
        by_config=dict(Counter(row.config_id for row in rows)),
        by_language=dict(Counter(row.language for row in rows)),
        duplicates=duplicates,
        personal_data=PersonalData.model_validate(version.manifest["personal_data"]),
        rehearsal=version.rehearsal,
        label="REHEARSAL" if version.rehearsal else "",
    )


def _expects(row: Example) -> str:
    return golden.Expectation.model_validate(row.expect).kind if row.expect is not None else "reference"


def _searched(rows: Sequence[Example], ctx: JobContext) -> dict[str, Any]:
    """Personal data in what was typed and in what is expected, for the manifest; what a model made is searched for nobody's data."""
    found: Counter[str] = Counter()
    where = []
    for done, row in enumerate(rows):
        if done % 100 == 0:
            ctx.progress(20 + 60 * done / len(rows), f"searching {len(rows)} rows for personal data")
        turns = [] if row.context_sha256 else [turn.content for turn in row.messages]
        expected = (row.expect or {}).get("expected") or []
        texts = {row.input, row.original, row.output or "", *turns, *expected} if row.private else set()
        kinds = {finding.kind for text in texts for finding in privacy.find(text, row.language)}
        found.update(kinds)
        where += [row.source] if kinds else []
    lines = [int(source.rpartition(":")[2]) for source in where if source.startswith("upload:")]
    return PersonalData(
        rows=len(where), by_kind=dict(sorted(found.items())), lines=lines[:SHOWN], search=privacy.version()
    ).model_dump()


def _of_dataset(config: GoldenConfig, ctx: JobContext) -> tuple[DatasetVersion, int]:
    assert config.dataset is not None
    source = ctx.dataset(config.dataset)
    rows = list(ctx.examples(source.ref, "heldout"))
    if not rows:
        raise _refused("dataset", source.ref, "it has no heldout rows")
    if unanswered := sum(row.messages[-1].role != "assistant" and row.expect is None for row in rows):
        raise _refused("dataset", source.ref, f"{unanswered} of its heldout rows have no answer; take gold")
    searched = _searched(rows, ctx)
    ctx.progress(80, f"saving {len(rows)} rows")
    version = ctx.save_dataset(
        config.name,
        rows,
        # how the answers had to be, and the contexts, are found through the parent as well, but that one may go
        manifest={
            "kind": "golden",
            "golden": config.model_dump(mode="json"),
            "config": {name: value for name, value in source.manifest.get("config", {}).items() if name in ("min_words", "max_words")},
            **({"contexts": source.manifest["contexts"]} if "contexts" in source.manifest else {}),
            "personal_data": searched,
        },
        parents=[source.ref],
        rehearsal=source.rehearsal,
    )  # fmt: skip
    return version, 0


def _of_upload(config: GoldenConfig, ctx: JobContext) -> tuple[DatasetVersion, int]:
    assert config.upload is not None
    ref = config.upload
    upload, path = ctx.upload(ref)
    lines = list(uploads.read_golden(path))
    _try_patterns(lines, ref)
    checkout = _checkout(config.contexts, ctx) if config.contexts else None
    examples: dict[tuple[Any, ...], Example] = {}
    for number, line in lines:
        asked = _asked(line)
        group = line.group or _group(asked)  # two expectations of one answer are no two answers
        examples.setdefault((asked, line.expectation.model_dump_json()), _example(line, number, group, upload, checkout))
    kept: dict[str, Any] = {"personal_data": _searched(list(examples.values()), ctx)}
    ctx.progress(80, f"saving {len(examples)} rows")
    if checkout is not None:
        # a copy of its own: what was uploaded may go, and evaluating needs what was asked with
        kept["contexts"] = ctx.save_artifact("pinned-contexts.json", checkout.model_dump_json().encode(), "application/json")
    version = ctx.save_dataset(
        config.name,
        list(examples.values()),
        manifest={"kind": "golden", "golden": config.model_dump(mode="json"), **kept},
        parents=[ref, *([config.contexts] if config.contexts else [])],
        rehearsal=False,
        checkout=checkout,
    )
    return version, len(lines) - len(examples)


def _try_patterns(lines: Sequence[tuple[int, GoldenRow]], ref: str) -> None:
    errors: list[dict[str, Any]] = []
    tried: set[str] = set()
    for number, line in lines:
        pattern = line.expectation.pattern
        if pattern is None or pattern in tried:
            continue
        tried.add(pattern)
        try:
            golden.check_pattern(pattern, line.input)
        except ValueError as error:
            errors.append({"field": f"line {number}", "line": number, "value": pattern[:200], "message": str(error)})
        if len(errors) == SHOWN:
            break
    if errors:
        first = errors[0]
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise InvalidInput(f"upload: {ref}: {first['field']}: {first['message']}{more}", errors=errors)


def _asked(line: GoldenRow) -> tuple[str | None, ...]:
    return (line.config_id, line.language, *(f"{turn.role}: {' '.join(turn.content.split())}" for turn in line.messages))


def _group(asked: tuple[str | None, ...]) -> str:
    """The same for the same prompt in every version of the set."""
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def _example(line: GoldenRow, number: int, group: str, upload: Upload, checkout: Checkout | None) -> Example:
    language = line.language or language_of(line.input) or UNDETERMINED
    pins = {"context_lang": "", "context_sha256": "", "template_version": "", "wiki": False}
    messages = line.messages
    if checkout is not None and line.config_id is not None and not line.as_written:
        if not checkout.has(line.config_id):
            known = ", ".join(one.config_id for one in checkout.configs)
            raise _refused("upload", upload.ref, f"line {number}: config_id {line.config_id!r} is not among {known}")
        prompt = render(checkout, line.config_id, language, line.input)
        messages = [Message(role="user", content=prompt.content)]
        pins = prompt.model_dump(exclude={"content"})
    texts = line.expectation.expected
    return Example(
        split="heldout",
        messages=[*messages, *([Message(role="assistant", content=texts[0])] if texts else [])],
        config_id=line.config_id or "",
        input=line.input,
        language=language,
        group=group,
        source=f"{upload.ref}:{number}",
        origin=upload.origin,
        expect=line.expectation.stored(),
        **pins,
    )


def _checkout(ref: str, ctx: JobContext) -> Checkout:
    try:
        path = ctx.upload(ref)[1] if ref.startswith("upload:") else ctx.artifact(ref)
        return Checkout.model_validate_json(path.read_bytes())
    except (NotFound, ValidationError) as error:
        raise _refused("contexts", ref, "it is no contexts.json of an import, and no upload of contexts") from error


def _refused(field: str, value: str, why: str) -> InvalidInput:
    return InvalidInput(f"{field}: {value}: {why}", errors=[{"field": field, "value": value, "message": why}])
