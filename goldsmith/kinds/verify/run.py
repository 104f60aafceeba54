"""Let the base model and every epoch answer, have the answers graded, choose an epoch, gate it, register it."""

from __future__ import annotations

import json
import operator
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.context import JobContext
from goldsmith.kinds.verify import trained
from goldsmith.kinds.verify.answering import BASE, Answered, answer, restored
from goldsmith.kinds.verify.counting import Counted, count
from goldsmith.kinds.verify.judging import Judge, judge
from goldsmith.kinds.verify.schema import VerifyConfig, VerifyResult
from goldsmith.kinds.verify.trained import Row, Trained
from goldsmith.uno import verdict

Gated = dict[str, Any]


def run(config: VerifyConfig, ctx: JobContext) -> VerifyResult:
    made = trained.read(config.train, ctx)
    dataset = ctx.dataset(made.last.dataset)
    every = trained.heldout(dataset, ctx)
    # Nothing is graded yet: a teacher that cannot be asked shall say so before hours of answering.
    judged = judge([], every, Answered(), config, ctx, (0, 1))
    ctx.progress(1, f"loading {made.last.base_model}")
    student = ctx.student(made.last.base_model)
    rows = trained.fitting(every, student, config.max_new_tokens)
    left_out = len(every) - len(rows)
    answered = restored(ctx)
    choose, gate = _parts(config, rows)
    arms: list[tuple[str, AdapterVersion | None]] = [(BASE, None), *((str(n), one) for n, one in made.epochs.items())]
    epochs: list[Counted] = []
    chosen: int | None = None
    gated: Counted | None = None

    if len(rows) >= config.min_heldout:
        # All epochs answer what one is chosen on; what gates, only the base model and that one.
        answer(student, arms, choose, answered, config, ctx, (2, 45))
        judged = judge([arm for arm, _ in arms], choose, answered, config, ctx, (45, 65))
        if not judged.out_of_budget:
            epochs = [count(epoch, choose, answered, config) for epoch in made.epochs]
            best = verdict.best([one.win_rate for one in epochs])
            chosen = None if best is None else epochs[best].epoch
        if chosen is not None:
            two = [(BASE, None), (str(chosen), made.epochs[chosen])]
            answer(student, two, gate, answered, config, ctx, (65, 85))
            judged = judge([arm for arm, _ in two], gate, answered, config, ctx, (85, 95))
            gated = None if judged.out_of_budget else count(chosen, gate, answered, config)

    told = _gated(config, gated) | {"why": ""}
    told["why"] = _why(config, len(rows), judged, chosen, gated, told)
    grades = [item.grade for items in answered.arms.values() for item in items.values() if item.grade is not None]
    rehearsal = made.last.rehearsal or dataset.rehearsal or judged.rehearsal
    numbers: dict[str, Any] = {
        **told,
        "train": config.train,
        "dataset": dataset.ref,
        "base_model": made.last.base_model,
        "gate": config.gate,
        "epochs": [one.report().model_dump() for one in epochs],
        "chosen": chosen,
        "win_rate_min": config.win_rate_min,
        "at_win_rate_min": config.at_win_rate_min,
        "barred": config.barred,
        "confidence": config.confidence,
        "heldout": len(every),
        "left_out": left_out,
        "n_choose": epochs[0].n if epochs else 0,
        "without_base_grade": sum(_ungraded(answered, row) for row in rows),
        "bleu_min": config.bleu_min,
        "bleu_tokenizer": config.bleu_tokenizer,
        "without_rules": sum(not row.rules for row in rows),
        "graded": len(grades),
        "bad_json": sum(one.bad for one in grades),
        "clamped": sum(one.clamped for one in grades),
        "spent_usd": judged.spent_usd,
        "stopped_by": "budget" if judged.out_of_budget else None,
        "teacher": config.teacher,
        "model": judged.model,
        "rehearsal": rehearsal,
        "label": "REHEARSAL" if rehearsal else "",
    }
    ctx.progress(96, "registering the chosen epoch" if chosen else "nothing to register")
    adapter = _register(made, chosen, numbers, config, ctx) if chosen is not None and gated is not None else None
    numbers["adapter"] = adapter.ref if adapter else None
    report = ctx.save_artifact("verify.json", _report(config, numbers, rows, gate, answered, epochs, gated), "application/json")
    return VerifyResult(**numbers, report=report)


