"""The gate: from kept epochs and a judge to a registered expert, or to none."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError
from transformers import AutoTokenizer

from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.datasets import Example, Message
from goldsmith.db import Connection
from goldsmith.errors import InvalidInput, JobCancelled, ReferenceNotUsable
from goldsmith.kinds.train.run import run as train
from goldsmith.kinds.verify import trained
from goldsmith.kinds.verify.run import run
from goldsmith.kinds.verify.schema import VerifyConfig
from goldsmith.rules import Rule
from goldsmith.storage import Storage
from tests.fakes import FakeContext
from tests.teachers import Asked, ScriptedTeacher
from tests.tiny import gold, make_model, student_factory
from tests.training import config as train_config
from tests.workshop import Workshop

TRAIN = f"job:{UUID(int=1)}"
BASE = "The lamp stands on the table and shines over there"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


class Scripted:
    """A student that says `says(epoch, question)`; epoch 0 is the base model."""

    def __init__(self, folder: Path, says: Callable[[int, str], str]) -> None:
        self.folder, self.says, self.epoch = folder, says, 0
        self.base_model = str(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.asked: list[tuple[int, str, float, int | None]] = []

    def use(self, adapter: AdapterVersion | None) -> None:
        if adapter is not None:
            adapter.verify()
        self.epoch = adapter.version if adapter else 0

    def generate(
        self, conversations: Sequence[Any], max_new_tokens: int, *, temperature: float, seed: int | None, told: Any
    ) -> list[str]:
        told(0.5)
        questions = [turns[-1]["content"] for turns in conversations]
        self.asked += [(self.epoch, question, temperature, seed) for question in questions]
        return [self.says(self.epoch, question) for question in questions]


def example(number: int, **more: Any) -> Example:
    return Example(
        **{
            "split": "heldout",
            "messages": [Message(role="user", content=f"question {number}"), Message(role="assistant", content="better")],
            "rejected": "worse",
            "config_id": "none",
            "context_lang": "en",
            "context_sha256": "",
            "template_version": "",
            "input": f"question {number}",
            "language": "en",
            "group": f"s-{number:03}",
            "source": f"s-{number:03}",
        }
        | more
    )


def context(
    tmp_path: Path,
    model_folder: Path,
    *,
    rows: int = 20,
    epochs: int = 3,
    says: Callable[[int, str], str] = lambda epoch, question: f"{BASE} {epoch}",
    grades: Callable[[int, str], int] = lambda epoch, question: 5,
) -> tuple[FakeContext, Scripted, ScriptedTeacher]:
    """What a training left. `grades(epoch, question)`: the epoch is read off the end of the answer."""
    ctx = FakeContext(tmp_path, kind="verify")
    examples = [example(number) for number in range(rows)] + [example(999, split="train")]
    version = ctx.save_dataset("pairs", examples, manifest={}, parents=[], rehearsal=False)
    ctx.configs[f"job:{version.job_id}"] = {"kind": "pairs", "clusters": "job:clusters"}
    ctx.configs["job:clusters"] = {"kind": "cluster", "rules": "job:rules"}
    ctx.saved_rules["job:rules"] = [
        Rule(0, "s-001", None, "en", "feedback", "Name the colour of the lamp."),
        Rule(1, "s-001", None, "en", "model", "Be kind."),
    ]
    left = FakeContext(tmp_path, job_id=UUID(int=1), kind="train")
    left.adapters = ctx.adapters
    folder = tmp_path / f"trained-{uuid4()}"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"last")
    (folder / "train.json").write_text("{}")
    left.register_adapter(
        NewAdapter("prose", folder, str(model_folder), "b", "t", "c", "dataset:pairs@1", {"role": "expert", "lora_r": 8})
    )
    left.save_artifact("adapter_config.json", b"{}")
    kept = [
        {"epoch": n, "step": 3 * n, "artifact": left.save_artifact(f"epoch-{n}.safetensors", b"%d" % n)}
        for n in range(1, epochs + 1)
    ]
    told = {
        "adapter": "adapter:prose@1",
        "dataset": "dataset:pairs@1",
        "config": f"{TRAIN}/adapter_config.json",
        "epochs": kept,
    }
    left.save_artifact("epochs.json", json.dumps(told).encode())
    student = Scripted(model_folder, says)
    ctx.student_factory = lambda *_: student  # type: ignore[assignment,return-value]

    def say(asked: Asked) -> dict[str, Any]:
        question = asked.prompt.partition("<question>\n")[2].partition("\n</question>")[0]
        answer = asked.prompt.partition("<answer>\n")[2].partition("\n</answer>")[0]
        return {"reason": "by the test", "score": grades(int(answer.rpartition(" ")[2]), question)}

    teacher = ScriptedTeacher(say, rehearsal=False)
    ctx.teacher_factory = lambda *_, **__: teacher  # type: ignore[assignment,return-value]
    return ctx, student, teacher


def once_more(first: FakeContext) -> FakeContext:
    """The job's next attempt."""
    ctx = FakeContext(first.root, job_id=first.job_id, kind="verify", attempt=first.attempt + 1)
    for name in ("adapters", "aliases", "datasets", "configs", "saved_rules", "student_factory", "teacher_factory"):
        setattr(ctx, name, getattr(first, name))
    return ctx


