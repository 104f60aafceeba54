"""A golden set is scored by what its rows expect, the adapter passes or is told why not, and a killed run goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from goldsmith import golden
from goldsmith.datasets import Example, Message
from goldsmith.errors import InvalidInput, JobCancelled
from goldsmith.judge import rubric
from goldsmith.kinds.evaluate.run import run
from goldsmith.kinds.evaluate.schema import EvaluateConfig, EvaluateResult, ScoreComparison
from goldsmith.teacher import rehearsal_judge
from tests.fakes import FakeContext
from tests.kinds.evaluate.test_evaluate import CONTEXT, THINGS, ScriptedStudent, adapter, context, good, plain, styled
from tests.kinds.evaluate.test_evaluate import row as gold_row
from tests.teachers import Asked, ScriptedTeacher

Script = Callable[[str], str]


def expecting(number: int, thing: str) -> dict[str, Any]:
    kinds: list[dict[str, Any]] = [
        {"expected": f"a {thing}"},
        {"pattern": rf"\b{thing}\b"},
        {"schema": {"type": "object", "required": ["thing"]}},
    ]
    return kinds[number]


def right(asked: str) -> str:
    thing = asked.split("-")[0]
    return {"0": f"a {thing}", "1": f"it is a {thing}.", "2": json.dumps({"thing": thing})}[asked[-1]]


def wrong(asked: str) -> str:
    return "zzz qqq"


def exam(tmp_path: Path, scripts: Mapping[str | None, Script], rows: list[Example] | None = None, **more: Any) -> FakeContext:
    ctx = FakeContext(tmp_path, kind="evaluate", **more)
    student = ScriptedStudent(scripts)
    ctx.student_factory = lambda base_model, adapter: student
    ctx.save_dataset("gold", [gold_row("door", "train")], manifest={}, parents=[], rehearsal=False)
    ctx.save_dataset("exam", rows or exam_rows(), manifest={"kind": "golden"}, parents=[], rehearsal=False)
    for name in ("lora", "second", "third"):
        ctx.adapters[name] = [adapter(name)]
    ctx.adapters["control"] = [adapter("control", shuffled=True)]
    ctx.adapters["foreign"] = [adapter("foreign", base_sha256="c" * 64)]
    return ctx


def exam_rows() -> list[Example]:
    return [asking(f"{thing}-{number}", **expecting(number, thing)) for thing in THINGS for number in range(3)]


def asking(text: str, *, group: str | None = None, **expect: Any) -> Example:
    stored = golden.Expectation.model_validate(expect).stored()
    texts = stored.get("expected")
    turns = [Message(role="user", content=text), *([Message(role="assistant", content=texts[0])] if texts else [])]
    return Example(
        split="heldout", messages=turns, config_id="", context_lang="", context_sha256="", template_version="", input=text,
        language="en", group=group or text, source=f"upload:x:{text}", expect=stored,
    )  # fmt: skip


def evaluated(ctx: FakeContext, **more: Any) -> EvaluateResult:
    values: dict[str, Any] = {"dataset": "dataset:exam@1", "adapter": "adapter:lora@1"}
    return run(EvaluateConfig(**(values | more)), ctx)


def by_scorer(result: EvaluateResult) -> dict[str, ScoreComparison]:
    return {str(each.scorer): each for each in result.comparisons[0].scores}


class TestScorers:
    def test_every_row_is_scored_by_what_it_expects(self, tmp_path: Path) -> None:
        result = evaluated(exam(tmp_path, {None: wrong, "lora": right}))

        found = by_scorer(result)
        assert {name: one.rows for name, one in found.items()} == {
            "exact": 12, "regex": 12, "json_schema": 12, "chrf": 12, "bleu": 12, "perplexity": 12,
        }  # fmt: skip
        assert {name for name, one in found.items() if one.verdict == "better"} == set(found)
        assert (found["exact"].arm, found["exact"].against) == (1, 0)
        assert (found["exact"].wins, found["exact"].ties, found["exact"].win_rate) == (12, 0, 1)
        assert (result.passed, result.verdict, result.primary) == (True, "wins", "exact")
        assert result.arms[0].passed is None
        assert result.comparisons[0].pass_rate is None

    def test_spaces_and_the_writing_of_umlauts_do_not_count_for_exact(self, tmp_path: Path) -> None:
        rows = [asking(f"q{number}", expected=["Bär und\nFuchs", "x"]) for number in range(6)]
        ctx = exam(tmp_path, {None: wrong, "lora": lambda asked: "  Ba\u0308r  und Fuchs "}, rows)
        assert by_scorer(evaluated(ctx))["exact"].arm == 1

    def test_a_pattern_that_explodes_on_an_answer_counts_for_nobody_and_nothing_passes(self, tmp_path: Path) -> None:
        rows = [asking(f"q{number}", pattern="b$") for number in range(6)] + [asking("slow", pattern="(a|aa)+$")]
        ctx = exam(tmp_path, {None: lambda asked: "b", "lora": lambda asked: "a" * 60 + "!" if asked == "slow" else "b"}, rows)
        result = evaluated(ctx)
        assert by_scorer(result)["regex"].rows == 6
        assert not result.passed
        assert "1 prompts are left out: a pattern took longer" in result.not_computed["regex"]
        assert result.why.startswith("not passed: regex could not be computed")

    def test_a_pattern_that_explodes_on_many_answers_is_given_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[str] = []
        monkeypatch.setattr(golden, "found", lambda pattern, text: tried.append(pattern))
        rows = [asking(f"q{number}", pattern="(a|aa)+$" if number else "b") for number in range(40)]
        result = evaluated(exam(tmp_path, {None: wrong, "lora": wrong}, rows))
        assert tried.count("(a|aa)+$") == 2 * 10
        assert "40 prompts are left out" in result.not_computed["regex"]
        assert not result.passed

    def test_the_gates_judge_rows_that_ask_for_them(self, tmp_path: Path) -> None:
        rows = [asking(f"a wooden {thing}", rules={"min_words": 20, "max_words": 60}) for thing in THINGS]
        result = evaluated(exam(tmp_path, {None: plain, "lora": good}, rows))
        assert (result.primary, result.arms[0].passed, result.arms[1].passed) == ("rules", 0, 12)
        assert result.passed

    @pytest.mark.parametrize("nats", [math.nan, math.inf])
    def test_a_likelihood_that_is_no_number_is_the_worst(self, tmp_path: Path, nats: float) -> None:
        ctx = exam(tmp_path, {None: right, "lora": right})
        student: Any = ctx.student_factory("", None)
        student.nll = lambda conversations, told: [(nats if student.in_use else 20.0, 10) for _ in conversations]
        result = evaluated(ctx)
        assert by_scorer(result)["perplexity"].verdict == "worse"
        assert result.arms[1].heldout_loss == 700
        assert not result.passed
        json.dumps(result.model_dump(mode="json"), allow_nan=False)

    def test_only_the_scorers_that_are_named_judge(self, tmp_path: Path) -> None:
        result = evaluated(exam(tmp_path, {None: wrong, "lora": right}), scorers=["chrf", "regex"], primary="chrf")
        assert [each.scorer for each in result.comparisons[0].scores] == ["regex", "chrf"]
        assert result.primary == "chrf"


class TestPassing:
    def test_an_adapter_that_is_worse_by_one_scorer_does_not_pass_whatever_it_gained(self, tmp_path: Path) -> None:
        def mixed(asked: str) -> str:
            return wrong(asked) if asked[-1] == "2" else right(asked)

        ctx = exam(tmp_path, {None: lambda asked: right(asked) if asked[-1] == "2" else wrong(asked), "lora": mixed})
        result = evaluated(ctx)
        assert (result.verdict, result.passed) == ("wins", False)
        assert "not passed: worse than base by json_schema: -1 (-1 to -1) (12 of 12 prompts lost, 0 won)" in result.why

    def test_to_be_as_good_is_enough(self, tmp_path: Path) -> None:
        result = evaluated(exam(tmp_path, {None: right, "lora": right}))
        assert (result.verdict, result.passed) == ("unclear", True)

    def test_to_be_as_bad_as_can_be_is_not(self, tmp_path: Path) -> None:
        result = evaluated(exam(tmp_path, {None: wrong, "lora": wrong}))
        assert (result.verdict, result.passed) == ("unclear", False)
        assert "by exact no answer of either model has a point" in result.why

    def test_the_margin_says_how_sure_as_good_must_be(self, tmp_path: Path) -> None:
        def one_lost(asked: str) -> str:
            return wrong(asked) if asked == "q3" else "b"

        rows = [asking(f"q{number}", pattern="b") for number in range(12)]
        result = evaluated(exam(tmp_path / "a", {None: lambda asked: "b", "lora": one_lost}, rows))
        assert not result.passed
        assert "by regex it may be worse than base by more than the margin of 0.05" in result.why
        assert evaluated(exam(tmp_path / "b", {None: lambda asked: "b", "lora": one_lost}, rows), margin=0.3).passed

    def test_a_few_groups_say_nothing(self, tmp_path: Path) -> None:
        rows = [asking(f"q{number}", pattern="b", group=str(number % 5)) for number in range(50)]
        result = evaluated(exam(tmp_path, {None: lambda asked: "b", "lora": lambda asked: "b"}, rows))
        assert not result.passed
        assert "5 independent groups of prompts are too few" in result.why

    def test_a_control_that_wins_too_is_in_the_way(self, tmp_path: Path) -> None:
        result = evaluated(exam(tmp_path, {None: wrong, "lora": right, "control": right}), control="adapter:control@1")
        assert (result.verdict, result.control_wins, result.valid, result.passed) == ("wins", True, False, False)
        assert "the control wins, too" in result.why


def test_several_adapters_are_compared_with_base_and_with_the_first(tmp_path: Path) -> None:
    ctx = exam(tmp_path, {None: wrong, "lora": right, "second": wrong, "third": right})
    result = evaluated(ctx, others=["adapter:second@1", "adapter:third@1"])

    assert [one.arm for one in result.arms] == ["base", "lora", "adapter:second@1", "adapter:third@1"]
    assert [(one.arm, one.against, one.verdict) for one in [*result.comparisons, *result.between]] == [
        ("lora", "base", "wins"),
        ("adapter:second@1", "base", "unclear"),
        ("adapter:third@1", "base", "wins"),
        ("lora", "adapter:second@1", "wins"),
        ("lora", "adapter:third@1", "unclear"),
    ]
    assert result.passed


def test_the_report_says_what_became_better_and_shows_it_side_by_side(tmp_path: Path) -> None:
    ctx = exam(tmp_path, {None: wrong, "lora": lambda asked: "# <b>bold</b>" if asked == "fox-0" else right(asked)})
    result = evaluated(ctx)

    text = ctx.artifact(result.report).read_text()
    assert "| contains what was expected | 12 | 0.00 | 1.00 | +1.00 (+1.00 to +1.00) | 12 / 0 / 0 | better |" in text
    assert "## Where it gained most" in text
    assert "> zzz qqq" in text
    lines = [json.loads(line) for line in ctx.artifact(f"{ctx.ref}/answers.jsonl").read_text().splitlines()]
    assert len(lines) == 36
    by_input = {line["input"]: line["arms"] for line in lines}
    assert by_input["boat-1"]["lora"]["scores"] == {"regex": 1.0}
    assert by_input["boat-1"]["base"]["why"] == {"regex": "the pattern is not found"}
    assert by_input["fox-0"]["lora"]["scores"].keys() == {"exact", "chrf", "bleu", "perplexity"}


def test_nothing_in_an_answer_is_markup_of_the_report(tmp_path: Path) -> None:
    rows = [asking(f"q{number}", pattern="b") for number in range(6)]
    ctx = exam(tmp_path, {None: lambda asked: "b", "lora": lambda asked: "# Passed\n<script>![x](http://x)"}, rows)
    text = ctx.artifact(evaluated(ctx).report).read_text()
    assert "> \\# Passed\n> \\<script\\>!\\[x\\](http://x)" in text


class TestSpeedAndResume:
    def test_speed_is_measured_at_once_and_alone(self, tmp_path: Path) -> None:
        result = evaluated(exam(tmp_path, {None: right, "lora": right}), speed_prompts=2)
        for arm in result.arms:
            assert arm.tokens == sum(len(right(row.input).split()) for row in exam_rows())
            assert arm.tokens_per_s > 0
            assert arm.first_token_s is not None
        assert evaluated(exam(tmp_path / "b", {None: right, "lora": right}), speed_prompts=0).arms[0].first_token_s is None

    def test_a_run_that_was_killed_goes_on_behind_its_last_chunk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("goldsmith.kinds.evaluate.answering.CHUNK", 4)
        whole = evaluated(exam(tmp_path / "whole", {None: wrong, "lora": right}))
        first = exam(tmp_path / "two", {None: wrong, "lora": right})
        first.cancel_after(20)
        with pytest.raises(JobCancelled):
            evaluated(first, speed_prompts=0)
        second = exam(tmp_path / "two", {None: wrong, "lora": right}, job_id=first.job_id, attempt=2)

        result = evaluated(second, speed_prompts=0)

        student: Any = second.student_factory("", None)
        assert 0 < result.resumed < 72
        assert result.resumed % 4 == 0
        assert student.answered == 72 - result.resumed
        assert result.comparisons == whole.comparisons

    def test_answers_to_other_prompts_are_not_taken_for_these(self, tmp_path: Path) -> None:
        first = exam(tmp_path, {None: wrong, "lora": right})
        evaluated(first)
        other = [asking(f"q{number}", pattern="b") for number in range(6)]
        second = exam(tmp_path, {None: wrong, "lora": wrong}, other, job_id=first.job_id, attempt=2)
        assert evaluated(second).resumed == 0


def by_counting(asked: Asked) -> str:
    return rehearsal_judge.better(asked.prompt) if "Text A:" in asked.prompt else rehearsal_judge.scores(asked.prompt)


class TestJudge:
    JUDGE: dict[str, Any] = {"teacher": "rehearsal", "budget_usd": 5, "judge_samples": 1, "dataset": "dataset:gold@1"}

    def judged(self, tmp_path: Path, teacher: ScriptedTeacher, **more: Any) -> EvaluateResult:
        ctx = context(tmp_path, {None: plain, "lora": good, "control": styled})
        ctx.teacher_factory = lambda provider, **asked: teacher
        return evaluated(ctx, **(self.JUDGE | more))

    @pytest.mark.parametrize("mode", ["graded", "pairs"])
    def test_it_is_examined_and_then_prefers_what_follows_the_context(self, tmp_path: Path, mode: str) -> None:
        teacher = ScriptedTeacher(by_counting)
        result = self.judged(tmp_path, teacher, judge=mode)
        found = by_scorer(result)["judge"]
        assert (found.rows, found.verdict) == (12, "better")
        assert result.judge is not None
        assert (result.judge.mode, result.judge.judged, result.judge.rubric) == (mode, 12, rubric().version)
        assert all(one.counts for one in result.judge.criteria.values())
        assert result.label == "REHEARSAL"
        about_rows = [asked for asked in teacher.asked if "/evaluate/" in asked.item]
        assert all(asked.recorded for asked in about_rows)
        assert not any("lora" in asked.prompt or "base" in asked.prompt for asked in about_rows)
        if mode == "pairs":  # each in both orders, by four criteria
            assert len(about_rows) == 12 * 2 * 4
            texts = (plain(THINGS[0]), good(THINGS[0]))
            for a, b in (texts, texts[::-1]):
                assert any(f"Text A:\n{a}\n\nText B:\n{b}" in asked.prompt for asked in about_rows)
            assert result.judge.first_preferred == pytest.approx(0.5, abs=0.3)

    def test_one_that_prefers_a_place_is_not_heard_and_nothing_passes(self, tmp_path: Path) -> None:
        def first(asked: Asked) -> Any:
            return (
                {"better": "A", "why": "first"}
                if "Text A:" in asked.prompt
                else {"K1": 5, "K2": 5, "K7": 5, "K9": 5, "why": ""}
            )

        teacher = ScriptedTeacher(first)
        result = self.judged(tmp_path, teacher, judge="pairs")
        assert not any("/evaluate/" in asked.item for asked in teacher.asked)
        assert not result.passed
        assert "judge could not be computed: the judge did not tell the planted pairs" in result.why
        assert result.verdict == "wins"  # by the rules, which are primary

    def test_a_budget_that_ends_is_said_and_holds_the_adapter(self, tmp_path: Path) -> None:
        teacher = ScriptedTeacher(by_counting, stop_after=70)
        result = self.judged(tmp_path, teacher, judge="graded")
        assert result.judge is not None
        assert result.judge.stopped_by == "budget"
        assert result.judge.judged < 12
        assert "the budget ended before everything was judged" in result.not_computed["judge"]
        assert not result.passed

    @pytest.mark.parametrize(("local", "held_back"), [(True, 0), (False, 2)])
    def test_personal_data_is_shown_to_no_judge_elsewhere(self, tmp_path: Path, local: bool, held_back: int) -> None:
        """In what was typed, and in what a model learned by heart."""
        ctx = context(tmp_path, {None: plain, "lora": lambda t: "Ich heiße Jonas Weber." if t == "boat" else good(t)})
        rows = ctx.datasets["gold"][0][1]
        rows[0] = rows[0].model_copy(update={"input": "mia@example.org baut"})
        teacher = ScriptedTeacher(by_counting, local=local)
        ctx.teacher_factory = lambda provider, **asked: teacher
        result = evaluated(ctx, **self.JUDGE, judge="graded", control=None)
        assert result.judge is not None
        assert (result.judge.held_back, result.judge.judged) == (held_back, 12 - held_back)
        assert any("Jonas" in one.prompt or "mia@" in one.prompt for one in teacher.asked) == local
        assert "judge" not in result.not_computed
        said = "2 prompts hold personal data and were not shown to the judge rehearsal."
        assert (said in ctx.artifact(result.report).read_text()) != local

    def test_when_the_judge_may_be_shown_nothing_nothing_passes(self, tmp_path: Path) -> None:
        ctx = context(tmp_path, {None: plain, "lora": lambda thing: "Ich heiße Jonas Weber."})
        ctx.teacher_factory = lambda provider, **asked: ScriptedTeacher(by_counting, local=False)
        result = evaluated(ctx, **self.JUDGE, judge="graded", control=None)
        assert result.not_computed["judge"].startswith("all 12 rows hold personal data")
        assert not result.passed

    def test_without_a_context_there_is_nothing_to_judge_by(self, tmp_path: Path) -> None:
        ctx = exam(tmp_path, {None: wrong, "lora": right})
        with pytest.raises(InvalidInput, match="judge: judge has nothing to judge: no row of dataset:exam@1 was rendered"):
            evaluated(ctx, judge="graded", teacher="rehearsal", budget_usd=1)


class TestBadInput:
    def test_a_prompt_that_was_trained_on_is_refused_however_it_is_spelled(self, tmp_path: Path) -> None:
        rows = [*exam_rows(), asking("A  WOODEN door", pattern="x")]
        with pytest.raises(InvalidInput, match="was trained on 1 of the held-out prompts"):
            evaluated(exam(tmp_path, {}, rows))

    def test_a_scorer_with_nothing_to_judge_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(
            InvalidInput, match="scorers: rules has nothing to judge: no row of dataset:exam@1 is gold"
        ) as refused:
            evaluated(exam(tmp_path, {}), scorers=["rules"])
        assert refused.value.errors[0]["field"] == "scorers"

    def test_an_adapter_on_another_base_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="others: adapter:foreign@1 is on another base model"):
            evaluated(exam(tmp_path, {}), others=["adapter:foreign@1"])

    @pytest.mark.parametrize(
        ("config", "says"),
        [
            ({"scorers": ["taste"]}, "'rules', 'exact'"),
            ({"scorers": []}, "at least 1 item"),
            ({"scorers": ["chrf", "chrf"]}, "scorers: each at most once"),
            ({"scorers": ["chrf"], "primary": "bleu"}, "primary: bleu is not among the scorers"),
            ({"scorers": ["judge"]}, "scorers: judge needs"),
            ({"judge": "graded"}, "teacher: a judge needs teacher and budget_usd"),
            ({"teacher": "rehearsal"}, "judge: teacher, model and budget_usd are the judge's"),
            ({"others": ["adapter:lora@1"]}, "others: the adapter and the others must be different"),
            ({"margin": 2}, "less than or equal to 1"),
            ({"min_words": 9, "max_words": 2}, "min_words: 9 is above max_words 2"),
        ],
    )
    def test_what_does_not_fit_together_is_refused_at_once(self, config: dict[str, Any], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            EvaluateConfig(**{"dataset": "dataset:exam@1", "adapter": "adapter:lora@1", **config})


def test_context_and_rows_of_gold_are_judged_as_before(tmp_path: Path) -> None:
    """What an old caller sends: gold with a held-out split, no new key."""
    ctx = context(tmp_path, {None: plain, "lora": good})
    result = evaluated(ctx, dataset="dataset:gold@1")
    assert CONTEXT
    assert (result.primary, result.passed, result.verdict) == ("rules", True, "wins")
    assert set(by_scorer(result)) == {"rules", "chrf", "bleu", "perplexity"}
