"""Whose answers follow a run's context more: told only by a judge that passed its examination, blind and in both orders."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from goldsmith.adapters import AdapterVersion
from goldsmith.db import Database
from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.errors import InvalidInput, JobCancelled
from goldsmith.kinds.fidelity.run import run
from goldsmith.kinds.fidelity.schema import FidelityConfig, FidelityResult
from goldsmith.recordings import RecordedRun
from goldsmith.settings import Settings
from goldsmith.student import Told
from goldsmith.teacher import Teacher, open_teacher, rehearsal_judge
from goldsmith.teacher.rehearsal import RehearsalServer
from tests.fakes import FakeContext
from tests.teachers import Asked, ScriptedTeacher

CONTEXTS = {
    "clay": "Knead the scene from clay. Name the kiln, the slip, the glaze and the wheel, and say where a thumb pressed.",
    "wire": "Bend the scene from wire. Name the pliers, the solder, the loop and the spool, and say where a kink stays.",
    "felt": "Felt the scene from wool. Name the soap, the fleece, the needle and the mat, and say where a fibre sticks out.",
}
THINGS = ("fox", "boat", "tower", "lamp", "river", "bird", "cloud", "bridge", "garden", "mirror", "drum", "kite")
IMPORT = "job:0199a0b0-0000-7000-8000-000000000003"


def follows(context: str, thing: str) -> str:
    crafts = {
        "clay": "kiln, slip, glaze and wheel",
        "wire": "pliers, solder, loop and spool",
        "felt": "soap, fleece, needle and mat",
    }
    name = next(name for name in CONTEXTS if CONTEXTS[name] == context)
    return f"The {thing} takes {crafts[name]}."


def ignores(context: str, thing: str) -> str:
    return f"The {thing} is there and it is nice."


class Scripted:
    base_model = "package:scripted"

    def __init__(self, scripts: Mapping[str | None, Callable[[str, str], str]]) -> None:
        self.scripts, self.in_use, self.generated = scripts, None, 0

    def use(self, adapter: AdapterVersion | None) -> None:
        self.in_use = adapter.name if adapter else None

    def generate(self, conversations: Sequence[Sequence[Mapping[str, str]]], max_new_tokens: int, *, told: Told) -> list[str]:
        told(0.5)
        self.generated += len(conversations)
        parts = [turns[-1]["content"].split("\n") for turns in conversations]
        return [self.scripts[self.in_use](context, asked.split()[-1]) for _, context, asked in parts]


def recorded(number: int, **more: Any) -> RecordedRun:
    name = list(CONTEXTS)[number % 3]
    thing = f"{THINGS[number % len(THINGS)]}{number}"
    values = {
        "run_id": f"run_{number}",
        "device_id": f"device-{number // 4}",
        "content_sha256": "0",
        "recorded_at": None,
        "config_id": name,
        "context": CONTEXTS[name],
        "context_lang": "en",
        "language": "en",
        "input": f"a wooden {thing}",
        "output": follows(CONTEXTS[name], thing),
        "accepted": None,
        "exclusion": None,
    }
    return RecordedRun(**values | more)


def adapter(name: str = "lora") -> AdapterVersion:
    return AdapterVersion(
        name=name,
        version=1,
        job_id=uuid4(),
        base_model="package:scripted",
        base_sha256="b" * 64,
        tokenizer_sha256="",
        template_sha256="",
        dataset="dataset:gold@1",
        status="candidate",
        method={},
        metrics={},
        files={},
        folder=Path("/nowhere"),
        rehearsal=False,
        created_at=datetime.now(UTC),
    )


def by_counting(asked: Asked) -> str:
    return rehearsal_judge.better(asked.prompt)


def world(
    tmp_path: Path,
    lora: Callable[[str, str], str] = follows,
    base: Callable[[str, str], str] = ignores,
    say: Callable[[Asked], Any] = by_counting,
    runs: Sequence[RecordedRun] = tuple(map(recorded, range(24))),
    **teacher: Any,
) -> FakeContext:
    ctx = FakeContext(tmp_path, kind="fidelity")
    ctx.adapters["lora"] = [adapter()]
    student, asked = Scripted({None: base, "lora": lora}), ScriptedTeacher(say, **teacher)
    ctx.student_factory = lambda base_model, adapter: student
    ctx.teacher_factory = lambda *_, **__: asked
    ctx.recorded_runs[IMPORT] = list(runs)
    configs = [
        InterceptionConfig(config_id=name, name={}, context={"en": text}, parameters={}, meta={})
        for name, text in CONTEXTS.items()
    ]
    checkout = Checkout(template="{{TASK_INSTRUCTION}}\n{{CONTEXT}}\n{{INPUT_TEXT}}", task="Rewrite it.", configs=configs)
    folder = tmp_path / "artifacts" / IMPORT.removeprefix("job:")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "contexts.json").write_text(checkout.model_dump_json())
    return ctx


def judged(ctx: FakeContext, **more: Any) -> FidelityResult:
    values = {"runs": IMPORT, "adapter": "adapter:lora@1", "teacher": "rehearsal", "budget_usd": 5.0, "bootstrap": 400}
    return run(FidelityConfig(**values | more), ctx)


def teacher_of(ctx: FakeContext) -> ScriptedTeacher:
    return ctx.teacher_factory()  # type: ignore[return-value]


class TestVerdict:
    def test_an_adapter_that_follows_its_contexts_wins_and_one_that_does_not_loses(self, tmp_path: Path) -> None:
        won = judged(world(tmp_path / "won"))
        assert (won.verdict, won.valid, won.wins, won.ties, won.losses) == ("better", True, 24, 0, 0)
        assert won.win_rate
        assert (won.win_rate.value, won.devices) == (1, 6)
        assert {(one.config_id, one.runs, one.win_rate) for one in won.by_config} == {(name, 8, 1.0) for name in CONTEXTS}
        lost = judged(world(tmp_path / "lost", ignores, follows))
        assert (lost.verdict, lost.losses) == ("worse", 24)

    def test_equal_answers_are_ties_in_spite_of_a_judge_that_then_takes_the_first(self, tmp_path: Path) -> None:
        result = judged(world(tmp_path, ignores, ignores))
        assert (result.verdict, result.ties, result.wins, result.losses) == ("no difference shown", 24, 0, 0)
        assert result.follows_position
        assert result.follows_position.value == 1
        assert result.first_preferred == 1

    def test_what_was_recorded_can_be_what_it_is_compared_with(self, tmp_path: Path) -> None:
        ctx = world(tmp_path, ignores)
        result = judged(ctx, against="recorded")
        assert (result.verdict, result.against) == ("worse", "recorded")
        assert ctx.student_factory("", None).generated == 24

    def test_runs_of_one_device_hang_together(self, tmp_path: Path) -> None:
        """Whether the arm follows is the device's doing: 12 independent facts, however many runs there are."""
        many = [
            recorded(number, device_id=f"device-{number % 12}", input=f"a {'good' if number % 12 < 8 else 'bad'}{number}")
            for number in range(120)
        ]

        def arm(context: str, thing: str) -> str:
            return follows(context, thing) if thing.startswith("good") else ignores(context, thing)

        def base(context: str, thing: str) -> str:
            return ignores(context, thing) if thing.startswith("good") else follows(context, thing)

        found = judged(world(tmp_path, arm, base, runs=many), limit=120, samples=1).win_rate
        assert found
        assert found.value == pytest.approx(8 / 12)
        if_independent = 2 * 1.96 * (8 / 12 * 4 / 12 / 120) ** 0.5
        assert found.high - found.low > 2 * if_independent

    def test_of_one_device_there_is_no_interval_and_no_verdict(self, tmp_path: Path) -> None:
        result = judged(world(tmp_path, runs=[recorded(number, device_id="one") for number in range(12)]))
        assert (result.win_rate, result.wins, result.verdict) == (None, 12, "no difference shown")
        assert "all of one device" in result.why