def asked(**more: Any) -> VerifyConfig:
    return VerifyConfig(**({"train": TRAIN, "teacher": "rehearsal", "budget_usd": 1.0, "max_new_tokens": 8} | more))


def number(question: str) -> int:
    return int(question.rpartition(" ")[2])


class TestTheGate:
    def test_the_best_epoch_of_one_half_is_gated_on_the_other_and_registered(self, model_folder: Path, tmp_path: Path) -> None:
        ctx, student, teacher = context(tmp_path, model_folder, grades=lambda epoch, _: {0: 4, 1: 4, 2: 7, 3: 7}[epoch])

        result = run(asked(alias="expert"), ctx)

        assert [(one.epoch, one.win_rate, one.n, one.ties) for one in result.epochs] == [
            (1, 0.5, 10, 10),
            (2, 1, 10, 0),
            (3, 1, 10, 0),
        ]
        assert (result.chosen, result.win_rate, result.n_choose, result.n_gate) == (2, 1.0, 10, 10)  # of equals the earliest
        assert result.lower_bound == pytest.approx(0.05 ** (1 / 10), abs=1e-6)
        assert result.interval == pytest.approx((0.025 ** (1 / 10), 1), abs=1e-6)
        assert (result.passed, result.needed, result.role) == (True, 8.5, "expert")
        assert "epoch 2 won 10 of 10 (1.000): at least 0.741 with confidence 0.95, 0.53 is asked" in result.why
        adapter = ctx.adapter(result.adapter or "")
        assert (adapter.ref, adapter.role, adapter.parents) == ("adapter:prose@2", "expert", ["adapter:prose@1"])
        assert (adapter.folder / "adapter_model.safetensors").read_bytes() == b"2"
        assert sorted(adapter.files) == ["adapter_config.json", "adapter_model.safetensors", "train.json"]
        assert (adapter.method["epoch"], adapter.method["train"], adapter.method["lora_r"]) == (2, TRAIN, 8)
        assert adapter.method["verified"]["passed"] is True
        assert ctx.aliases["prose", "expert"] == 2
        # epochs that were not chosen never answer what gates
        questions = {epoch: {question for one, question, *_ in student.asked if one == epoch} for epoch in range(4)}
        assert [len(questions[epoch]) for epoch in range(4)] == [20, 10, 20, 10]
        assert {temperature for _, _, temperature, _ in student.asked} == {0.1}
        assert len(teacher.asked) == (20 + 10 + 20 + 10) * 3

    def test_the_report_has_every_row_and_adds_up(self, model_folder: Path, tmp_path: Path) -> None:
        ctx, *_ = context(tmp_path, model_folder, grades=lambda epoch, question: 5 + (epoch * number(question)) % 3)
        result = run(asked(name="experts", min_heldout=2), ctx)

        told = json.loads(ctx.artifact(result.report).read_bytes())
        assert (told["passed"], told["adapter"], told["dataset"]) == (result.passed, result.adapter, "dataset:pairs@1")
        for part, epoch, rate in [("choose", str(one.epoch), one.win_rate) for one in result.epochs] + [
            ("gate", str(result.chosen), result.win_rate)
        ]:
            rows = [row["arms"] for row in told["rows"] if row["part"] == part]
            points = [
                1 if row[epoch]["score"] > row["base"]["score"] else 0.5 if row[epoch]["score"] == row["base"]["score"] else 0
                for row in rows
            ]
            assert sum(points) / len(points) == rate
            assert [row[epoch]["points"] for row in rows] == points

    def test_too_few_wins_do_not_pass_and_the_alias_stays(self, model_folder: Path, tmp_path: Path) -> None:
        ctx, *_ = context(tmp_path, model_folder, grades=lambda epoch, question: 5 + (epoch > 0 and number(question) % 5 > 1))
        result = run(asked(alias="expert"), ctx)
        assert result.win_rate is not None
        assert 0.7 < result.win_rate < 0.95
        assert result.passed is (result.lower_bound is not None and result.lower_bound >= 0.53)
        lost = run(asked(alias="expert", win_rate_min=0.9), once_more(ctx))
        assert not lost.passed
        assert "0.9 is asked: and no number of wins would be enough" in lost.why  # 0.05 ** (1 / 10) = 0.74
        assert lost.adapter == "adapter:prose@3"
        assert ctx.adapter(lost.adapter).method["verified"]["passed"] is False
        assert ctx.aliases.get(("prose", "expert")) == (2 if result.passed else None)

    def test_the_references_rule_chooses_and_gates_on_all_rows(self, model_folder: Path, tmp_path: Path) -> None:
        grades = {0: 5, 1: 4, 2: 5, 3: 5}
        ctx, student, _ = context(
            tmp_path, model_folder, grades=lambda epoch, question: grades[epoch] + (epoch == 3 and number(question) < 2)
        )
        result = run(asked(gate="reference"), ctx)
        # 18 ties and 2 wins are 11 of 20
        assert (result.chosen, result.win_rate, result.n_choose, result.n_gate, result.passed) == (3, 0.55, 20, 20, True)
        assert (result.needed, result.gate) == (11.0, "reference")
        assert len(student.asked) == 4 * 20
        halves = run(asked(), context(tmp_path / "again", model_folder, grades=lambda epoch, _: grades[epoch])[0])
        assert not halves.passed

    def test_barred_answers_win_nothing_and_stay_in_the_number(self, model_folder: Path, tmp_path: Path) -> None:
        def says(epoch: int, question: str) -> str:
            if epoch and number(question) % 4 == 0:
                return f"x {epoch}"
            if epoch and number(question) % 4 == 1:
                return f"Nothing of that was written by anybody else before me {epoch}"
            return f"{BASE} {epoch}"

        ctx, *_ = context(tmp_path, model_folder, epochs=1, says=says, grades=lambda epoch, _: 9 if epoch else 1)
        result = run(asked(gate="reference"), ctx)
        (epoch,) = result.epochs
        assert (epoch.wins, epoch.losses, epoch.barred_by_length, epoch.barred_by_bleu, epoch.n) == (10, 10, 5, 5, 20)
        assert (result.win_rate, result.barred_by_length, result.barred_by_bleu, result.passed) == (0.5, 5, 5, False)
        assert result.barred == "no_win"

        again, *_ = context(tmp_path / "again", model_folder, epochs=1, says=says, grades=lambda epoch, _: 9 if epoch else 1)
        removed = run(asked(gate="reference", barred="removed"), again)
        (epoch,) = removed.epochs
        assert (epoch.wins, epoch.losses, epoch.barred_by_length, epoch.barred_by_bleu, epoch.n) == (10, 0, 5, 5, 10)
        assert (removed.win_rate, removed.n_gate, removed.passed, removed.barred) == (1.0, 10, True, "removed")

    @pytest.mark.parametrize(("at", "needed", "passed"), [("passes", 10.0, True), ("fails", 10.5, False)])
    def test_exactly_the_win_rate_that_is_asked_passes_unless_the_papers_rule_is_chosen(
        self, model_folder: Path, tmp_path: Path, at: str, needed: float, passed: bool
    ) -> None:
        ctx, *_ = context(tmp_path, model_folder, epochs=1, grades=lambda _, __: 5)  # twenty ties: 0.5
        result = run(asked(gate="reference", win_rate_min=0.5, at_win_rate_min=at), ctx)
        assert (result.win_rate, result.needed, result.passed, result.at_win_rate_min) == (0.5, needed, passed, at)

    def test_where_nothing_is_won_no_epoch_is_chosen(self, model_folder: Path, tmp_path: Path) -> None:
        ctx, *_ = context(tmp_path, model_folder, grades=lambda epoch, _: 1 if epoch else 9)
        result = run(asked(alias="expert"), ctx)
        assert (result.chosen, result.adapter, result.passed, result.win_rate) == (None, None, False, None)
        assert result.why == "no epoch won or tied a single row"
        assert len(ctx.adapters["prose"]) == 1

    def test_too_few_rows_are_not_gated_and_cost_nothing(self, model_folder: Path, tmp_path: Path) -> None:
        ctx, student, teacher = context(tmp_path, model_folder, rows=7)
        result = run(asked(), ctx)
        assert not result.passed
        assert "7 held-out rows are fewer than min_heldout 10: 3 are missing" in result.why
        assert (student.asked, teacher.asked, result.adapter, result.epochs) == ([], [], None, [])


