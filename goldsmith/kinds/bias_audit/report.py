"""What an audit found, told to somebody who teaches, in German or English: plain sentences, tables, answers side by side, and
what cannot be told. Made of bias.json alone, which the job keeps, so that any audit can be told in either language."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from goldsmith import traditions
from goldsmith.kinds.base import Interval
from goldsmith.kinds.bias_audit.pages import Cell, Marked, Page
from goldsmith.kinds.bias_audit.schema import Audited, BiasAuditResult, JudgeReport, Language, Measure, Side

LANGUAGES: tuple[Language, ...] = ("en", "de")
EXAMPLES = 4  # prompts that are shown under every context
FREE_EXAMPLES = 8
HUNDREDTHS = ("specific", "strange", "strange_gap", "west_by_default", "judge")

Row = Mapping[str, Any]


@lru_cache
def words(language: Language) -> Mapping[str, Any]:
    said: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("report.toml").read_text(encoding="utf-8"))
    return said[language]


def of(told: Mapping[str, Any], language: Language) -> Page:
    """`told`: what bias.json holds."""
    return _Report(told, language).page()


class _Report:
    def __init__(self, told: Mapping[str, Any], language: Language) -> None:
        self.told, self.language = told, language
        self.result = BiasAuditResult.model_validate(told["result"])
        self.rows: Sequence[Row] = told["rows"]
        self.words = words(language)
        self.out = Page(
            self.words["title"].format(adapter=self.result.adapter) + (" · REHEARSAL" if self.result.rehearsal else ""),
            language,
        )

    def page(self) -> Page:
        result, said, out = self.result, self.words, self.out
        out.verdict(self._in_short(result.audited[0]))
        if result.rehearsal:
            out.say(said["rehearsal"])
        out.say(
            said["asked"].format(
                prompts=result.prompts, contexts=len(result.contexts), free=result.free_prompts,
                base_model=result.base_model, answers=result.answers,
            )
        )  # fmt: skip
        if result.filled_up:
            out.say(said["filled_up"])
        for one in result.audited:
            out.heading(said["found"].format(adapter=self._name(one.adapter)))
            self._measures(one)
        out.say(said["brackets"].format(coverage=self._decimal(f"{100 * (1 - self.told['config']['alpha']):g}")))
        self._traditions()
        self._defaults()
        self._examples()
        if result.judge:
            self._judge(result.judge)
        self._contexts()
        out.heading(said["cannot"])
        out.points(said["cannot_tell"])
        out.say(said["all_answers"])
        return out

    def _in_short(self, one: Audited) -> str:
        asked = {
            verdict: ", ".join(
                f"“{self.words['questions'][it.name].partition('?')[0]}?”" for it in one.measures if it.verdict == verdict
            )
            for verdict in ("unknown", "worse")
        }
        for verdict, said in (("worse", "worse"), ("unknown", "too_few")):
            if asked[verdict]:
                return self._quoted(self.words[said].format(adapter=self._name(one.adapter), questions=asked[verdict]))
        return str(self.words["passed"].format(adapter=self._name(one.adapter)))

    def _quoted(self, text: str) -> str:
        return text.replace("“", "„").replace("”", "“") if self.language == "de" else text

    def _name(self, arm: str) -> str:
        return self.words["base"] if arm == "base" else arm.removeprefix("adapter:")

    def _decimal(self, number: str) -> str:
        return number.replace(".", ",") if self.language == "de" else number

    def _measures(self, one: Audited) -> None:
        rows = [
            [
                self.words["questions"][it.name],
                self._number(it, it.base),
                self._number(it, it.adapter),
                self._number(it, it.difference, signed=True),
                self.words["verdicts"][it.verdict].format(prompts=it.prompts),
            ]
            for it in one.measures
        ]
        self.out.table(self.words["question"], rows)

    def _number(self, measure: Measure, found: Interval | None, *, signed: bool = False) -> str:
        if found is None:
            return "–" if measure.name == "judge" and measure.difference else self.words["uncomputed"]
        scale = 100 if measure.name in HUNDREDTHS else 1
        sign = "+" if signed or measure.name in ("strange_gap", "valence_gap") else ""
        form = f"{sign}.0f" if scale == 100 else f"{sign}.2f"
        value, low, high = (round(scale * one, 2) + 0.0 for one in (found.value, found.low, found.high))  # + 0.0: no -0
        between = "; " if self.language == "de" else ", "
        return (
            f"{self._decimal(f'{value:{form}}')} [{self._decimal(f'{low:{form}}')}{between}{self._decimal(f'{high:{form}}')}]"
        )

    def _traditions(self) -> None:
        self.out.heading(self.words["by_tradition"])
        self.out.say(self.words["hint"])
        rows = [
            [
                self._sided(row.tradition, row.side),
                self._name(row.arm),
                str(row.answers),
                *(f"{100 * share:.0f}" for share in (row.own, row.foreign, row.strange)),
                self._decimal(f"{round(row.valence, 1) + 0.0:+.1f}"),
            ]
            for row in sorted(self.result.by_tradition, key=lambda row: (row.side == "other", row.tradition))
        ]
        self.out.table(self.words["tradition_columns"], rows)

    def _defaults(self) -> None:
        self.out.heading(self.words["without"])
        self.out.say(self.words["names"].format(free=self.result.free_prompts))
        rows = [
            [
                self._name(arm),
                ", ".join(f"{self._tradition(name)} {count}" for name, count in named.items()) or self.words["none"],
            ]
            for arm, named in self.result.placed.items()
        ]
        self.out.table(self.words["names_columns"], rows)

    def _examples(self) -> None:
        said = self.words
        self.out.heading(said["side_by_side"])
        self.out.say(said["marked"])
        adapter, arms = self.result.adapter, list(self.rows[0]["arms"])
        sides = {one.id: one.side for one in self.result.contexts}
        under: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            if row["context"] is not None:
                under.setdefault((row["language"], row["prompt"]), []).append(row)

        def differs(rows: Sequence[Row]) -> int:
            return sum(
                len(row["arms"][adapter]["strange"]) - len(row["arms"]["base"]["strange"])
                for row in rows
                if sides[row["context"]] == "other"
            )

        for (_, prompt), rows in sorted(under.items(), key=lambda item: -abs(differs(item[1])))[:EXAMPLES]:
            cells: list[list[Cell]] = [
                [
                    f"{row['context']}: {self._tradition(row['tradition'])}",
                    *(self._answer(row, arm, row["arms"][arm]["strange"]) for arm in arms),
                ]
                for row in rows
            ]
            self.out.table([said["context"], *map(self._name, arms)], cells, caption=self._quoted(f"“{prompt}”"))
        free = sorted(
            (row for row in self.rows if row["context"] is None), key=lambda row: -len(row["arms"][adapter]["foreign"])
        )
        without: list[list[Cell]] = [
            [
                self._quoted(f"“{row['prompt']}”"),
                *(self._answer(row, arm, [*chain.from_iterable(row["arms"][arm]["foreign"].values())]) for arm in arms),
            ]
            for row in free[:FREE_EXAMPLES]
        ]
        self.out.table([said["prompt"], *map(self._name, arms)], without, caption=said["without"])

    def _answer(self, row: Row, arm: str, marked: Sequence[str]) -> Marked:
        return Marked(row["arms"][arm]["answer"] or self.words["no_answer"], marked)

    def _judge(self, judge: JudgeReport) -> None:
        self.out.heading(self.words["judge"])
        if judge.heard:
            ordered = judge.first_preferred is not None
            said = self.words["judge_heard" if ordered else "judge_heard_no_order"]
            first = f"{100 * (judge.first_preferred or 0):.0f}"
            self.out.say(
                said.format(model=judge.model, pairs=judge.pairs, planted=judge.planted, right=judge.planted_right, first=first)
            )
        elif not judge.stopped_by:
            self.out.say(
                self.words["judge_unheard"].format(model=judge.model, planted=judge.planted, right=judge.planted_right)
            )
        if judge.held_back:
            self.out.say(self.words["judge_held_back"].format(pairs=judge.held_back))
        if judge.stopped_by:
            self.out.say(self.words["judge_budget"])

    def _contexts(self) -> None:
        said = self.words
        self.out.heading(said["contexts"])
        rows: list[list[Cell]] = []
        for one in self.result.contexts:
            texts = self.told["context_texts"][one.id]
            text = texts.get(self.language) or next(iter(texts.values()))
            rows.append([one.id, self._sided(one.tradition, one.side), Marked(text, one.strange)])
        self.out.table(said["contexts_columns"], rows)
        if any(one.strange for one in self.result.contexts):
            self.out.say(said["mend"])
        if self.result.left_out:
            self.out.points(
                [
                    said["left_out"].format(context=name, reason=self._reason(reason))
                    for name, reason in self.result.left_out.items()
                ]
            )

    def _reason(self, reason: str) -> str:
        """`names several traditions alike: arabic, japanese`, or that it names none."""
        several = [self._tradition(one) for one in reason.partition(": ")[2].split(", ") if one]
        return str(self.words["reasons"]["several" if several else "none"].format(traditions=", ".join(several)))

    def _sided(self, tradition: str, side: Side) -> str:
        name = self._tradition(tradition)
        return name if tradition == traditions.WESTERN else f"{name} ({self.words['sides'][side]})"

    def _tradition(self, tradition: str) -> str:
        row = traditions.western() if tradition == traditions.WESTERN else traditions.table().get(tradition)
        return row.name[self.language] if row else tradition
