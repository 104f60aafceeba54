"""What each part was worth: routed by hand, answered by a scripted model, graded by a scripted judge."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy
import pytest
from transformers import AutoTokenizer

from goldsmith.adapters import AdapterVersion
from goldsmith.cluster_rules import ClusterRule
from goldsmith.datasets import Example, Message
from goldsmith.errors import InvalidInput, JobCancelled
from goldsmith.kinds.ablation import table
from goldsmith.kinds.ablation.run import run
from goldsmith.kinds.ablation.schema import AblationConfig, AblationResult, VariantReport
from goldsmith.kinds.base import Interval
from goldsmith.rules import Cluster, Rule
from goldsmith.sessions import Session
from goldsmith.uno.centroids import Centroids
from goldsmith.uno.route import Leg
from goldsmith.uno.split import split
from tests.fakes import FakeContext
from tests.teachers import Asked, ScriptedTeacher
from tests.tiny import make_model

CLUSTERS, PAIRS, ROUTER, GAP, OTHER = (f"job:{UUID(int=number)}" for number in range(1, 6))
SIZE = 30  # of each of the three clusters; six held out
LEGS = [
    Leg(0, "c0", SIZE, "primary", "", expert="adapter:expert@1", critic="adapter:critic@2"),
    Leg(1, "c1", SIZE, "reflective", "", critic="adapter:critic@1"),
    Leg(2, "c2", SIZE, "base", ""),
]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


class Scripted:
    """A student that says `says(adapter's name, last message)`; the base model's name is empty."""

    def __init__(self, folder: Path, says: Callable[[str, str], str]) -> None:
        self.folder, self.says, self.name, self.base_model = folder, says, "", str(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.asked: list[tuple[str, str]] = []

    def use(self, adapter: AdapterVersion | None) -> None:
        self.name = f"{adapter.name}@{adapter.version}" if adapter else ""

    def generate(
        self, conversations: Sequence[Any], max_new_tokens: int, *, temperature: float, seed: int | None, told: Any
    ) -> list[str]:
        told(0.5)
        last = [turns[-1]["content"] for turns in conversations]
        self.asked += [(self.name, one) for one in last]
        return [self.says(self.name, one) for one in last]


class Encoder:
    name = "minilm"

    def encode(self, texts: Sequence[str]) -> numpy.ndarray:
        """Rules end with the number of the axis that they lie on."""
        return numpy.stack([numpy.eye(4, dtype=numpy.float32)[int(text[-1])] for text in texts])

    def count(self, texts: Sequence[str]) -> int:
        return len(texts)


def says(name: str, message: str) -> str:
    """By who writes, with the session's name: what the judge reads."""
    if name.startswith("critic"):
        return f"1. critique by {name}"
    if "<rules>" in message:
        return "rewritten" if "critique by" in message else f"told {message.count('rule of axis')} rules"
    return f"by {name or 'base'}"


GRADES = {"by base": 4, "by expert@1": 8, "rewritten": 6, "by whole@1": 3, "told 2 rules": 4}


def context(
    tmp_path: Path, model_folder: Path, *, grades: Callable[[str, str], int] | None = None
) -> tuple[FakeContext, Scripted, ScriptedTeacher]:
    """Three clusters along three axes; `grades(session, answer)`."""
    ctx = FakeContext(tmp_path, kind="ablation")
    random = numpy.random.default_rng(0)
    names = [f"c{label}-{number:02}" for label in range(3) for number in range(SIZE)]
    vectors = numpy.stack([numpy.eye(4)[int(name[1])] + 0.05 * random.normal(size=4) for name in names])
    vectors = (vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)).astype(numpy.float32)
    arrays = io.BytesIO()
    numpy.savez(arrays, queries=vectors, sessions=numpy.array(names))
    centroids = Centroids(numpy.eye(3, 4, dtype=numpy.float32) * 0.9, ["c0", "c1", "c2"], "minilm")
    for job, name, content in (
        (CLUSTERS, "embeddings.npz", arrays.getvalue()),
        (ROUTER, "centroids.npz", centroids.to_bytes()),
    ):
        path = tmp_path / "artifacts" / job.removeprefix("job:") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    ctx.saved_clusters[CLUSTERS] = [
        Cluster(label, SIZE, "active", [name for name in names if name[1] == str(label)], {}, f"c{label}") for label in range(3)
    ]
    ctx.configs |= {
        CLUSTERS: {"kind": "cluster", "rules": "job:rules"},
        "job:rules": {"kind": "rules", "sessions": "job:sessions"},
        PAIRS: {"clusters": CLUSTERS},
        ROUTER: {"clusters": CLUSTERS, "gap": GAP},
        OTHER: {"clusters": CLUSTERS},
    }
    ctx.saved_sessions["job:sessions"] = [
        Session(
            number,
            name,
            "chat",
            f"question of {name}",
            "logged",
            "Feedback 1: more",
            "turns",
            config_id="oil" if number % 2 else None,
            language="en",
            private=False,
        )
        for number, name in enumerate(names)
    ]
    ctx.saved_rules["job:rules"] = [
        Rule(number, name, None, "en", "feedback", f"wants {name}") for number, name in enumerate(names)
    ]
    train = [name for name, where in split(names[:SIZE]).items() if where == "train"]
    ctx.saved_cluster_rules[CLUSTERS] = [
        ClusterRule(0, 0, "rule of axis 0", 1, 0.1, train[:1], ["turns"], [""], [0]),
        ClusterRule(1, 0, "rule of axis 1", 1, 0.1, train[1:2], ["turns"], [""], [1]),
        ClusterRule(2, 0, "rule of axis 2", 1, 0.1, train[2:3], ["turns"], [""], [2], "retired"),
        ClusterRule(3, 0, "rule of axis 3", 1, 0.1, heldout(names)[:1], ["turns"], [""], [3]),
    ]
    rows = [example(name) for name in train]
    version = ctx.save_dataset("c0-pairs", rows, manifest={}, parents=[], rehearsal=False)
    ctx.results |= {
        PAIRS: {"clusters": [{"pairs": version.ref, "critic": None}]},
        ROUTER: {
            "clusters": [
                asdict(leg) | {"gap": gap, "passed": leg.expert is not None} for leg, gap in zip(LEGS, GAPS, strict=True)
            ],
            "outlier_distance": 1.2,
            "gap_method": "reranker",
            "base_model": str(model_folder),
            "rehearsal": False,
        },
        OTHER: {
            "gap_method": "embedding",
            "clusters": [{"cluster_id": f"c{number}", "decision": "reflective"} for number in range(3)],
        },
    }
    for name, versions in (("expert", 1), ("critic", 2), ("whole", 1)):
        ctx.adapters[name] = [adapter(name, number + 1, str(model_folder)) for number in range(versions)]
    student = Scripted(model_folder, says)
    ctx.student_factory = lambda *_: student  # type: ignore[assignment,return-value]
    ctx.encoder_factory = lambda name: Encoder()
    given = grades or (lambda session, text: GRADES[text])

    def say(asked: Asked) -> dict[str, Any]:
        session = asked.prompt.partition("question of ")[2][:5]
        assert f"wants {session}" in asked.prompt  # its own rules
        return {
            "reason": "by the test",
            "score": given(session, asked.prompt.partition("<answer>\n")[2].partition("\n</answer>")[0]),
        }

    teacher = ScriptedTeacher(say, rehearsal=False)
    ctx.teacher_factory = lambda *_, **__: teacher  # type: ignore[assignment,return-value]
    return ctx, student, teacher


