"""The evaluation for people, and every answer for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence

from goldsmith.kinds.evaluate.heldout import Row
from goldsmith.kinds.evaluate.schema import Comparison, EvaluateResult, Sample, ScoreComparison, Scorer
from goldsmith.kinds.evaluate.scorers import Scored

SAMPLES = 4
SHOWN = 3  # prompts of each sort in the report

NAMES: dict[Scorer, str] = {
    "rules": "passes every rule (K1 to K12)",
    "exact": "says exactly what was expected",
    "regex": "contains what was expected",
    "json_schema": "is JSON of the expected form",
    "judge": "opinion of the judge",
    "chrf": "letters shared with the expected answer (chrF)",
    "bleu": "words shared with the expected answer (BLEU)",
    "perplexity": "surprise at the expected answer (perplexity)",
}


def samples(rows: Sequence[Row], scored: Sequence[Scored]) -> list[Sample]:
    """Spread over the rows, so that several configs and languages are seen."""
    step = max(1, len(rows) // SAMPLES)
    return [
        Sample(
            config_id=rows[number].example.config_id,
            language=rows[number].example.language,
            input=rows[number].example.input,
            gold=rows[number].references[0] if rows[number].references else None,
            answers={one.arm: one.answers.texts[number] for one in scored},
            failed={one.arm: list(one.failed[number]) for one in scored},
        )
        for number in range(0, len(rows), step)[:SAMPLES]
    ]


def lines(rows: Sequence[Row], scored: Sequence[Scored]) -> bytes:
    """One line for each prompt, all arms side by side, with every score and the reasons why an answer fails."""
    return "".join(json.dumps(_line(place, row, scored), ensure_ascii=False) + "\n" for place, row in enumerate(rows)).encode()


def _line(place: int, row: Row, scored: Sequence[Scored]) -> dict[str, object]:
    arms = {}
    for one in scored:
        nll = one.answers.nll[place]
        arms[one.arm] = {
            "answer": one.answers.texts[place],
            "failed": one.failed[place],
            "why": one.why[place],
            "scores": {scorer: points[place] for scorer, points in one.scores.items() if points[place] is not None},
            "nll": None if nll is None else nll[0],
            "tokens": None if nll is None else nll[1],
        }
    return {
        "source": row.example.source,
        "config_id": row.example.config_id,
        "language": row.example.language,
        "group": row.example.group,
        "input": row.example.input,
        "messages": row.prompt,
        "gold": row.references[0] if row.references else None,
        "expect": row.example.expect,
        "arms": arms,
    }


def markdown(result: EvaluateResult, rows: Sequence[Row], scored: Sequence[Scored]) -> bytes:
    """What got better, what got worse, and the prompts where it shows most."""
    lora = result.comparisons[0]
    parts = [
        f"# {result.adapter} beside its base model",
        f"**{result.label}**: written rules took a teacher's place; this shows the machinery, not a model."
        if result.label
        else "",
        f"**{'Passed' if result.passed else 'Not passed'}.** {result.why.removeprefix('not ').removeprefix('passed').lstrip(':; ')}",
        f"{result.prompts} prompts of `{result.dataset}` in {result.groups} independent groups. Base model: `{result.base_model}`."
        " None of the adapters was trained on any of these prompts. Every difference has an interval; where it holds 0, this"
        " evaluation cannot tell the two apart.",
        f"{held_back} prompts hold personal data and were not shown to the judge {result.judge.teacher}."
        if result.judge and (held_back := result.judge.held_back)
        else "",
        "## What got better, what got worse",
        _table(lora),
        *_in_words(lora),
        "## All models",
        _arms(result),
        *(_others(result) if len(result.comparisons) > 1 else []),
        *_by_rule(result),
        *_examples(result, rows, scored),
    ]
    return ("\n\n".join(part for part in parts if part) + "\n").encode()


def _table(one: Comparison) -> str:
    head = f"| scorer | prompts | base | {one.arm} | difference | better / alike / worse | |\n| --- | --- | --- | --- | --- | --- | --- |"
    return "\n".join([head, *(_row(each) for each in one.scores)])


def _row(one: ScoreComparison) -> str:
    return (
        f"| {NAMES[one.scorer]} | {one.rows} | {_value(one.scorer, one.against)} | {_value(one.scorer, one.arm)}"
        f" | {_difference(one)} | {one.wins} / {one.ties} / {one.losses} | {one.verdict} |"
    )


def _value(scorer: Scorer, value: float) -> str:
    return f"{value:.1f}" if scorer == "perplexity" else f"{value:.2f}"


def _difference(one: ScoreComparison) -> str:
    unit = " nats/token" if one.scorer == "perplexity" else ""
    return f"{one.difference.difference:+.2f} ({one.difference.low:+.2f} to {one.difference.high:+.2f}){unit}"


def _in_words(one: Comparison) -> list[str]:
    said = []
    for verdict, word in (("better", "Better"), ("worse", "Worse"), ("unclear", "Not told apart")):
        names = [NAMES[each.scorer] for each in one.scores if each.verdict == verdict]
        if names:
            said.append(f"- {word}: {'; '.join(names)}.")
    return ["\n".join(said)]


def _arms(result: EvaluateResult) -> str:
    head = "| model | words | distinct-2 | tokens/s, many at once | one alone: first token | then tokens/s |\n| --- | --- | --- | --- | --- | --- |"
    lines = [head]
    for arm in result.arms:
        name = arm.arm if arm.adapter in (None, arm.arm) else f"{arm.arm} ({arm.adapter})"
        first = "" if arm.first_token_s is None else f"{arm.first_token_s:.2f} s"
        then = "" if arm.tokens_per_s_alone is None else f"{arm.tokens_per_s_alone:.1f}"
        lines.append(f"| {name} | {arm.words:.0f} | {arm.distinct_2:.2f} | {arm.tokens_per_s:.1f} | {first} | {then} |")
    return "\n".join(lines)


def _others(result: EvaluateResult) -> list[str]:
    found = []
    for one in [*result.comparisons[1:], *result.between]:
        found += [f"### {one.arm} beside {one.against}", _table(one).replace("| base |", f"| {one.against} |", 1)]
    return found


def _by_rule(result: EvaluateResult) -> list[str]:
    gated = [arm for arm in result.arms if arm.passed_by_gate]
    if not gated:
        return []
    rules = gated[0].passed_by_gate
    lines = [f"| rule | {' | '.join(arm.arm for arm in gated)} |", f"| --- |{' --- |' * len(gated)}"]
    lines += [f"| {rule} | {' | '.join(f'{arm.passed_by_gate[rule]:.0%}' for arm in gated)} |" for rule in rules]
    return ["## Share of answers that keep each rule", "\n".join(lines)]


def _examples(result: EvaluateResult, rows: Sequence[Row], scored: Sequence[Scored]) -> list[str]:
    base, lora = scored[0], scored[1]
    gains = []
    for place in range(len(rows)):
        points = [
            (mine - theirs) for scorer in lora.scores if scorer != "perplexity"
            if (mine := lora.scores[scorer][place]) is not None and (theirs := base.scores[scorer][place]) is not None
        ]  # fmt: skip
        if points:
            gains.append((sum(points) / len(points), place))
    gains.sort(key=lambda gain: -gain[0])
    found = []
    for title, chosen in (
        ("Where it gained most", [place for gain, place in gains if gain > 0][:SHOWN]),
        ("Where it lost most", [place for gain, place in reversed(gains) if gain < 0][:SHOWN]),
    ):
        if chosen:
            found.append(f"## {title}")
            found += [_side_by_side(rows[place], place, scored) for place in chosen]
    if not found:
        shown = range(0, len(rows), max(1, len(rows) // SHOWN))[:SHOWN]
        found = ["## Samples", *(_side_by_side(rows[place], place, scored) for place in shown)]
    return found


def _side_by_side(row: Row, place: int, scored: Sequence[Scored]) -> str:
    head = f"### {row.example.config_id or 'prompt'} ({row.example.language})"
    parts = [head, _quoted("Prompt", row.example.input)]
    if row.references:
        parts.append(_quoted("Expected", row.references[0]))
    elif row.expectation is not None:
        parts.append(_quoted("Expected", json.dumps(row.expectation.stored(), ensure_ascii=False)))
    for one in scored:
        wrong = [*one.failed[place], *one.why[place].values()]
        note = f" (fails: {'; '.join(wrong)})" if wrong else ""
        parts.append(_quoted(f"{one.arm}{note}", one.answers.texts[place] or "(nothing)"))
    return "\n\n".join(parts)


def _quoted(who: str, text: str) -> str:
    """As a quotation, so that nothing in a text is read as markup of the report."""
    body = "\n".join(f"> {_escaped(line)}" for line in text.strip().splitlines() or [""])
    return f"**{_escaped(who)}**\n\n{body}"


def _escaped(text: str) -> str:
    for sign in "\\`*_[]<>#|":
        text = text.replace(sign, f"\\{sign}")
    return text
