"""Choose runs, examine the judge, answer the runs again, let it compare, count."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from goldsmith import answering, privacy
from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.devserver.checkout import Checkout
from goldsmith.devserver.prompts import fill
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.judge.pairs import Judged, Pair, Rubric, Votes, compare, read_rubric
from goldsmith.kinds.fidelity import counting
from goldsmith.kinds.fidelity.runs import Chosen, Run, choose, planted
from goldsmith.kinds.fidelity.schema import Exam, FidelityConfig, FidelityResult
from goldsmith.teacher import Teacher

FEWEST_PLANTED = 5  # to say anything of a judge; all of them then have to be right at the default
RUBRIC = read_rubric(Path(__file__).with_name("judge.toml"))


def run(config: FidelityConfig, ctx: JobContext) -> FidelityResult:
    ctx.progress(0, "reading runs")
    adapter = ctx.adapter(config.adapter)
    checkout = _checkout(config, ctx)
    chosen = choose(ctx.runs(config.runs), config)
    pairs = planted(chosen.usable, config.planted, config.seed)
    _enough(chosen, pairs, config)
    asked, said = asyncio.run(_judge(pairs, config, RUBRIC, ctx, (1, 15), "the judge is examined"))
    exam = counting.exam(asked, config)

    judged = Judged([])
    answered: list[tuple[Run, Pair]] = []
    compared: list[Pair] = []
    if exam.passed:
        answered = _answered(config, chosen, adapter, checkout, ctx)
        compared = [pair for _, pair in answered]
        judged, said = asyncio.run(
            _judge(compared, config, RUBRIC, ctx, (70, 97), f"the judge compares {len(compared)} pairs of answers")
        )
    ctx.progress(97, "counting")
    counted = [(run, votes) for (run, _), votes in zip(answered, judged.votes, strict=True) if votes.both_orders]
    result = _result(config, ctx, adapter, chosen, exam, asked, judged, counted, said)
    ctx.save_artifact("fidelity.json", _document(config, result, pairs, asked, compared, judged), "application/json")
    ctx.progress(100, result.why)
    return result


def _checkout(config: FidelityConfig, ctx: JobContext) -> Checkout:
    ref = config.contexts or f"{config.runs}/contexts.json"
    try:
        path = ctx.upload(ref)[1] if ref.startswith("upload:") else ctx.artifact(ref)
        return Checkout.model_validate_json(path.read_bytes())
    except (NotFound, ValidationError) as error:
        why = "does not exist" if isinstance(error, NotFound) else "is something else"
        allowed = "the contexts.json of an import job that was given a checkout, or an upload of contexts"
        raise InvalidInput(
            f"contexts: {ref} {why}; allowed is {allowed}", errors=[{"field": "contexts", "value": ref, "allowed": allowed}]
        ) from error


def _enough(chosen: Chosen, pairs: Sequence[Pair], config: FidelityConfig) -> None:
    left_out = "; ".join(f"{number}: {reason}" for reason, number in chosen.left_out.most_common(5)) or "nothing was left out"
    if not chosen.drawn:
        raise InvalidInput(
            f"runs: none of the {chosen.total} runs of {config.runs} may be used ({left_out})",
            errors=[{"field": "runs", "value": config.runs, "allowed": "an import with runs that may be trained on"}],
        )
    if len(pairs) < FEWEST_PLANTED:
        contexts = len({one.context for one in chosen.usable})
        raise InvalidInput(
            f"runs: a judge is examined on runs of different contexts in one language, and the {len(chosen.usable)} usable runs of"
            f" {config.runs} have {contexts} contexts, which give {len(pairs)} pairs; {FEWEST_PLANTED} are needed ({left_out})",
            errors=[{"field": "runs", "value": config.runs, "allowed": "runs of at least two contexts in one language"}],
        )


def _answered(
    config: FidelityConfig, chosen: Chosen, adapter: AdapterVersion, checkout: Checkout, ctx: JobContext
) -> list[tuple[Run, Pair]]:
    """The arm's answer first, as `one` of each pair. An answer with personal data, which a model may have learned by heart, is
    left out as a run with any is."""
    drawn = chosen.drawn
    ctx.progress(15, f"loading {adapter.base_model}")
    student = ctx.student(adapter.base_model)
    arms: list[tuple[str, AdapterVersion | None]] = [(adapter.ref, adapter)]
    if config.against == "base":
        arms.insert(0, ("base", None))
    prompts = [(run.run_id, [{"role": "user", "content": _prompt(run, checkout)}]) for run in drawn]
    answers = answering.restored(ctx)
    answering.answer(student, arms, prompts, answers, ctx, max_new_tokens=config.max_new_tokens, progress=(16, 70))

    def other(run: Run) -> str:
        return run.output if config.against == "recorded" else answers.of("base")[run.run_id]

    pairs = []
    for run in drawn:
        arm = answers.of(adapter.ref)[run.run_id]
        if reason := privacy.personal((arm, other(run)), run.language):
            chosen.left_out[f"answered with {reason}"] += 1
        else:
            item = f"{run.run_id}/fidelity/{adapter.ref}"
            pairs.append((run, Pair(item, run.context, arm, other(run), run.device_id, private=True)))
    return pairs


def _prompt(run: Run, checkout: Checkout) -> str:
    """As it was asked live: in the checkout's template, under the context that was recorded, which may have been edited."""
    wiki = checkout.wiki if checkout.has(run.config_id) and checkout.config(run.config_id).wikipedia else ""
    return fill(checkout.template, task=checkout.task, context=run.context, text=run.input, wiki=wiki)