class TestExamination:
    def test_a_judge_that_fails_is_refused_and_nothing_else_is_asked_or_answered(self, tmp_path: Path) -> None:
        ctx = world(tmp_path, say=lambda asked: {"better": "A", "why": "first"})
        result = judged(ctx)
        assert (result.valid, result.verdict, result.win_rate, result.judged) == (False, "not judged", None, 0)
        assert (result.exam.right, result.exam.passed) == (0, False)
        assert "80% are asked for" in result.why
        assert result.follows_position
        assert result.follows_position.value == 1
        assert all("/planted" in one.item for one in teacher_of(ctx).asked)
        assert ctx.student_factory("", None).generated == 0

    def test_planted_pairs_set_a_text_of_the_context_against_one_of_another(self, tmp_path: Path) -> None:
        ctx = world(tmp_path)
        result = judged(ctx, planted=9)
        assert (result.exam.pairs, result.exam.right, result.exam.agreement) == (9, 9, 1)
        told = json.loads(ctx.artifact(f"{ctx.ref}/fidelity.json").read_text())
        assert Counter(row["context"] for row in told["planted"]) == dict.fromkeys(CONTEXTS.values(), 3)
        crafts = {CONTEXTS["clay"]: "kiln", CONTEXTS["wire"]: "solder", CONTEXTS["felt"]: "fleece"}
        for row in told["planted"]:
            assert crafts[row["context"]] in row["one"]
            assert crafts[row["context"]] not in row["other"]

    def test_every_pair_is_asked_in_both_orders_three_times_and_what_was_typed_is_not_shown(self, tmp_path: Path) -> None:
        ctx = world(tmp_path)
        judged(ctx, planted=6)
        asked = teacher_of(ctx).asked
        assert len(asked) == 2 * 3 * (6 + 24)
        assert set(Counter(one.item for one in asked).values()) == {6}
        assert Counter(one.ordinal for one in asked) == dict.fromkeys((0, 1, 2), len(asked) // 3)
        assert all(one.recorded for one in asked)
        for one in asked:
            assert "wooden" not in one.prompt
            assert "lora" not in one.prompt
            assert "base" not in one.prompt


class TestRuns:
    def test_what_the_gates_refuse_is_counted_by_reason_and_never_sent(self, tmp_path: Path) -> None:
        bad = [
            recorded(100, exclusion="canvas"),
            recorded(101, context=None),
            recorded(102, output=""),
            recorded(103, input="Ich heiße Jonas Weber und male"),
            recorded(104, context="Schreibe an mia@example.org"),
            recorded(105, language=None),
        ]
        ctx = world(tmp_path, runs=[*map(recorded, range(24)), *bad])
        result = judged(ctx)
        assert result.left_out == {
            "canvas": 1,
            "no context was recorded": 1,
            "no output was recorded": 1,
            "personal data: name": 1,
            "personal data: email": 1,
        }
        assert (result.runs, result.usable, result.drawn, result.language_unknown) == (30, 25, 25, 1)
        assert not [one for one in teacher_of(ctx).asked if "Jonas" in one.prompt or "mia@" in one.prompt]

    def test_an_answer_that_names_a_child_is_not_sent_though_its_run_names_nobody(self, tmp_path: Path) -> None:
        def by_heart(context: str, thing: str) -> str:
            return "Ich heiße Jonas Weber und male." if thing == "fox0" else follows(context, thing)

        ctx = world(tmp_path, by_heart)
        result = judged(ctx)
        assert result.left_out == {"answered with personal data: name": 1}
        assert (result.drawn, result.judged, result.wins) == (24, 23, 23)
        assert {one.runs for one in result.by_config} == {7, 8}
        assert not [one for one in teacher_of(ctx).asked if "Jonas" in one.prompt]

    def test_the_seed_draws_the_same_runs_again(self, tmp_path: Path) -> None:
        drawn = []
        for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
            ctx = world(tmp_path / folder)
            judged(ctx, limit=6, seed=seed)
            told = json.loads(ctx.artifact(f"{ctx.ref}/fidelity.json").read_text())
            drawn.append([row["item"] for row in told["compared"]])
        assert drawn[0] == drawn[1] != drawn[2]
        assert len(drawn[0]) == 6

    def test_none_that_may_be_used_is_refused_with_the_reasons(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"none of the 3 runs .* \(3: canvas\)"):
            judged(world(tmp_path, runs=[recorded(number, exclusion="canvas") for number in range(3)]))

    def test_runs_of_one_context_cannot_examine_a_judge(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="have 1 contexts, which give 0 pairs; 5 are needed"):
            judged(world(tmp_path), configs=["clay"])

    def test_contexts_that_are_not_there_are_refused_by_name(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"contexts: .* does not exist"):
            judged(world(tmp_path), contexts=f"job:{uuid4()}/contexts.json")


class TestMoney:
    def test_a_budget_that_ends_in_the_examination_leaves_no_verdict(self, tmp_path: Path) -> None:
        result = judged(world(tmp_path, stop_after=10))
        assert (result.valid, result.stopped_by) == (False, "budget")
        assert "the budget ended" in result.why

    def test_one_that_ends_later_leaves_whole_pairs(self, tmp_path: Path) -> None:
        result = judged(world(tmp_path, stop_after=6 * 20 + 6 * 10 + 3))
        assert result.stopped_by == "budget"
        assert 8 <= result.judged <= 12
        assert result.wins == result.judged

    def test_nothing_is_paid_twice_and_a_killed_job_goes_on(
        self, tmp_path: Path, database: Database, job_factory: Callable[..., UUID]
    ) -> None:
        """Over the wire, with the real ledger."""
        job = job_factory(kind="fidelity")
        with RehearsalServer() as server:

            def teacher(provider: str, **more: Any) -> Teacher:
                settings = Settings(rehearsal_url=server.url)
                return open_teacher(database, settings=settings, job_id=job, attempt=1, provider=provider, **more)

            ctx = world(tmp_path)
            ctx.job_id, ctx.teacher_factory = job, teacher
            ctx.cancel_after(60)
            with pytest.raises(JobCancelled):
                judged(ctx, planted=6, limit=12)
            first = len(server.requests)
            again = world(tmp_path)
            again.job_id, again.attempt, again.teacher_factory, again.student_factory = job, 2, teacher, ctx.student_factory
            result = judged(again, planted=6, limit=12)
            asked = len(server.requests)
        assert (result.verdict, result.rehearsal, result.label) == ("better", True, "REHEARSAL")
        assert 6 * 6 < first < asked == 6 * (6 + 12)
        assert ctx.student_factory("", None).generated == 24


def test_what_leaves_is_blind_in_both_orders_three_times_and_names_nobody(
    tmp_path: Path, database: Database, job_factory: Callable[..., UUID]
) -> None:
    """As a judge on the wire gets it."""
    runs = [
        *map(recorded, range(24)),
        recorded(100, input="Ich heiße Jonas Weber und male"),
        recorded(101, output="Mia Müller malt"),
    ]
    ctx = world(
        tmp_path, lambda context, thing: "Sie heißt Lena Vogt." if thing == "fox0" else follows(context, thing), runs=runs
    )
    ctx.job_id = job_factory(kind="fidelity")
    with RehearsalServer() as server:
        ctx.teacher_factory = lambda provider, **more: open_teacher(
            database, settings=Settings(rehearsal_url=server.url), job_id=ctx.job_id, attempt=1, provider=provider, **more
        )
        result = judged(ctx, planted=6)
    assert result.judged == 23
    bodies = [json.dumps(body, ensure_ascii=False) for body in server.requests]
    for word in ("Jonas", "Weber", "Mia", "Lena", "Vogt", "lora", "adapter", "scripted", "run_", "device", "wooden", "planted"):
        assert not [body for body in bodies if word in body], word
    shown = Counter(
        tuple(part.strip() for part in re.split("Context:|Text A:|Text B:", body["messages"][0]["content"])[1:])
        for body in server.requests
    )
    assert len(shown) == 2 * (6 + 23)
    assert set(shown.values()) == {3}
    assert all((context, b, a) in shown for context, a, b in shown)


def test_the_privacy_gate_stands_before_everything(tmp_path: Path) -> None:
    ctx = world(tmp_path)
    opened: list[bool] = []

    def closed(*_: Any, recorded: bool, **__: Any) -> Any:
        opened.append(recorded)
        raise InvalidInput("may not leave the European Union")

    ctx.teacher_factory = closed
    with pytest.raises(InvalidInput, match="European Union"):
        judged(ctx)
    assert opened == [True]
    assert ctx.student_factory("", None).generated == 0
