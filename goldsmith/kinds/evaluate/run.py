"""All arms answer the same held-out prompts; the gates judge; the arms are compared in pairs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.datasets import DatasetVersion
from goldsmith.errors import InvalidInput
from goldsmith.gates import RULES
from goldsmith.kinds.evaluate import heldout, paired
from goldsmith.kinds.evaluate.heldout import Row
from goldsmith.kinds.evaluate.schema import Arm, Comparison, EvaluateConfig, EvaluateResult, Interval, Sample
from goldsmith.student import Student, Told
from goldsmith.variety import distinct, entropy_bits

CHUNK = 32  # prompts answered, then scored, at once
ANSWERING = 0.7  # its share of the time, measured on a CPU with 96 tokens an answer; for the progress only
SAMPLES = 4

ArmName = Literal["base", "lora", "control"]


@dataclass(frozen=True)
class Answered:
    """What one arm made of the rows, in their order."""

    arm: ArmName
    adapter: AdapterVersion | None
    texts: list[str]
    failed: list[dict[str, str]]
    nll: list[tuple[float, int]]
    seconds: float

    @property
    def passed(self) -> list[bool]:
        return [not failed for failed in self.failed]

    @property
    def scores(self) -> list[float]:
        return [1 - len(failed) / len(RULES) for failed in self.failed]


def run(config: EvaluateConfig, ctx: JobContext) -> EvaluateResult:
    dataset = ctx.dataset(config.dataset)
    adapters = _adapters(config, ctx)
    rows = heldout.read(config, dataset, ctx)
    for adapter in adapters.values():
        heldout.refuse_trained(rows, adapter, dataset, ctx)

    ctx.progress(1, f"loading {adapters['lora'].base_model}")
    student = ctx.student(adapters["lora"].base_model)
    arms: list[tuple[ArmName, AdapterVersion | None]] = [("base", None), *adapters.items()]
    answered = [
        _answer(
            student, rows, arm, adapter, config, ctx, begin=3 + 92 * number / len(arms), end=3 + 92 * (number + 1) / len(arms)
        )
        for number, (arm, adapter) in enumerate(arms)
    ]
    comparisons = [_compare(rows, answered[0], other, config) for other in answered[1:]]
    result = _result(dataset, rows, answered, comparisons)
    ctx.save_artifact("answers.jsonl", _lines(rows, answered), "application/x-ndjson")
    told = {"config": config.model_dump(mode="json"), "result": result.model_dump(mode="json")}
    ctx.save_artifact("evaluation.json", json.dumps(told, indent=2, ensure_ascii=False).encode(), "application/json")
    return result


def _adapters(config: EvaluateConfig, ctx: JobContext) -> dict[ArmName, AdapterVersion]:
    adapters: dict[ArmName, AdapterVersion] = {"lora": ctx.adapter(config.adapter)}
    if config.control is None:
        return adapters
    adapters["control"] = control = ctx.adapter(config.control)
    if not control.method.get("shuffled"):
        raise InvalidInput(f"control: {control.ref} was trained on its own answers; train a control with shuffle_answers: true")
    if control.base_sha256 != adapters["lora"].base_sha256:
        raise InvalidInput(
            f"control: {control.ref} is on another base model ({control.base_model}) than {adapters['lora'].ref}"
            f" ({adapters['lora'].base_model})"
        )
    return adapters


def _answer(
    student: Student,
    rows: Sequence[Row],
    arm: ArmName,
    adapter: AdapterVersion | None,
    config: EvaluateConfig,
    ctx: JobContext,
    *,
    begin: float,
    end: float,
) -> Answered:
    """Greedy answers and the likelihood of the gold."""
    started = time.monotonic()
    student.use(adapter)
    texts: list[str] = []
    nll: list[tuple[float, int]] = []
    step = (end - begin) / len(rows)
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]

        which = f"prompts {start + 1} to {start + len(chunk)} of {len(rows)}"
        answered_at = begin + step * start
        scored_at = answered_at + ANSWERING * step * len(chunk)
        tell = _teller(ctx, f"{arm} answers {which}", answered_at, scored_at)
        texts += student.generate([row.prompt for row in chunk], config.max_new_tokens, told=tell)
        tell = _teller(ctx, f"{arm} is scored on the gold of {which}", scored_at, answered_at + step * len(chunk))
        nll += student.nll([row.gold for row in chunk], tell)
    failed = [row.failed(text) for row, text in zip(rows, texts, strict=True)]
    return Answered(arm, adapter, texts, failed, nll, time.monotonic() - started)


def _teller(ctx: JobContext, message: str, begin: float, end: float) -> Told:
    return lambda share: ctx.progress(begin + (end - begin) * share, message)


def _compare(rows: Sequence[Row], base: Answered, other: Answered, config: EvaluateConfig) -> Comparison:
    groups = [row.example.group for row in rows]

    def interval(of_other: Sequence[float], of_base: Sequence[float], weights: Sequence[float]) -> Interval:
        differences = [one - another for one, another in zip(of_other, of_base, strict=True)]
        return paired.interval(differences, weights, groups, resamples=config.bootstrap, alpha=config.alpha, seed=config.seed)

    ones = [1.0] * len(rows)
    tokens = [float(number) for _, number in base.nll]
    pass_rate = interval(other.passed, base.passed, ones)
    pairs = list(zip(other.passed, base.passed, strict=True))
    only_other, only_base = pairs.count((True, False)), pairs.count((False, True))
    p_value = paired.mcnemar(only_other, only_base)
    assert other.arm != "base"
    return Comparison(
        arm=other.arm,
        pass_rate=pass_rate,
        gate_score=interval(other.scores, base.scores, ones),
        heldout_loss=interval([loss for loss, _ in other.nll], [loss for loss, _ in base.nll], tokens),
        only_arm_passed=only_other,
        only_base_passed=only_base,
        p_value=p_value,
        verdict=paired.verdict(pass_rate, p_value, config.alpha),
    )


def _result(
    dataset: DatasetVersion, rows: Sequence[Row], answered: Sequence[Answered], comparisons: Sequence[Comparison]
) -> EvaluateResult:
    verdicts = {comparison.arm: comparison.verdict for comparison in comparisons}
    refs = {one.arm: one.adapter.ref for one in answered if one.adapter}
    control_wins = verdicts["control"] == "wins" if "control" in verdicts else None
    adapter = answered[1].adapter
    assert adapter is not None
    return EvaluateResult(
        dataset=dataset.ref,
        adapter=adapter.ref,
        control=refs.get("control"),
        base_model=adapter.base_model,
        rehearsal=dataset.rehearsal or adapter.rehearsal,
        label="REHEARSAL" if dataset.rehearsal or adapter.rehearsal else "",
        prompts=len(rows),
        groups=len({row.example.group for row in rows}),
        arms=[_arm(one) for one in answered],
        comparisons=list(comparisons),
        verdict=verdicts["lora"],
        control_wins=control_wins,
        valid=not control_wins,
        why=_why(comparisons),
        samples=_samples(rows, answered),
    )


def _arm(answered: Answered) -> Arm:
    number = len(answered.texts)
    loss = sum(loss for loss, _ in answered.nll) / sum(tokens for _, tokens in answered.nll)
    return Arm(
        arm=answered.arm,
        adapter=answered.adapter.ref if answered.adapter else None,
        prompts=number,
        passed=sum(answered.passed),
        pass_rate=sum(answered.passed) / number,
        gate_score=sum(answered.scores) / number,
        passed_by_gate={rule: sum(rule not in failed for failed in answered.failed) / number for rule in RULES},
        heldout_loss=loss,
        perplexity=math.exp(loss),
        entropy_bits=entropy_bits(answered.texts),
        distinct_1=distinct(answered.texts, 1),
        distinct_2=distinct(answered.texts, 2),
        words=sum(len(text.split()) for text in answered.texts) / number,
        seconds=answered.seconds,
    )


def _why(comparisons: Sequence[Comparison]) -> str:
    lines = []
    for one in comparisons:
        gained = one.pass_rate
        lines.append(
            f"{one.arm} {one.verdict} against base: {gained.difference:+.0%} of the prompts pass every gate"
            f" ({gained.low:+.0%} to {gained.high:+.0%}), {one.only_arm_passed} only with it, {one.only_base_passed} only"
            f" without, p = {one.p_value:.2g}"
        )
        if one.arm == "control" and one.verdict == "wins":
            lines.append(
                "the control wins, too, though it learned the answers of other prompts: these gates can be passed by style"
                " alone, so this evaluation does not show that the adapter learned its task"
            )
    return "; ".join(lines)


def _samples(rows: Sequence[Row], answered: Sequence[Answered]) -> list[Sample]:
    """Spread over the rows, so that several configs and languages are seen."""
    step = max(1, len(rows) // SAMPLES)
    return [
        Sample(
            config_id=rows[number].example.config_id,
            language=rows[number].example.language,
            input=rows[number].example.input,
            gold=rows[number].example.messages[-1].content,
            answers={one.arm: one.texts[number] for one in answered},
            failed={one.arm: list(one.failed[number]) for one in answered},
        )
        for number in range(0, len(rows), step)[:SAMPLES]
    ]


def _lines(rows: Sequence[Row], answered: Sequence[Answered]) -> bytes:
    """One line for each prompt, all arms side by side, with the reasons why an answer fails."""
    return "".join(
        json.dumps(
            {
                "source": row.example.source,
                "config_id": row.example.config_id,
                "language": row.example.language,
                "group": row.example.group,
                "input": row.example.input,
                "gold": row.example.messages[-1].content,
                "arms": {
                    one.arm: {
                        "answer": one.texts[number],
                        "failed": one.failed[number],
                        "nll": one.nll[number][0],
                        "tokens": one.nll[number][1],
                    }
                    for one in answered
                },
            },
            ensure_ascii=False,
        )
        + "\n"
        for number, row in enumerate(rows)
    ).encode()
