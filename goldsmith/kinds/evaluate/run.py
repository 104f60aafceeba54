"""All arms answer the same prompts; scorers judge; the arms are compared in pairs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.datasets import DatasetVersion
from goldsmith.errors import InvalidInput
from goldsmith.gates import RULES
from goldsmith.kinds.evaluate import heldout, judging, report, scorers
from goldsmith.kinds.evaluate.answering import Kept, answer
from goldsmith.kinds.evaluate.comparing import against_passing, compare, mean
from goldsmith.kinds.evaluate.heldout import Row
from goldsmith.kinds.evaluate.judging import Opinions
from goldsmith.kinds.evaluate.schema import Arm, Comparison, EvaluateConfig, EvaluateResult, Scorer
from goldsmith.kinds.evaluate.scorers import Scored
from goldsmith.variety import distinct, entropy_bits


def run(config: EvaluateConfig, ctx: JobContext) -> EvaluateResult:
    dataset = ctx.dataset(config.dataset)
    adapters = _adapters(config, ctx)
    rows = heldout.read(config, dataset, ctx)
    for adapter in adapters.values():
        heldout.refuse_trained(rows, adapter, dataset, ctx)
    used = scorers.chosen(rows, config)
    opinions = judging.examine(rows, config, ctx) if config.judge else None

    ctx.progress(3, f"loading {adapters['lora'].base_model}")
    student = ctx.student(adapters["lora"].base_model)
    arms: list[tuple[str, AdapterVersion | None]] = [("base", None), *adapters.items()]
    kept = Kept(rows, config, ctx)
    until = 87 / len(arms)
    scored = [
        scorers.score(
            arm, rows, answer(student, rows, arm, adapter, kept, config, ctx, (3 + until * at, 3 + until * (at + 1))), used
        )
        for at, (arm, adapter) in enumerate(arms)
    ]
    if opinions is not None:
        judging.judge(scored, rows, opinions, config, ctx)
        for one in scored:
            one.scores["judge"] = opinions.by_arm[one.arm]

    ctx.progress(96, "comparing")
    result = _result(config, ctx, dataset, rows, adapters, scored, used, opinions, kept.resumed)
    ctx.save_artifact("answers.jsonl", report.lines(rows, scored), "application/x-ndjson")
    ctx.save_artifact("report.md", report.markdown(result, rows, scored), "text/markdown")
    told = {"config": config.model_dump(mode="json"), "result": result.model_dump(mode="json")}
    ctx.save_artifact("evaluation.json", json.dumps(told, indent=2, ensure_ascii=False).encode(), "application/json")
    return result


def _adapters(config: EvaluateConfig, ctx: JobContext) -> dict[str, AdapterVersion]:
    adapters: dict[str, AdapterVersion] = {"lora": ctx.adapter(config.adapter)}
    lora = adapters["lora"]
    if config.control is not None:
        adapters["control"] = control = ctx.adapter(config.control)
        if not control.method.get("shuffled"):
            raise InvalidInput(
                f"control: {control.ref} was trained on its own answers; train a control with shuffle_answers: true"
            )
    for ref in config.others:
        other = ctx.adapter(ref)
        if any(other.ref == one.ref for one in adapters.values()):
            message = f"{other.ref} is compared already"
            raise InvalidInput(f"others: {message}", errors=[{"field": "others", "value": ref, "message": message}])
        adapters[other.ref] = other
    for name, other in adapters.items():
        if other.base_sha256 != lora.base_sha256:
            field = "control" if name == "control" else "others"
            message = f"{other.ref} is on another base model ({other.base_model}) than {lora.ref} ({lora.base_model})"
            raise InvalidInput(f"{field}: {message}", errors=[{"field": field, "value": other.ref, "message": message}])
    return adapters


def _result(
    config: EvaluateConfig,
    ctx: JobContext,
    dataset: DatasetVersion,
    rows: Sequence[Row],
    adapters: dict[str, AdapterVersion],
    scored: Sequence[Scored],
    used: Sequence[Scorer],
    opinions: Opinions | None,
    resumed: int,
) -> EvaluateResult:
    primary = scorers.primary(used, rows, config)
    base, lora, *others = scored
    comparisons = [compare(one, base, rows, used, primary, config) for one in scored[1:]]
    verdicts = {one.arm: one.verdict for one in comparisons}
    control_wins = verdicts["control"] == "wins" if "control" in verdicts else None
    not_computed = {scorer: why for scorer in used if (why := _not_computed(scorer, scored, rows, opinions))}
    against = against_passing(comparisons[0], primary, not_computed, config, control_wins=bool(control_wins))
    rehearsal = dataset.rehearsal or adapters["lora"].rehearsal or (opinions is not None and opinions.rehearsal)
    return EvaluateResult(
        dataset=dataset.ref,
        adapter=adapters["lora"].ref,
        control=adapters["control"].ref if "control" in adapters else None,
        others=[one.arm for one in others if one.arm != "control"],
        base_model=adapters["lora"].base_model,
        rehearsal=rehearsal,
        label="REHEARSAL" if rehearsal else "",
        prompts=len(rows),
        groups=len(set(heldout.groups(rows))),
        primary=primary,
        margin=config.margin,
        passed=not against,
        arms=[_arm(one, adapters.get(one.arm), rows, used) for one in scored],
        comparisons=comparisons,
        between=[compare(lora, one, rows, used, primary, config) for one in others],
        verdict=verdicts["lora"],
        control_wins=control_wins,
        valid=not control_wins,
        why=_why(comparisons, primary, against),
        not_computed={str(scorer): why for scorer, why in not_computed.items()},
        judge=opinions.report(config) if opinions is not None else None,
        resumed=resumed,
        report=f"job:{ctx.job_id}/report.md",
        samples=report.samples(rows, scored),
    )


def _not_computed(scorer: Scorer, scored: Sequence[Scored], rows: Sequence[Row], opinions: Opinions | None) -> str | None:
    if scorer == "judge":
        return opinions.why_not(rows) if opinions is not None else None
    slow = sum(any(one.why[place].get(scorer) == scorers.SLOW for one in scored) for place in range(len(rows)))
    return f"{slow} prompts are left out: {scorers.SLOW}" if slow else None


def _why(comparisons: Sequence[Comparison], primary: Scorer, against: Sequence[str]) -> str:
    parts = [f"not passed: {'; '.join(against)}"] if against else ["passed"]
    for one in comparisons:
        parts.append(_verdict(one, primary))
        if one.arm == "control" and one.verdict == "wins":
            parts.append(
                "the control wins, too, though it learned the answers of other prompts: these gates can be passed by style"
                " alone, so this evaluation does not show that the adapter learned its task"
            )
    return "; ".join(parts)


def _verdict(one: Comparison, primary: Scorer) -> str:
    said = f"{one.arm} {one.verdict} against base"
    if primary == "rules" and one.pass_rate is not None:
        gained = one.pass_rate
        return (
            f"{said}: {gained.difference:+.0%} of the prompts pass every gate"
            f" ({gained.low:+.0%} to {gained.high:+.0%}), {one.only_arm_passed} only with it, {one.only_base_passed} only"
            f" without, p = {one.p_value:.2g}"
        )
    found = next((each for each in one.scores if each.scorer == primary), None)
    if found is None:
        return f"{said}: nothing to judge by {primary}"
    return (
        f"{said} by {primary}: {found.difference.difference:+.3g} ({found.difference.low:+.3g} to {found.difference.high:+.3g}),"
        f" {found.wins} prompts won, {found.losses} lost, p = {found.p_value:.2g}"
    )


def _arm(one: Scored, adapter: AdapterVersion | None, rows: Sequence[Row], used: Sequence[Scorer]) -> Arm:
    failed = [failed for failed, row in zip(one.failed, rows, strict=True) if row.gated]
    nll = [pair for pair in one.answers.nll if pair is not None]
    loss = sum(loss for loss, _ in nll) / sum(tokens for _, tokens in nll) if nll else None
    texts = one.answers.texts
    means = {
        scorer: mean(scorer, one, places)
        for scorer in used
        if (places := [place for place, point in enumerate(one.scores[scorer]) if point is not None])
    }
    passed = sum(not each for each in failed)
    return Arm(
        arm=one.arm,
        adapter=adapter.ref if adapter else None,
        prompts=len(texts),
        scores={str(scorer): value for scorer, value in means.items()},
        passed=passed if failed else None,
        pass_rate=passed / len(failed) if failed else None,
        gate_score=sum(1 - len(each) / len(RULES) for each in failed) / len(failed) if failed else None,
        passed_by_gate={rule: sum(rule not in each for each in failed) / len(failed) for rule in RULES} if failed else {},
        heldout_loss=loss,
        perplexity=None if loss is None else math.exp(min(loss, 700)),
        entropy_bits=entropy_bits(texts),
        distinct_1=distinct(texts, 1),
        distinct_2=distinct(texts, 2),
        words=sum(len(text.split()) for text in texts) / len(texts),
        seconds=one.answers.seconds,
        tokens=one.answers.tokens,
        tokens_per_s=one.answers.tokens / one.answers.answering_s if one.answers.answering_s else 0.0,
        first_token_s=one.answers.first_token_s,
        tokens_per_s_alone=one.answers.tokens_per_s_alone,
    )