def _parts(config: VerifyConfig, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    if config.gate == "reference":
        return list(rows), list(rows)
    choose, gate = verdict.halves([row.example.group for row in rows], config.seed)
    return [rows[place] for place in choose], [rows[place] for place in gate]


def _gated(config: VerifyConfig, gated: Counted | None) -> Gated:
    """What the rows that gate say of the chosen epoch."""
    if gated is None or not gated.n:
        nothing = dict.fromkeys(("win_rate", "interval", "lower_bound", "needed"))
        return {**nothing, "passed": False, "n_gate": 0, "barred_by_bleu": 0, "barred_by_length": 0, "ungraded": 0}
    bound = verdict.lower_bound(gated.won, gated.n, config.confidence)
    reaches = operator.ge if config.at_win_rate_min == "passes" else operator.gt
    needed: float | None = next(
        (points / 2 for points in range(2 * gated.n + 1) if reaches(points / 2 / gated.n, config.win_rate_min)), None
    )
    if config.gate == "halves":
        needed = verdict.needed(gated.n, config.win_rate_min, config.confidence)
    return {
        "win_rate": gated.win_rate,
        "interval": verdict.interval(gated.won, gated.n, config.confidence),
        "lower_bound": bound,
        "needed": needed,
        "passed": needed is not None and gated.won >= needed,
        "n_gate": gated.n,
        "barred_by_bleu": gated.barred("bleu"),
        "barred_by_length": gated.barred("length"),
        "ungraded": gated.ungraded,
    }


def _why(config: VerifyConfig, rows: int, judged: Judge, chosen: int | None, gated: Counted | None, told: Gated) -> str:
    if rows < config.min_heldout:
        return (
            f"{rows} held-out rows are fewer than min_heldout {config.min_heldout}: {config.min_heldout - rows} are missing,"
            " nothing was generated or graded"
        )
    if judged.out_of_budget:
        return "the budget ended before everything was graded, and what is graded in part says nothing; raise budget_usd"
    if chosen is None or gated is None or not gated.n:
        return "no epoch won or tied a single row" if chosen is None else "no row was left to gate on"
    said = f"epoch {chosen} won {gated.won:g} of {gated.n} ({told['win_rate']:.3f})"
    if config.gate == "reference":
        rule = f"of the rows that it was chosen on; {config.win_rate_min:g} is asked, no bound"
    else:
        low = f"at least {told['lower_bound']:.3f} with confidence {config.confidence:g}, {config.win_rate_min:g} is asked"
        wanted = (
            "and no number of wins would be enough" if told["needed"] is None else f"{told['needed']:g} won would be enough"
        )
        rule = low if told["passed"] else f"{low}: {wanted}"
    return f"{said}: {rule}" if config.gate == "halves" else f"{said} {rule}"


def _ungraded(answered: Answered, row: Row) -> bool:
    item = answered.of(BASE).get(row.key)
    return item is not None and item.grade is not None and item.grade.mean is None


def _register(made: Trained, chosen: int, numbers: dict[str, Any], config: VerifyConfig, ctx: JobContext) -> AdapterVersion:
    """The chosen epoch as a version of its own, whether it passed or not: an ablation asks for it too. It descends from the
    training's last epoch, so that it is marked when rows of that are erased."""
    epoch, last = made.epochs[chosen], made.last
    kept = ("gate", "passed", "why", "win_rate", "interval", "lower_bound", "n_gate", "n_choose", "win_rate_min", "confidence")
    return ctx.register_adapter(
        NewAdapter(
            name=config.name or last.name,
            folder=epoch.folder,
            base_model=last.base_model,
            base_sha256=last.base_sha256,
            tokenizer_sha256=last.tokenizer_sha256,
            template_sha256=last.template_sha256,
            dataset=last.dataset,
            method={
                **last.method,
                "role": "expert",
                "epoch": chosen,
                "train": config.train,
                "verified": {name: numbers[name] for name in kept},
            },
            metrics={name: numbers[name] for name in ("win_rate", "lower_bound", "n_gate")},
            rehearsal=numbers["rehearsal"],
            alias=config.alias if numbers["passed"] else None,
            base_revision=last.base_revision,
            base_files=last.base_files,
            parents=(last.ref,),
        )
    )


def _report(
    config: VerifyConfig,
    numbers: dict[str, Any],
    rows: Sequence[Row],
    gate: Sequence[Row],
    answered: Answered,
    epochs: Sequence[Counted],
    gated: Counted | None,
) -> bytes:
    gates = {row.key for row in gate}
    points = {(one.epoch, key): point for one in [*epochs, *([gated] if gated else [])] for key, point in one.points.items()}
    told = [
        {
            "row": int(row.key),
            "source": row.example.source,
            "part": "both" if config.gate == "reference" else "gate" if row.key in gates else "choose",
            "rules": row.rules,
            "arms": {
                arm: {
                    "answer": items[row.key].answer,
                    "score": grade.mean if (grade := items[row.key].grade) else None,
                    "scores": grade.scores if grade else [],
                    **(asdict(points[int(arm), row.key]) if arm != BASE and (int(arm), row.key) in points else {}),
                }
                for arm, items in answered.arms.items()
                if row.key in items
            },
        }
        for row in rows
    ]
    return json.dumps(
        {"config": config.model_dump(mode="json"), **numbers, "rows": told}, indent=1, ensure_ascii=False
    ).encode()