GAPS = ("primary", "reflective", "unknown")


def heldout(names: Sequence[str]) -> list[str]:
    of = [split(names[start : start + SIZE]) for start in range(0, 3 * SIZE, SIZE)]
    return sorted(name for splits in of for name, where in splits.items() if where == "heldout")


def example(name: str) -> Example:
    return Example(
        split="train",
        messages=[Message(role="user", content=f"question of {name}"), Message(role="assistant", content="better")],
        rejected="worse",
        config_id="none",
        context_lang="en",
        context_sha256="",
        template_version="",
        input=f"question of {name}",
        language="en",
        group=name,
        source=name,
    )


def adapter(name: str, version: int, base_model: str) -> AdapterVersion:
    more = dict.fromkeys(("base_sha256", "tokenizer_sha256", "template_sha256"), "x")
    return AdapterVersion(
        name=name,
        version=version,
        job_id=uuid4(),
        base_model=base_model,
        dataset="dataset:c0-pairs@1",
        status="candidate",
        method={},
        metrics={},
        files={},
        folder=Path("/nowhere"),
        rehearsal=False,
        created_at=datetime.now(UTC),
        **more,
    )


def ask(ctx: FakeContext, **more: Any) -> AblationResult:
    given = {"router": ROUTER, "pairs": PAIRS, "teacher": "rehearsal", "budget_usd": 1.0, "max_new_tokens": 8, "limit": None}
    return run(AblationConfig(**(given | {"retrieved_rules": 2, "judge_samples": 1} | more)), ctx)


def by_variant(result: AblationResult) -> dict[str, VariantReport]:
    return {one.variant: one for one in result.variants}


