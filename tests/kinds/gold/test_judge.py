"""The judge: examined on planted pairs over real HTTP, and heard only where it tells them apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from goldsmith.db import Database
from goldsmith.judge import CRITERIA, rubric
from goldsmith.kinds.gold.answers import Outcome
from goldsmith.kinds.gold.judge import judge
from goldsmith.kinds.gold.run import run
from goldsmith.kinds.gold.schema import GoldConfig, JudgeReport
from goldsmith.settings import Settings
from goldsmith.teacher import Answer, BudgetReached, open_teacher, rehearsal_judge
from goldsmith.teacher.rehearsal import RehearsalServer
from tests.fakes import FakeContext
from tests.kinds.gold.test_gold import BASE, corpus


def config(**judging: Any) -> GoldConfig:
    return GoldConfig(**{**BASE, "judge": judging})


class Opinions:
    """A teacher that answers judge's questions by a function of the prompt; it keeps the questions."""

    provider, model, rehearsal, takes_batches = "opinions", "opinions-1", True, False
    prices: dict[str, Any] = {"input": 0}
    spent_usd = saved_usd = 0.0

    def __init__(self, say: Callable[[str, int], Any], stop_after: int = 1_000_000) -> None:
        self.say, self.stop_after = say, stop_after
        self.asked: list[tuple[str, str, int, bool | None]] = []

    async def ask(self, *, item: str, prompt: str, ordinal: int, recorded: bool | None, **_: Any) -> Answer:
        if len(self.asked) >= self.stop_after:
            raise BudgetReached("no more")
        self.asked.append((item, prompt, ordinal, recorded))
        said = self.say(prompt, ordinal)
        text = said if isinstance(said, str) else json.dumps(said)
        return Answer(text, "end_turn", self.model, 1, 1, 0.0, None, True, False)

    async def collect(self) -> None: ...
    async def send(self) -> None: ...
    async def aclose(self) -> None: ...


def by_counting(prompt: str, ordinal: int) -> str:
    return rehearsal_judge.better(prompt) if "Text A:" in prompt else rehearsal_judge.scores(prompt)


def outcomes(*texts: str) -> list[Outcome]:
    row = corpus()[0]
    return [Outcome(row, Answer(text, "end_turn", "m", 1, 1, 0.0, None, True, False)) for text in texts]


def ask(teacher: Opinions, rows: list[Outcome], **judging: Any) -> JudgeReport:
    return asyncio.run(judge(rows, teacher, config(**judging), batch=False))


def test_every_planted_pair_is_asked_in_both_orders_and_three_times() -> None:
    teacher = Opinions(by_counting)
    ask(teacher, outcomes("Ein Wal."))
    pairs = [(prompt, ordinal) for _, prompt, ordinal, _ in teacher.asked if "Text A:" in prompt]
    assert len(set(pairs)) == len(pairs) == len(rubric().planted) * 2 * 3
    for planted in rubric().planted:
        for a, b in ((planted.good, planted.bad), (planted.bad, planted.good)):
            assert {o for prompt, o in pairs if f"Text A:\n{a}" in prompt and f"Text B:\n{b}" in prompt} == {0, 1, 2}
    assert len(teacher.asked) == len(pairs) + len(rubric().planted) * 2 * 3 + 3


def test_the_planted_pairs_cover_every_criterion_in_both_languages() -> None:
    from goldsmith.language import language_of

    seen = {(planted.criterion, language_of(planted.good)) for planted in rubric().planted}
    assert seen == {(name, language) for name in CRITERIA for language in ("de", "en")}


def test_counting_words_tells_the_planted_pairs_apart() -> None:
    report = ask(Opinions(by_counting), outcomes("Ein Wal."))
    assert {name: one.counts for name, one in report.criteria.items()} == dict.fromkeys(CRITERIA, True)
    assert report.criteria["K1"].pairs == 4
    assert report.rubric == rubric().version


def test_a_judge_that_always_says_the_same_is_not_heard() -> None:
    def constant(prompt: str, ordinal: int) -> dict[str, Any]:
        return {"better": "A", "why": "first"} if "Text A:" in prompt else {**dict.fromkeys(CRITERIA, 1), "why": "all bad"}

    rows = outcomes("Ein Wal.", "Noch ein Wal.")
    report = ask(Opinions(constant), rows)
    assert not any(one.counts for one in report.criteria.values())
    assert all(one.first_preferred == 1 for one in report.criteria.values())
    assert report.judged == 0
    assert all(row.passed for row in rows)


