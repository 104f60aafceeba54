"""Read the corpus, buy answers, freeze what passed, say what did not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

from goldsmith import gates, traditions
from goldsmith.context import JobContext
from goldsmith.datasets import Example
from goldsmith.errors import GoldsmithError, InvalidInput
from goldsmith.kinds.gold import diversity, money
from goldsmith.kinds.gold.answers import Outcome, answer, at_once, vary
from goldsmith.kinds.gold.judge import judge
from goldsmith.kinds.gold.questions import beginning
from goldsmith.kinds.gold.schema import Diversity, GoldConfig, GoldResult, JudgeReport
from goldsmith.teacher import Teacher
from goldsmith.teacher.bounded import for_each


async def run(config: GoldConfig, ctx: JobContext) -> GoldResult:
    """In batches a run comes to its end in several attempts: each finds the answers of those before and asks what is new."""
    corpus = ctx.dataset(config.dataset)
    async with _teacher(config, ctx, recorded=False) as teacher:  # asks for what was sent; the rows are not read for that
        await teacher.collect()
    rows = list(ctx.examples(corpus.ref))
    _is_corpus(corpus.ref, rows)
    async with _teacher(config, ctx, recorded=any(row.private for row in rows)) as teacher:
        ctx.progress(0, f"asking {config.teacher} about {len(rows)} rows")
        outcomes, out_of_budget = await _buy(rows, teacher, config, ctx)
        if config.near_duplicate is not None:
            ctx.progress(95, "comparing the answers", spent_usd=teacher.spent_usd)
            out_of_budget = await _vary(rows, outcomes, config.near_duplicate, teacher, config) or out_of_budget
        judged: JudgeReport | None = None
        if config.judge is not None and any(outcome.passed for outcome in outcomes):
            ctx.progress(95, "judging the answers", spent_usd=teacher.spent_usd)
            candidates = [outcome for outcome in outcomes if outcome.passed]
            judged = await judge(candidates, teacher, config, batch=_in_batches(config, teacher))

        report = ctx.save_artifact("gold.json", _report(config, outcomes), "application/json")
        passed = [outcome.example() for outcome in outcomes if outcome.passed]
        if not passed:
            raise GoldsmithError(_nothing(len(rows), outcomes, report))
        version = ctx.save_dataset(
            config.name,
            passed,
            manifest={
                "kind": "gold",
                "config": config.model_dump(mode="json"),
                "teacher": teacher.provider,
                "model": teacher.model,
                "prices": teacher.prices,
                "filters": _dropped(outcomes),
                "checked_by": "mechanical rules, not by people"
                if judged is None
                else "mechanical rules and a model, not by people",
            },
            parents=[corpus.ref],
            rehearsal=teacher.rehearsal,
        )
        answers = [got for outcome in outcomes for got in outcome.answers]
        told = await money.report(rows, teacher, config, batch=_in_batches(config, teacher))
        return GoldResult(
            dataset=version.ref,
            report=report,
            rows=len(rows),
            asked=len(outcomes),
            passed=len(passed),
            repaired=sum(outcome.repaired for outcome in outcomes),
            reused=sum(not got.own for got in answers),
            dropped=_dropped(outcomes),
            first_try_failed=dict(Counter(rule for outcome in outcomes for rule in outcome.first_failed).most_common()),
            spent_usd=teacher.spent_usd,
            saved_by_reuse_usd=teacher.saved_usd,
            stopped_by="budget" if out_of_budget or teacher.spent_usd > config.budget_usd else None,
            diversity=_diversity(passed, ctx),
            judge=judged,
            teacher=teacher.provider,
            model=teacher.model,
            rehearsal=teacher.rehearsal,
            label="REHEARSAL" if teacher.rehearsal else "",
            **told,
            note=_note(rows),
        )


def _teacher(config: GoldConfig, ctx: JobContext, *, recorded: bool) -> aclosing[Teacher]:
    return aclosing(ctx.teacher(config.teacher, model=config.model, budget_usd=config.budget_usd, recorded=recorded))


def _is_corpus(ref: str, rows: Sequence[Example]) -> None:
    for row in rows:
        if [message.role for message in row.messages] != ["user"]:
            raise InvalidInput(
                f"{ref} is no corpus: a row from {row.source} holds {len(row.messages)} messages, not one of the user",
                errors=[{"field": "dataset", "value": ref, "allowed": "a dataset that a corpus job made"}],
            )


async def _buy(rows: Sequence[Example], teacher: Teacher, config: GoldConfig, ctx: JobContext) -> tuple[list[Outcome], bool]:
    """The outcomes in the order of the rows, and whether the budget ended first."""
    batch = _in_batches(config, teacher)
    sharing = Counter(map(beginning, rows))
    outcomes: dict[int, Outcome] = {}
    counts = Counter(bought=0, reused=0, repaired=0, dropped=0, waiting=0)

    async def one(numbered: tuple[int, Example]) -> bool:
        number, row = numbered
        outcome = outcomes[number] = await answer(row, teacher, config, batch=batch, sharing=sharing[beginning(row)])
        counts.update("bought" if got.own else "reused" for got in outcome.answers)
        counts["waiting"] += outcome.missing == "waiting"
        if not outcome.missing:
            counts.update(repaired=outcome.repaired, dropped=not outcome.passed)
        ctx.progress(
            95 * len(outcomes) / len(rows), f"{len(outcomes)} of {len(rows)} rows", **counts, spent_usd=teacher.spent_usd
        )
        return outcome.missing != "budget"

    await for_each(enumerate(rows), one, concurrency=at_once(config, batch=batch))
    if counts["waiting"]:
        await teacher.send()  # comes back only when there is no money for what waits
    stopped = any(outcome.missing for outcome in outcomes.values())
    return [outcomes[number] for number in sorted(outcomes) if outcomes[number].asked], stopped


async def _vary(
    rows: Sequence[Example], outcomes: Sequence[Outcome], threshold: float, teacher: Teacher, config: GoldConfig
) -> bool:
    """Near duplicates: repaired once or dropped. Whether the budget ended first."""
    sharing = Counter(map(beginning, rows))
    await vary(outcomes, threshold, teacher, config, batch=_in_batches(config, teacher), sharing=sharing)
    if any(outcome.missing == "waiting" for outcome in outcomes):
        await teacher.send()  # comes back only when there is no money for what waits
    return any(outcome.missing for outcome in outcomes)


def _in_batches(config: GoldConfig, teacher: Teacher) -> bool:
    if config.batch and not teacher.takes_batches:
        raise InvalidInput(
            f"batch: teacher {teacher.provider!r} takes no batches; leave it out",
            errors=[{"field": "batch", "value": True, "allowed": [None, False]}],
        )
    return teacher.takes_batches if config.batch is None else config.batch


def _diversity(rows: Sequence[Example], ctx: JobContext) -> Diversity:
    told = json.dumps(diversity.report(rows, traditions.table()), indent=1, ensure_ascii=False).encode()
    return Diversity(**diversity.summary(rows), report=ctx.save_artifact("diversity.json", told, "application/json"))


def _dropped(outcomes: Sequence[Outcome]) -> dict[str, int]:
    return dict(Counter(next(iter(outcome.failed)) for outcome in outcomes if not outcome.passed).most_common())


def _report(config: GoldConfig, outcomes: Sequence[Outcome]) -> bytes:
    """Rows that had an answer which failed; the child's text is not in it but for what the answers repeat."""
    failed = [
        {
            "source": outcome.row.source,
            "config_id": outcome.row.config_id,
            "language": outcome.row.language,
            "split": outcome.row.split,
            "outcome": "repaired" if outcome.passed else "dropped",
            "first_reasons": outcome.first_failed,
            "reasons": outcome.failed,
            "answers": [got.text for got in outcome.answers],
        }
        for outcome in outcomes
        if outcome.first_failed or outcome.failed
    ]
    about = {"config": config.model_dump(mode="json"), "asked": len(outcomes), "failed": failed}
    return json.dumps(about, indent=1, ensure_ascii=False).encode()


def _nothing(rows: int, outcomes: Sequence[Outcome], report: str) -> str:
    if not outcomes:
        return f"the budget is too small for one question; none of the {rows} rows was asked"
    return f"none of the {len(outcomes)} answers passed ({_dropped(outcomes)}); the reasons are in {report}"


def _note(rows: Sequence[Example]) -> str:
    unread = sum(not gates.prompt_parts(row.messages[0].content, row.input)[1] for row in rows)
    if not unread:
        return ""
    return (
        f"K1_vocabulary was not checked on {unread} rows: their prompts do not have the parts Task, Context, Important, Prompt"
    )