def test_each_variant_answers_as_its_name_says_and_is_graded_on_held_out_sessions(tmp_path: Path, model_folder: Path) -> None:
    ctx, student, teacher = context(tmp_path, model_folder)
    result = ask(ctx, unclustered="adapter:whole@1", other_gap=OTHER, absent={"by_config": "the log knows no configs"})
    assert (result.heldout, result.drawn, result.left_out) == (18, 18, 0)
    found = by_variant(result)
    values = {name: (one.grade.value, one.over_base.value, one.win_rate.value, one.not_base) for name, one in found.items()}
    third = pytest.approx
    assert values == {
        "base": (4, 0, 0.5, 0),
        "rules_in_prompt": (4, 0, 0.5, 18),
        "unclustered": (3, -1, 0, 18),
        "experts": (third(16 / 3), third(4 / 3), third(2 / 3), 6),  # six of eighteen by the expert: 8, else 4
        "reflective": (third(16 / 3), third(4 / 3), third(5 / 6), 12),  # both critics' clusters: 6
        "full": (6, 2, third(5 / 6), 12),  # 8, 6, 4
        "full_other_gap": (third(16 / 3), third(4 / 3), third(5 / 6), 12),
    }
    assert result.not_run == {"by_config": "the log knows no configs"}
    assert (found["full"].verdict, found["unclustered"].verdict, found["rules_in_prompt"].verdict) == (
        "better",
        "worse",
        "unclear",
    )
    assert [found[name].calls for name in ("base", "experts", "full", "reflective")] == [1, 1, third(5 / 3), third(7 / 3)]
    assert result.gaps_agree == pytest.approx(1 / 3)
    assert result.worth_it.startswith("yes: +2.00 grades")
    questions = {one for name, one in student.asked if not name and one.startswith("question of ")}
    assert questions == {
        f"question of {name}" for name in heldout([f"c{label}-{number:02}" for label in range(3) for number in range(SIZE)])
    }
    assert len(teacher.asked) == result.graded == 3 * 18 + 6 + 12  # each text once, whichever variants gave it
    told = ctx.artifact(result.table).read_text()
    assert "full, gap by embedding" in told
    assert "| one adapter for each config | – |" in told
    assert (
        json.loads(ctx.artifact(result.report).read_text())["sessions"][0]["variants"]["full"]["recipe"]
        == "adapter:adapter:expert@1"
    )


def test_rules_of_the_prompt_are_near_active_and_not_taught_by_those_that_examine(tmp_path: Path, model_folder: Path) -> None:
    ctx, student, _ = context(tmp_path, model_folder)
    ask(ctx, variants=["rules_in_prompt"])
    told = [one for _, one in student.asked if "<rules>" in one]
    assert len(told) == 18
    assert all("axis 0" in one and "axis 1" in one and "axis 2" not in one and "axis 3" not in one for one in told)
    of_second = next(one for one in told if "question of c1-" in one)
    assert of_second.index("axis 1") < of_second.index("axis 0")


def test_a_session_that_an_adapter_learned_from_does_not_examine_it(tmp_path: Path, model_folder: Path) -> None:
    ctx, _, _ = context(tmp_path, model_folder)
    names = heldout([f"c{label}-{number:02}" for label in range(3) for number in range(SIZE)])
    ctx.save_dataset("all", [example(name) for name in names[:4]], manifest={}, parents=[], rehearsal=False)
    ctx.adapters["whole"] = [ctx.adapters["whole"][0].model_copy(update={"dataset": "dataset:all@1"})]
    found = by_variant(ask(ctx, variants=["unclustered", "full"], unclustered="adapter:whole@1"))
    assert {name: one.sessions for name, one in found.items()} == {"base": 18, "unclustered": 14, "full": 18}
    drawn = ask(ctx, variants=["unclustered"], unclustered="adapter:whole@1", limit=14)
    assert by_variant(drawn)["unclustered"].sessions == 14


def test_a_run_goes_on_where_it_was_cut_off(tmp_path: Path, model_folder: Path) -> None:
    ctx, student, teacher = context(tmp_path, model_folder)
    ctx.cancel_after(12)
    with pytest.raises(JobCancelled):
        ask(ctx)
    asked, graded = list(student.asked), len(teacher.asked)
    assert asked
    again = FakeContext(tmp_path, job_id=ctx.job_id, attempt=2)
    for name in (
        "adapters",
        "datasets",
        "configs",
        "results",
        "saved_clusters",
        "saved_sessions",
        "saved_rules",
        "saved_cluster_rules",
    ):
        setattr(again, name, getattr(ctx, name))
    again.student_factory, again.encoder_factory, again.teacher_factory = (
        ctx.student_factory,
        ctx.encoder_factory,
        ctx.teacher_factory,
    )
    result = ask(again)
    assert by_variant(result)["full"].grade.value == 6
    assert len(student.asked) < 2 * len(asked) + 80
    assert graded <= len(teacher.asked)
    assert len(set(student.asked)) >= len(student.asked) - 16  # one chunk at most was written twice


