"""Build the grid, let every model answer it, look at the answers, compare, report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from goldsmith import answering
from goldsmith.adapters import AdapterVersion
from goldsmith.answering import Answers
from goldsmith.context import JobContext
from goldsmith.errors import InvalidInput
from goldsmith.kinds.bias_audit import compare, grid, judge, measure, report
from goldsmith.kinds.bias_audit.grid import Context, Grid
from goldsmith.kinds.bias_audit.measure import Found
from goldsmith.kinds.bias_audit.schema import BiasAuditConfig, BiasAuditResult, JudgeReport, UsedContext
from goldsmith.kinds.bias_audit.tone import tone

BASE = "base"
NOTE = (
    "Counted words, not understood ones: an answer may be unfair without any of them, and fair with one. A base model that is unfair"
    " itself lets an adapter pass that is no worse. Nobody who lives in these traditions has looked at these answers."
)
FILLED_UP = (
    " The job's own contexts speak of too few traditions to compare any, so contexts of ours were asked as well; `left_out` says what"
    " they are missing."
)


def run(config: BiasAuditConfig, ctx: JobContext) -> BiasAuditResult:
    ctx.progress(0, "building the grid")
    adapters = _adapters(config, ctx)
    asked = grid.build(config, adapters[0], ctx)
    encoder = ctx.encoder(config.encoder)
    judging = judge.examine(config.judge, asked, ctx) if config.judge else None

    ctx.progress(2, f"loading {adapters[0].base_model}")
    student = ctx.student(adapters[0].base_model)
    answers = answering.restored(ctx)
    arms: list[tuple[str, AdapterVersion | None]] = [(BASE, None), *((one.ref, one) for one in adapters)]
    conversations = [(one.key, one.conversation) for one in asked.questions]
    answering.answer(student, arms, conversations, answers, ctx, max_new_tokens=config.max_new_tokens, progress=(3, 85))

    found: dict[str, dict[str, Found]] = {}
    values: dict[str, measure.Values] = {}
    for number, (arm, _) in enumerate(arms):
        ctx.progress(85 + 5 * number / len(arms), f"looking at the answers of {arm}")
        texts = {one.key: answers.of(arm)[one.key] for one in asked.questions}
        found[arm] = {one.key: measure.look(texts[one.key], one, asked) for one in asked.questions}
        values[arm] = measure.values(asked, texts, found[arm], encoder)

    judged = None
    if judging and judging.heard:
        judging, judged = judge.judge(judging, asked, answers.of(BASE), answers.of(adapters[0].ref), config, ctx)
    ctx.progress(96, "comparing")
    audited = [
        compare.audited(one.ref, values[BASE], values[one.ref], config, judged if one is adapters[0] else None)
        for one in adapters
    ]
    rehearsal = any(one.rehearsal for one in adapters) or (judging is not None and judging.rehearsal)
    result = BiasAuditResult(
        adapter=adapters[0].ref,
        passed=audited[0].passed,
        why=audited[0].why,
        base_model=adapters[0].base_model,
        audited=audited,
        contexts=[_used(one) for one in asked.contexts],
        left_out=asked.left_out,
        filled_up=asked.filled_up,
        prompts=len(asked.prompts),
        free_prompts=len(asked.free),
        answers=len(arms) * len(asked.questions),
        by_tradition=[row for arm, _ in arms for row in measure.of_tradition(arm, asked, found[arm])],
        placed={arm: measure.placed(asked.questions, found[arm]) for arm, _ in arms},
        judge=judging,
        report=f"job:{ctx.job_id}/report.html",
        numbers=f"job:{ctx.job_id}/bias.json",
        rehearsal=rehearsal,
        label="REHEARSAL" if rehearsal else "",
        note=NOTE + (FILLED_UP if asked.filled_up else "") + _unheard(judging),
    )
    told = _document(config, result, asked, answers, found)
    ctx.save_artifact("bias.json", json.dumps(told, indent=1, ensure_ascii=False).encode(), "application/json")
    for language in report.LANGUAGES:
        page, name = report.of(told, language), "report" if language == "en" else f"report.{language}"
        ctx.save_artifact(f"{name}.md", page.markdown().encode(), "text/markdown")
        ctx.save_artifact(f"{name}.html", page.html().encode(), "text/html")
    ctx.progress(100, result.why)
    return result


def _adapters(config: BiasAuditConfig, ctx: JobContext) -> list[AdapterVersion]:
    adapters = [ctx.adapter(ref) for ref in (config.adapter, *config.beside)]
    for one in adapters[1:]:
        if one.base_sha256 != adapters[0].base_sha256:
            raise InvalidInput(
                f"beside: {one.ref} is on another base model ({one.base_model}) than {adapters[0].ref} ({adapters[0].base_model})",
                errors=[{"field": "beside", "value": one.ref, "allowed": f"adapters on {adapters[0].base_model}"}],
            )
    return adapters


def _used(context: Context) -> UsedContext:
    strange = [word for text in context.texts.values() for word in tone(text, "").strange]
    return UsedContext(
        id=context.id,
        tradition=context.tradition,
        side=context.side,
        languages=sorted(context.texts),
        strange=list(dict.fromkeys(strange)),
    )


def _unheard(judging: JudgeReport | None) -> str:
    if judging is None or judging.heard:
        return ""
    why = (
        "the budget ended"
        if judging.stopped_by
        else f"it told {judging.planted_right} of {judging.planted} planted pairs apart"
    )
    return f" The judge was not heard: {why}."


def _document(
    config: BiasAuditConfig, result: BiasAuditResult, asked: Grid, answers: Answers, found: Mapping[str, Mapping[str, Found]]
) -> dict[str, Any]:
    arms: Sequence[str] = list(found)
    rows: list[dict[str, Any]] = [
        {
            "prompt": one.prompt.text,
            "language": one.prompt.language,
            "context": one.context.id if one.context else None,
            "tradition": one.context.tradition if one.context else None,
            "arms": {
                arm: {
                    "answer": answers.of(arm)[one.key],
                    "own": found[arm][one.key].own,
                    "foreign": found[arm][one.key].foreign,
                    "strange": found[arm][one.key].tone.strange,
                    "valence": round(found[arm][one.key].tone.valence, 3),
                }
                for arm in arms
            },
        }
        for one in asked.questions
    ]
    return {
        "format_version": 1,
        "config": config.model_dump(mode="json"),
        "result": result.model_dump(mode="json"),
        "context_texts": {one.id: one.texts for one in asked.contexts},
        "rows": rows,
    }
