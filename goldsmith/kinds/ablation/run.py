"""Draw held-out sessions, let every variant answer them, have the answers graded, compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy

from goldsmith.errors import InvalidInput
from goldsmith.kinds.ablation import heldout, recipes, table
from goldsmith.kinds.ablation.answering import Kept, Writer, restored
from goldsmith.kinds.ablation.heldout import Question
from goldsmith.kinds.ablation.judging import Judge, judge
from goldsmith.kinds.ablation.recipes import BASE, Examined, Recipe
from goldsmith.kinds.ablation.schema import AblationConfig, AblationResult, Variant, VariantReport

if TYPE_CHECKING:
    from goldsmith.context import JobContext

NOTE = (
    "Grades are a model's opinion. Experts were chosen and gated on held-out sessions of the same clusters, so they look a little"
    " better here than they are; the centroids, too, are made with these sessions. Several variants are compared at once: one"
    " interval in twenty misses by chance. Adapters of all sessions or of a config went through no gate: their epoch is the one with"
    " the lowest held-out loss, where a uno job made them."
)


def run(config: AblationConfig, ctx: JobContext) -> AblationResult:
    ctx.progress(0, "reading the router")
    examined = recipes.read(config, ctx)
    datasets = [ref for one in ctx.result(config.pairs)["clusters"] for ref in (one["pairs"], one["critic"]) if ref]
    every = heldout.questions(examined.clusters, heldout.seen(ctx, datasets), ctx)
    drawn = heldout.draw(every, config.limit, config.seed, list(examined.barred.values()))
    missing = recipes.not_run(config, examined)
    variants: list[Variant] = ["base", *(one for one in dict.fromkeys(config.variants) if one != "base" and one not in missing)]
    planned = recipes.recipes(variants, drawn, config, examined)

    retrieved = _retrieval(config, ctx, examined, every) if "rules_in_prompt" in variants else lambda question: []
    base_model = _base_model(config, ctx, examined)
    ctx.progress(2, f"loading {base_model}")
    kept = restored(ctx)
    Writer(ctx.student(base_model), drawn, kept, config, ctx).write(list(planned.values()), retrieved)

    texts = {(question.key, text): question for question, text in _texts(drawn, planned, kept)}
    judged = judge([(question, text) for (_, text), question in texts.items()], kept, config, ctx)
    reports = _compare(variants, planned, drawn, kept, config)

    ctx.progress(97, "writing the table")
    result = _result(config, ctx, examined, base_model, judged, kept, reports, missing, len(every), len(drawn))
    ctx.save_artifact("ablation.json", _report(config, result, drawn, planned, kept), "application/json")
    ctx.save_artifact("ablation.md", table.markdown(result, config).encode(), "text/markdown")
    return result


def _base_model(config: AblationConfig, ctx: JobContext, examined: Examined) -> str:
    known: str | None = examined.document["base_model"]
    given = [ref for ref in (config.unclustered, *config.by_config.values()) if ref]
    found = {model for model in (known, *(ctx.adapter(ref).base_model for ref in given), config.base_model) if model}
    if len(found) != 1:
        said = (
            f"adapters and base_model name {', '.join(sorted(found))}" if found else "the router has no adapter that names one"
        )
        raise InvalidInput(f"base_model: one is wanted; {said}", errors=[{"field": "base_model", "message": said}])
    return found.pop()


def _retrieval(
    config: AblationConfig, ctx: JobContext, examined: Examined, every: Sequence[Question]
) -> Callable[[Question], list[str]]:
    """The active rules of all clusters that lie nearest to a question, without those that held-out sessions alone have taught."""
    examining = {question.key for question in every}
    rules = sorted(
        {
            rule.rule
            for rule in ctx.cluster_rules(examined.clusters)
            if rule.status == "active" and not examining.issuperset(rule.session_ids)
        }
    )
    if not rules:
        return lambda question: []
    ctx.progress(1, f"embedding {len(rules)} rules")
    vectors = ctx.encoder(examined.table.encoder).encode(rules)

    def nearest(question: Question) -> list[str]:
        likeness = vectors @ question.vector
        order = numpy.argsort(-likeness, kind="stable")[: config.retrieved_rules]
        return [rules[int(row)] for row in order]

    return nearest


def _texts(
    drawn: Sequence[Question], planned: Mapping[Variant, Mapping[str, Recipe]], kept: Kept
) -> list[tuple[Question, str]]:
    found = []
    for question in drawn:
        for of in planned.values():
            text = kept.answer(of[question.key], question.key) if question.key in of else None
            if text is not None:
                found.append((question, text))
    return found


def _compare(
    variants: Sequence[Variant],
    planned: Mapping[Variant, Mapping[str, Recipe]],
    drawn: Sequence[Question],
    kept: Kept,
    config: AblationConfig,
) -> list[VariantReport]:
    """On the sessions of which every variant that may answer them has a grade."""
    grades: dict[Variant, dict[str, float]] = {variant: {} for variant in variants}
    for question in drawn:
        mine = {
            variant: _grade(planned[variant][question.key], question.key, kept)
            for variant in variants
            if question.key in planned[variant]
        }
        if all(one is not None for one in mine.values()):
            for variant, one in mine.items():
                assert one is not None
                grades[variant][question.key] = one
    reports = []
    for variant in variants:
        sessions = list(grades[variant])
        if not sessions:
            continue
        used = [planned[variant][session] for session in sessions]
        reports.append(
            table.compare(
                variant,
                [grades[variant][session] for session in sessions],
                [grades["base"][session] for session in sessions],
                config,
                not_base=sum(recipe != BASE for recipe in used),
                calls=sum(recipe.calls for recipe in used) / len(used),
                too_long=sum(kept.was_cut_short(recipe, session) for recipe, session in zip(used, sessions, strict=True)),
            )
        )
    return reports


def _grade(recipe: Recipe, session: str, kept: Kept) -> float | None:
    text = kept.answer(recipe, session)
    grade = None if text is None else kept.grades.get(session, {}).get(text)
    return None if grade is None else grade.mean


def _result(
    config: AblationConfig,
    ctx: JobContext,
    examined: Examined,
    base_model: str,
    judged: Judge,
    kept: Kept,
    reports: list[VariantReport],
    missing: dict[Variant, str],
    held: int,
    drawn: int,
) -> AblationResult:
    told = {one.variant for one in reports}
    ended = {
        one: "no session has a grade of every variant" for one in config.variants if one not in told and one not in missing
    }
    not_run = missing | ended
    grades = [grade for texts in kept.grades.values() for grade in texts.values()]
    rehearsal = judged.rehearsal or bool(examined.document["rehearsal"])
    compared = max((one.sessions for one in reports), default=0)
    return AblationResult(
        variants=reports,
        not_run={str(name): why for name, why in not_run.items()},
        worth_it=table.worth_it(reports, not_run),
        heldout=held,
        drawn=drawn,
        left_out=drawn - compared,
        gaps_agree=examined.gaps_agree,
        gap_method=examined.gap_method,
        other_gap_method=examined.other_method,
        base_model=base_model,
        graded=len(grades),
        bad_json=sum(grade.bad for grade in grades),
        clamped=sum(grade.clamped for grade in grades),
        spent_usd=judged.spent_usd,
        stopped_by="budget" if judged.out_of_budget else None,
        teacher=judged.provider,
        model=judged.model,
        table=f"job:{ctx.job_id}/ablation.md",
        report=f"job:{ctx.job_id}/ablation.json",
        rehearsal=rehearsal,
        label="REHEARSAL" if rehearsal else "",
        note=NOTE,
    )


def _report(
    config: AblationConfig,
    result: AblationResult,
    drawn: Sequence[Question],
    planned: Mapping[Variant, Mapping[str, Recipe]],
    kept: Kept,
) -> bytes:
    sessions = [
        {
            "session_id": question.key,
            "rules": question.rules,
            "variants": {
                variant: {
                    "recipe": of[question.key].name,
                    "answer": (text := kept.answer(of[question.key], question.key)),
                    "scores": asdict(grade)["scores"]
                    if text is not None and (grade := kept.grades.get(question.key, {}).get(text))
                    else [],
                }
                for variant, of in planned.items()
                if question.key in of
            },
        }
        for question in drawn
    ]
    document = {"config": config.model_dump(mode="json"), **result.model_dump(mode="json"), "sessions": sessions}
    return json.dumps(document, indent=1, ensure_ascii=False).encode()