class TestJudging:
    def test_an_answer_is_judged_by_its_users_rules_and_the_mean_of_what_could_be_read_counts(
        self, model_folder: Path, tmp_path: Path
    ) -> None:
        ctx, _, teacher = context(tmp_path, model_folder, epochs=1)
        scripted = teacher.say

        def say(asked_: Asked) -> Any:
            if "question 2\n" in asked_.prompt and asked_.ordinal == 1:
                return "no JSON"
            if "question 3\n" in asked_.prompt:
                return {"reason": "over", "score": 37 if asked_.ordinal else 0}
            return scripted(asked_)

        teacher.say = say
        result = run(asked(gate="reference"), ctx)

        ruled = [one for one in teacher.asked if "question 1\n" in one.prompt]
        assert all("1. Name the colour of the lamp." in one.prompt and "Be kind" not in one.prompt for one in ruled)
        assert [one.temperature for one in ruled[:3]] == [0.0, 1.0, 1.0]
        assert {one.item for one in ruled} == {"s-001/verify/base", "s-001/verify/1"}
        assert all(one.recorded for one in teacher.asked)
        assert result.without_rules == 19
        told = {row["row"]: row["arms"]["base"] for row in json.loads(ctx.artifact(result.report).read_bytes())["rows"]}
        assert told[2]["scores"] == [5, 5]  # asked again once, then counted
        assert (told[3]["scores"], told[3]["score"]) == ([1, 10, 10], 7)  # clamped
        assert (result.bad_json, result.clamped) == (4, 6)

    def test_without_a_grade_of_the_base_the_row_is_left_out_and_without_one_of_its_own_an_epoch_loses(
        self, model_folder: Path, tmp_path: Path
    ) -> None:
        ctx, _, teacher = context(tmp_path, model_folder, epochs=1)
        scripted = teacher.say

        def say(asked_: Asked) -> Any:
            base = asked_.item.endswith("base")
            silent = ("question 4\n" in asked_.prompt and base) or ("question 5\n" in asked_.prompt and not base)
            return None if silent else scripted(asked_)

        teacher.say = say
        result = run(asked(gate="reference"), ctx)
        (epoch,) = result.epochs
        assert (epoch.n, epoch.ties, epoch.losses, epoch.ungraded, result.without_base_grade) == (19, 18, 1, 1, 1)

    def test_where_the_budget_ends_nothing_passes(self, model_folder: Path, tmp_path: Path) -> None:
        ctx, _, teacher = context(tmp_path, model_folder, grades=lambda epoch, _: 9 if epoch else 1)
        teacher.stop_after = 30
        result = run(asked(), ctx)
        assert (result.stopped_by, result.passed, result.adapter, result.epochs) == ("budget", False, None, [])
        assert "the budget ended" in result.why

    def test_a_rehearsal_is_marked(self, model_folder: Path, tmp_path: Path) -> None:
        ctx, _, teacher = context(tmp_path, model_folder)
        teacher.rehearsal = True
        result = run(asked(), ctx)
        assert (result.rehearsal, result.label) == (True, "REHEARSAL")
        assert ctx.adapter(result.adapter or "").rehearsal