async def _judge(
    pairs: Sequence[Pair], config: FidelityConfig, rubric: Rubric, ctx: JobContext, progress: tuple[float, float], message: str
) -> tuple[Judged, dict[str, Any]]:
    def told(share: float) -> None:
        ctx.progress(progress[0] + (progress[1] - progress[0]) * share, message)

    opened = ctx.teacher(config.teacher, model=config.model, budget_usd=config.budget_usd, recorded=True)
    async with aclosing(opened) as teacher:
        judged = await compare(pairs, teacher, rubric, samples=config.samples, concurrency=config.concurrency, told=told)
        return judged, _said(teacher)


def _said(teacher: Teacher) -> dict[str, Any]:
    return {
        "teacher": teacher.provider,
        "model": teacher.model,
        "rehearsal": teacher.rehearsal,
        "spent_usd": teacher.spent_usd,
    }


def _result(
    config: FidelityConfig,
    ctx: JobContext,
    adapter: AdapterVersion,
    chosen: Chosen,
    exam: Exam,
    asked: Judged,
    judged: Judged,
    counted: Sequence[tuple[Run, Votes]],
    said: dict[str, Any],
) -> FidelityResult:
    points = [votes.points or 0.0 for _, votes in counted]
    devices = [run.device_id for run, _ in counted]
    rate = counting.over_devices(points, devices, config)
    position = judged if exam.passed else asked
    votes = [vote for _, vote in counted] if exam.passed else asked.votes
    groups = devices if exam.passed else [str(number) for number in range(len(votes))]
    follows = [(value, group) for vote, group in zip(votes, groups, strict=True) for value in vote.follows]
    verdict = counting.verdict(rate) if points else "not judged"
    out_of_budget = asked.out_of_budget or judged.out_of_budget
    return FidelityResult(
        adapter=adapter.ref,
        against=config.against,
        base_model=adapter.base_model,
        valid=bool(points),
        verdict=verdict,
        why=counting.why(config, exam, points, rate, verdict, len(set(devices)), out_of_budget=out_of_budget),
        exam=exam,
        win_rate=rate,
        wins=points.count(1.0),
        ties=points.count(0.5),
        losses=points.count(0.0),
        follows_position=counting.over_devices([value for value, _ in follows], [group for _, group in follows], config),
        first_preferred=position.first_preferred,
        by_config=counting.by_config(counted),
        runs=chosen.total,
        usable=len(chosen.usable),
        drawn=len(chosen.drawn),
        judged=len(points),
        devices=len(set(devices)),
        left_out=dict(chosen.left_out.most_common()),
        language_unknown=sum(run.language is None for run in chosen.drawn),
        unreadable=asked.unreadable + judged.unreadable,
        stopped_by="budget" if out_of_budget else None,
        rubric=RUBRIC.version,
        report=f"job:{ctx.job_id}/fidelity.json",
        label="REHEARSAL" if said["rehearsal"] or adapter.rehearsal else "",
        **said | {"rehearsal": said["rehearsal"] or adapter.rehearsal},
    )


def _document(
    config: FidelityConfig,
    result: FidelityResult,
    pairs: Sequence[Pair],
    asked: Judged,
    compared: Sequence[Pair],
    judged: Judged,
) -> bytes:
    def rows(these: Sequence[Pair], found: Judged) -> list[dict[str, Any]]:
        return [
            {
                "item": pair.item,
                "context": pair.context,
                "one": pair.one,
                "other": pair.other,
                "verdicts": [
                    {"first": "one" if order == 0 else "other", "sample": sample, "better": letter}
                    for (order, sample), letter in sorted(votes.said.items())
                ],
                "why": votes.why,
                "points": votes.points,
            }
            for pair, votes in zip(these, found.votes, strict=False)
        ]

    told = {
        "format_version": 1,
        "config": config.model_dump(mode="json"),
        "result": result.model_dump(mode="json"),
        "planted": rows(pairs, asked),
        "compared": rows(compared, judged),
    }
    return json.dumps(told, indent=1, ensure_ascii=False).encode()