def test_one_criterion_may_count_without_the_others() -> None:
    def only_k7(prompt: str, ordinal: int) -> dict[str, Any]:
        said = json.loads(by_counting(prompt, ordinal))
        if "better" in said:
            return said if "by K7" in prompt else {"better": "A", "why": "first"}
        return {**dict.fromkeys(CRITERIA, 1), "K7": said["K7"], "why": "strange"}

    exotic, sober = outcomes("Ein exotischer Wal tanzt mit primitiven Masken.", "Ein Wal tanzt auf dem Dach.")
    report = ask(Opinions(only_k7), [exotic, sober])
    assert {name for name, one in report.criteria.items() if one.counts} == {"K7"}
    assert exotic.failed == {"judge_K7": "2.0 of 10; strange"}
    assert sober.passed
    assert report.criteria["K7"].below == 1
    assert sober.scores["K7"] == 10


def test_the_majority_of_three_samples_decides() -> None:
    def moody(low: int) -> Callable[[str, int], Any]:
        def say(prompt: str, ordinal: int) -> Any:
            said = json.loads(by_counting(prompt, ordinal))
            if "Ein Wal steht da" in prompt:
                return {**dict.fromkeys(CRITERIA, 9), "K9": 1 if ordinal < low else 9, "why": "mood"}
            return said

        return say

    (once,), (twice,) = outcomes("Ein Wal steht da."), outcomes("Ein Wal steht da.")
    ask(Opinions(moody(1)), [once])
    ask(Opinions(moody(2)), [twice])
    assert once.passed
    assert list(twice.failed) == ["judge_K9"]
    (kept,) = outcomes("Ein Wal steht da.")
    assert ask(Opinions(moody(2)), [kept], drop=False).criteria["K9"].below == 1
    assert kept.passed


@pytest.mark.parametrize(
    "broken", ["no JSON", "[]", '{"K1": 3}', '{"K1": "3", "K2": 3, "K7": 3, "K9": 3, "why": ""}', '{"better": "C"}']
)
def test_answers_that_cannot_be_read_are_counted_and_nothing_counts(broken: str) -> None:
    rows = outcomes("Ein Wal.")
    report = ask(Opinions(lambda prompt, ordinal: broken), rows)
    assert report.unreadable == len(rubric().planted) * 4 * 3
    assert not any(one.counts for one in report.criteria.values())
    assert rows[0].passed


def test_where_the_budget_ends_the_rest_is_left_as_it_is() -> None:
    rows = outcomes("Ein Wal.")
    report = ask(Opinions(by_counting, stop_after=50), rows)
    assert report.stopped_by == "budget"
    assert not any(one.counts for one in report.criteria.values())
    assert rows[0].passed


def test_planted_texts_are_nobodys_and_rows_are_treated_as_their_origin_says() -> None:
    teacher = Opinions(by_counting)
    ask(teacher, outcomes("Ein Wal."))
    assert {recorded for item, _, _, recorded in teacher.asked if item.startswith("judge/")} == {False}
    assert {recorded for item, _, _, recorded in teacher.asked if not item.startswith("judge/")} == {True}


@pytest.fixture
def server() -> Iterator[RehearsalServer]:
    with RehearsalServer() as server:
        yield server


def test_a_gold_job_with_a_judge_asks_over_http_within_the_budget(
    tmp_path: Any, database: Database, server: RehearsalServer, job_factory: Callable[..., UUID]
) -> None:
    ctx = FakeContext(tmp_path, job_id=job_factory(kind="gold"), kind="gold", attempt=1)
    ctx.save_dataset("prompts", corpus()[:6], manifest={}, parents=[], rehearsal=False)

    def teacher(provider: str, **more: Any) -> Any:
        return open_teacher(
            database, settings=Settings(rehearsal_url=server.url), job_id=ctx.job_id, attempt=1, provider=provider, **more
        )

    ctx.teacher_factory = teacher
    result = asyncio.run(run(GoldConfig(**{**BASE, "batch": False, "judge": {"samples": 1}, "near_duplicate": None}), ctx))
    assert result.judge is not None
    assert all(one.counts for one in result.judge.criteria.values())
    assert result.judge.judged >= result.passed > 0
    assert 0 < result.spent_usd <= 1
    rows = list(ctx.examples(result.dataset))
    assert all(set(row.gates["judge"]) == set(CRITERIA) for row in rows)
    assert ctx.dataset(result.dataset).manifest["checked_by"] == "mechanical rules and a model, not by people"