class TestResuming:
    @pytest.mark.parametrize("after", [4, 26, 60])
    def test_answers_and_grades_are_kept_item_by_item(self, model_folder: Path, tmp_path: Path, after: int) -> None:
        def grades(epoch: int, question: str) -> int:
            return 5 + (epoch * number(question)) % 3

        whole, *_ = context(tmp_path / "whole", model_folder, grades=grades)
        uncut = run(asked(concurrency=1), whole)
        first, student, teacher = context(tmp_path / "cut", model_folder, grades=grades)
        first.cancel_after(after)
        with pytest.raises(JobCancelled):
            run(asked(concurrency=1), first)
        answered = student.asked[:]

        result = run(asked(concurrency=1), once_more(first))

        assert result.model_dump(exclude={"adapter", "report", "spent_usd"}) == uncut.model_dump(
            exclude={"adapter", "report", "spent_usd"}
        )
        # a chunk and the grades since the last twenty are lost at most
        repeated = {one[:2] for one in answered} & {one[:2] for one in student.asked[len(answered) :]}
        assert len(repeated) <= 10
        assert len(teacher.asked) <= 60 * 3 + 20 * 3


def test_real_epochs_of_a_real_training(model_folder: Path, tmp_path: Path) -> None:
    """From training to a gate without anything scripted but the judge, and the chosen epoch answers like itself."""
    ctx = FakeContext(tmp_path, kind="train")
    ctx.student_factory = student_factory(tmp_path)
    rows = [row.model_copy(update={"rejected": "No idea."}) for row in gold(heldout=4)]
    ctx.save_dataset("gold", rows, manifest={}, parents=[], rehearsal=False)
    train(train_config(model_folder, role="expert", num_train_epochs=2, max_steps=4), ctx)
    after = FakeContext(tmp_path, kind="verify")
    after.student_factory, after.adapters, after.datasets = ctx.student_factory, ctx.adapters, ctx.datasets
    after.configs[f"job:{ctx.job_id}"] = {"kind": "gold"}
    teacher = ScriptedTeacher(lambda one: {"reason": "", "score": 5 + one.item.endswith("/2")})
    after.teacher_factory = lambda *_, **__: teacher  # type: ignore[assignment,return-value]

    result = run(asked(train=ctx.ref, min_heldout=2, bleu_min=0, length_min=0, max_new_tokens=6, gate="reference"), after)

    told = json.loads(after.artifact(result.report).read_bytes())
    assert [one.epoch for one in result.epochs] == [1, 2]
    expected = [0.0, 0.0]
    for row in told["rows"]:
        words = [set(row["arms"][arm]["answer"].lower().split()) for arm in ("base", "1", "2")]
        expected[0] += 0.125 * bool(words[0] & words[1])
        expected[1] += 0.25 * bool(words[0] & words[2])
    assert [one.win_rate for one in result.epochs] == expected
    if result.adapter is not None:
        chosen = after.adapter(result.adapter)
        student = after.student(str(model_folder), chosen)
        texts = student.generate(
            [[{"role": "user", "content": row.messages[0].content}] for row in after.examples("dataset:gold@1", "heldout")],
            6,
            temperature=0.1,
            seed=42,
        )
        assert texts == [row["arms"][str(result.chosen)]["answer"] for row in told["rows"]]