def test_a_budget_that_ends_leaves_whole_sessions_and_says_so(tmp_path: Path, model_folder: Path) -> None:
    ctx, _, teacher = context(tmp_path, model_folder)
    teacher.stop_after = 20
    result = ask(ctx, variants=["experts", "full"], concurrency=1)
    assert result.stopped_by == "budget"
    found = by_variant(result)
    assert 0 < found["full"].sessions == found["base"].sessions < 18
    assert result.left_out == 18 - found["full"].sessions
    ctx, _, teacher = context(tmp_path / "none", model_folder)
    teacher.stop_after = 0
    nothing = ask(ctx)
    assert nothing.variants == []
    assert nothing.worth_it.startswith("not measured: no session")


def test_a_prompt_that_does_not_fit_leaves_the_draft(tmp_path: Path, model_folder: Path) -> None:
    ctx, student, _ = context(tmp_path, model_folder)
    student.says = lambda name, message: "word " * 600 if name.startswith("critic") else says(name, message)
    full = by_variant(ask(ctx, variants=["full"]))["full"]
    assert (full.too_long, full.grade.value) == (6, pytest.approx((8 + 4 + 4) / 3))


def test_what_routes_nothing_is_said_instead_of_measured(tmp_path: Path, model_folder: Path) -> None:
    ctx, _, _ = context(tmp_path, model_folder)
    for leg in ctx.results[ROUTER]["clusters"]:
        leg.update(path="base", expert=None, critic=None)
    ctx.results[ROUTER]["base_model"] = None
    with pytest.raises(InvalidInput, match="base_model: one is wanted"):
        ask(ctx)
    result = ask(ctx, base_model=str(model_folder))
    assert list(by_variant(result)) == ["base", "rules_in_prompt"]
    assert set(result.not_run) == {"unclustered", "by_config", "experts", "reflective", "full", "full_other_gap"}
    assert (
        result.worth_it
        == "not measured: the router sends everything to the base model: no expert passed and no critic is there"
    )


def test_jobs_of_other_clusters_are_refused(tmp_path: Path, model_folder: Path) -> None:
    ctx, _, _ = context(tmp_path, model_folder)
    ctx.configs[OTHER] = {"clusters": "job:elsewhere"}
    with pytest.raises(InvalidInput, match=r"other_gap: .* measured other clusters"):
        ask(ctx, other_gap=OTHER)
    ctx.configs[PAIRS] = {"clusters": "job:elsewhere"}
    with pytest.raises(InvalidInput, match=r"pairs: .* is of other clusters"):
        ask(ctx)


# -- numbers and words


CONFIG = AblationConfig(router=ROUTER, pairs=PAIRS, teacher="rehearsal", budget_usd=1)


def test_the_interval_is_the_bootstraps_and_covers() -> None:
    values = numpy.array([1.0, 2.0, 4.0, 4.0, 9.0])
    found = table.interval(values, CONFIG)
    draws = numpy.random.default_rng(42).integers(5, size=(2000, 5))
    expected = sorted(float(values[row].mean()) for row in draws)
    assert found.value == 4
    assert (found.low, found.high) == pytest.approx((numpy.quantile(expected, 0.025), numpy.quantile(expected, 0.975)))
    random = numpy.random.default_rng(1)
    config = CONFIG.model_copy(update={"bootstrap": 400})
    hits = sum(one.low <= 0 <= one.high for one in (table.interval(random.normal(size=40), config) for _ in range(300)))
    assert 0.9 <= hits / 300 <= 0.98


@pytest.mark.parametrize(
    ("low", "high", "sessions", "verdict", "says"),
    [
        (0.1, 0.9, 20, "better", "better than the base model on these 20"),
        (-0.9, -0.1, 20, "worse", "worse than the base model"),
        (-0.1, 0.9, 20, "unclear", "cannot be told from the base model on 20 sessions"),
        (0.0, 0.9, 20, "unclear", "the interval holds 0"),
        (0.0, 0.0, 20, "unclear", "on every one of 20"),
        (1.0, 2.0, 4, "unclear", "too few"),
    ],
)
def test_words_are_honest_about_intervals(low: float, high: float, sessions: int, verdict: str, says: str) -> None:
    over = Interval(value=(low + high) / 2, low=low, high=high)
    assert table.judged(over, sessions) == verdict
    assert says in table.words(table.judged(over, sessions), over, sessions)


def test_a_win_counts_one_and_a_tie_half() -> None:
    assert table.win_points(numpy.array([5.0, 4, 3]), numpy.array([4.0, 4, 4])).tolist() == [1, 0.5, 0]