def test_epochs_of_a_sealed_version_can_be_loaded(
    conn: Connection, job_factory: Callable[..., UUID], model_folder: Path, tmp_path: Path
) -> None:
    workshop = Workshop(conn, Storage(tmp_path / "state"), job_factory)
    workshop.record("d1", "a red fox", "a blue boat")
    workshop.make_corpus()
    workshop.make_gold(usd=0.25)
    ctx, *_ = context(tmp_path, model_folder)
    ctx.adapters["prose"][0] = workshop.train(role="expert")

    made = trained.read(TRAIN, ctx)

    made.last.verify()
    made.epochs[2].verify()
    (made.epochs[2].folder / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(ReferenceNotUsable, match=r"adapter_model\.safetensors changed"):
        made.epochs[2].verify()


class TestBadInput:
    def test_a_training_that_kept_no_epochs_is_named(self, model_folder: Path, tmp_path: Path) -> None:
        ctx, *_ = context(tmp_path, model_folder)
        ref = f"job:{uuid4()}"
        with pytest.raises(InvalidInput, match=f"train: {ref} kept no epochs; train with role: expert"):
            run(asked(train=ref), ctx)

    def test_a_critic_is_no_expert(self, model_folder: Path, tmp_path: Path) -> None:
        ctx, *_ = context(tmp_path, model_folder)
        ctx.adapters["prose"][0].method["role"] = "critic"
        with pytest.raises(InvalidInput, match="made a critic"):
            run(asked(), ctx)

    def test_a_question_too_long_for_the_model_is_left_out_and_counted(self, model_folder: Path, tmp_path: Path) -> None:
        ctx, *_ = context(tmp_path, model_folder)
        _, rows = ctx.datasets["pairs"][0]
        rows[3] = example(3, messages=[Message(role="user", content="very " * 600), rows[3].messages[-1]])
        result = run(asked(), ctx)
        assert (result.heldout, result.left_out, result.n_choose + result.n_gate) == (20, 1, 19)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("train", "job:1"),
            ("confidence", 1.0),
            ("confidence", 0.2),
            ("win_rate_min", 1.5),
            ("bleu_tokenizer", "jieba"),
            ("gate", "both"),
            ("min_heldout", 1),
            ("judge_samples", 0),
            ("budget_usd", 0),
        ],
    )
    def test_wrong_options_are_refused_by_name(self, field: str, value: Any) -> None:
        with pytest.raises(ValidationError, match=field):
            asked(**{field: value})
