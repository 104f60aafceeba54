from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from goldsmith.datasets import Example
from goldsmith.db import Connection, Database
from goldsmith.errors import GoldsmithError, InvalidInput, JobCancelled
from goldsmith.kinds.pairs.revise import Candidate, choose
from goldsmith.kinds.pairs.run import run
from goldsmith.kinds.pairs.schema import PairsConfig, PairsResult
from goldsmith.kinds.train.rows import checked
from goldsmith.rules import Cluster, Rule
from goldsmith.sessions import Session
from goldsmith.settings import Settings
from goldsmith.teacher import open_teacher
from goldsmith.teacher.rehearsal import RehearsalServer
from goldsmith.uno import prompts
from goldsmith.uno.candidates import EQUAL, NO_CANDIDATE, NO_GAIN, NO_GRADE
from goldsmith.uno.judge import Grade
from goldsmith.uno.split import split
from tests.fakes import FakeContext
from tests.teachers import Asked, Say, ScriptedTeacher, answer

RULES, CLUSTERS, GAP = (f"job:{uuid4()}" for _ in range(3))


def session(name: str, **more: Any) -> Session:
    facts = {"query": f"How do I build {name}?", "answer": f"Take {name}.", "feedback": f"Feedback 1: name the wood of {name}"}
    return Session(**{"ordinal": 0, "session_id": name, "source": "chat", "signal": "turns", "language": "en", **facts, **more})


def rules_of(sessions: Sequence[Session]) -> list[Rule]:
    return [
        Rule(number, one.session_id, one.config_id, one.language, "feedback", f"Name the wood of {one.session_id}.")
        for number, one in enumerate(sessions)
    ]


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., FakeContext]:
    def make(
        clusters: Mapping[int, Sequence[Session]], *, gap: Mapping[int, str] | None = None, small: Sequence[int] = ()
    ) -> FakeContext:
        ctx = FakeContext(tmp_path, kind="pairs")
        ctx.configs = {
            CLUSTERS: {"kind": "cluster", "rules": RULES, "space": "unit"},
            RULES: {"kind": "rules", "upload": "upload:log"},
            GAP: {"kind": "gap", "clusters": CLUSTERS, "method": "reranker"},
        }
        every = [one for each in clusters.values() for one in each]
        ctx.saved_sessions[RULES] = every
        ctx.saved_rules[RULES] = rules_of(every)
        ctx.saved_clusters[CLUSTERS] = [
            Cluster(
                label,
                len(each),
                "fallback" if label in small else "active",
                [one.session_id for one in each],
                cluster_id=f"c{label}",
            )
            for label, each in clusters.items()
        ]
        if gap is not None:
            folder = ctx.root / "artifacts" / GAP.removeprefix("job:")
            folder.mkdir(parents=True)
            told = {"clusters": [{"label": label, "decision": decision} for label, decision in gap.items()]}
            (folder / "gap.json").write_text(json.dumps(told))
        return ctx

    return make


def better(one: Asked) -> object:
    """Revisions name the wood; the judge likes that."""
    if one.json_schema is None:
        thing = one.prompt.split("How do I build ")[1].split("?")[0]
        return f"Take oak for {thing}, as sample {one.ordinal} says."
    return {"reason": "so", "score": 8 if "oak" in one.prompt.partition("<answer>")[2] else 3}


def buy(ctx: FakeContext, say: Say = better, *, teacher: ScriptedTeacher | None = None, **more: Any) -> PairsResult:
    asked = teacher or ScriptedTeacher(say, rehearsal=False)
    ctx.teacher_factory = lambda *_, **__: asked
    config = {"clusters": CLUSTERS, "name": "wood", "teacher": "rehearsal", "budget_usd": 1.0, "min_pairs": 5, **more}
    return asyncio.run(run(PairsConfig.model_validate(config), ctx))


def rows(ctx: FakeContext, ref: str | None) -> list[Example]:
    assert ref is not None
    return list(ctx.examples(ref))


TEN = [session(f"s_{number}") for number in range(10)]


def test_every_session_gets_revisions_in_both_contexts_and_the_best_is_chosen(context: Callable[..., FakeContext]) -> None:
    ctx = context({0: TEN})
    teacher = ScriptedTeacher(
        lambda one: (
            better(one)
            if one.json_schema is None
            else {"reason": "so", "score": 9 if "sample 1" in one.prompt else 3 if "oak" not in one.prompt else 8}
        ),
        rehearsal=False,
    )
    result = buy(ctx, teacher=teacher)
    [cluster] = result.clusters
    assert (cluster.pairs, cluster.critic) == ("dataset:wood-c0-pairs@1", "dataset:wood-c0-critic@1")
    assert (cluster.pairs_train, cluster.pairs_heldout, cluster.critic_rows, cluster.gain) == (8, 2, 10, 6.0)
    assert (cluster.decision, cluster.refused, cluster.dropped) == ("all", None, {})
    assert (result.sessions, result.pairs, result.candidates.asked, result.candidates.usable) == (10, 10, 60, 60)
    revisions = [one for one in teacher.asked if one.json_schema is None]
    assert {(one.temperature, one.top_p, one.recorded, one.max_tokens) for one in revisions} == {(1.0, 0.9, True, 2048)}
    assert sorted((one.item, one.ordinal, one.seed) for one in revisions if one.item.startswith("s_0/")) == [
        (f"s_0/revise/{context}", sample, 42 + sample) for context in ("feedback", "rules") for sample in range(3)
    ]
    grades = [one for one in teacher.asked if one.json_schema is not None and one.item.startswith("s_0/")]
    assert len(grades) == 1 + 3  # the logged answer, and each text once: both contexts say the same here
    assert {(one.temperature, one.top_p) for one in grades} == {(0.0, None)}
    row = next(one for one in rows(ctx, cluster.pairs) if one.source == "s_0")
    assert (row.messages[-1].content, row.rejected) == ("Take oak for s_0, as sample 1 says.", "Take s_0.")
    assert (row.gates["context"], row.gates["sample"], row.gates["grade"], row.gates["logged_grade"]) == (
        "feedback",
        1,
        9.0,
        3.0,
    )
    assert (result.require_gain, result.gap_method, result.space, result.rehearsal) == (True, None, "unit", False)


def test_the_contexts_hold_what_they_should(context: Callable[..., FakeContext]) -> None:
    teacher = ScriptedTeacher(better, rehearsal=False)
    buy(context({0: TEN}), teacher=teacher, samples=1)
    feedback, rules = (
        next(one.prompt for one in teacher.asked if one.item == f"s_0/revise/{which}") for which in ("feedback", "rules")
    )
    assert "Feedback 1: name the wood of s_0" in feedback
    assert "Take s_0." not in feedback
    assert "<previous_answer>\nTake s_0.\n</previous_answer>" in rules
    assert "<rules>\n1. Name the wood of s_0.\n2. Feedback 1: name the wood of s_0\n</rules>" in rules


def test_the_split_is_the_references(context: Callable[..., FakeContext]) -> None:
    ctx = context({0: TEN})
    [cluster] = buy(ctx).clusters
    for ref in (cluster.pairs, cluster.critic):
        assert {one.source: one.split for one in rows(ctx, ref)} == split(one.session_id for one in TEN)


def test_a_critic_never_trains_on_what_an_expert_is_tested_on(context: Callable[..., FakeContext]) -> None:
    many = [session(f"s_{number:02}") for number in range(30)]
    ctx = context({0: many})

    def say(one: Asked) -> object:
        return better(one) if int(one.item[2:4]) % 3 else one.prompt if one.json_schema is None else {"reason": "", "score": 4}

    [cluster] = buy(ctx, say).clusters
    pairs, critics = ({one.source: one.split for one in rows(ctx, ref)} for ref in (cluster.pairs, cluster.critic))
    assert (len(pairs), len(critics)) == (20, 30)
    assert critics == split(one.session_id for one in many)
    assert pairs == {name: which for name, which in critics.items() if int(name[2:]) % 3}


def test_sessions_without_a_pair_count_in_the_split_as_in_the_reference(context: Callable[..., FakeContext]) -> None:
    """Ids sorted and shuffled by CPython with seed 42: s_0 and s_1 are held out of ten, whatever becomes of s_2 to s_9."""
    ctx = context({0: [session("s_2", answer="error: timeout") if one.session_id == "s_2" else one for one in TEN]})

    def say(one: Asked) -> object:
        return {"reason": "", "score": 7} if one.json_schema is not None and one.item[2] in "37" else better(one)

    [cluster] = buy(ctx, say, min_pairs=4).clusters
    found = {one.source: one.split for one in rows(ctx, cluster.pairs)}
    assert sorted(found) == ["s_0", "s_1", "s_4", "s_5", "s_6", "s_8", "s_9"]
    assert {name for name, which in found.items() if which == "heldout"} == {"s_0", "s_1"}


def test_training_takes_both_datasets(context: Callable[..., FakeContext]) -> None:
    ctx = context({0: TEN})
    [cluster] = buy(ctx).clusters
    assert len(checked("pairs", rows(ctx, cluster.pairs), pairs=True)["heldout"]) == 2
    [critic] = checked("critic", rows(ctx, cluster.critic))["heldout"][:1]
    assert critic.messages[0].content == prompts.critic_prompt(critic.input, f"Take {critic.source}.")
    assert critic.messages[-1].content == f"1. Name the wood of {critic.source}."


def test_a_held_out_prompt_that_is_trained_on_is_left_out(context: Callable[..., FakeContext]) -> None:
    """s_0 and s_1 are held out; s_1 asks what s_2 asks, with more spaces: training does not tell such prompts apart."""
    again = [
        session(one.session_id, query=f"{TEN[2].query}  ", answer=TEN[2].answer) if one.session_id == "s_1" else one
        for one in TEN
    ]
    ctx = context({0: again})
    [cluster] = buy(ctx).clusters
    assert (cluster.pairs_train, cluster.pairs_heldout) == (8, 1)
    assert cluster.dropped == {"held out, but its prompt is in training too": 1}
    checked("pairs", rows(ctx, cluster.pairs), pairs=True)


@pytest.mark.parametrize("group_by", ["all", "config"])
def test_groups_hold_out_what_the_clusters_hold_out(context: Callable[..., FakeContext], group_by: str) -> None:
    """Clusters of ten, with every other session from the loom; the small one is no less a part of all."""
    names = [f"s_{number:02}" for number in range(30)]
    every = [session(name, config_id="loom" if place % 2 else "Über: 9 kilns!") for place, name in enumerate(names)]
    ctx = context({0: every[:10], 1: every[10:20], 2: every[20:]}, small=[2])
    result = buy(ctx, group_by=group_by, samples=1)
    splits = {name: where for at in (0, 10, 20) for name, where in split(names[at : at + 10]).items()}
    assert {one.critic for one in result.clusters} == {None}
    assert {one.refused for one in result.clusters} == {None}
    found = [row for one in result.clusters for row in rows(ctx, one.pairs)]
    assert {row.source: row.split for row in found} == splits
    assert len(found) == 30
    if group_by == "all":
        assert [(one.pairs, one.config_id, one.size, one.decision) for one in result.clusters] == [
            ("dataset:wood-all-pairs@1", None, 30, "group")
        ]
    else:
        assert [one.config_id for one in result.clusters] == ["loom", "Über: 9 kilns!"]
        loom, kilns = (one.pairs or "" for one in result.clusters)
        assert loom == "dataset:wood-config-loom-pairs@1"
        assert kilns.startswith("dataset:wood-config-ber-9-ki-")
        assert {row.config_id for row in rows(ctx, kilns)} == {"Über: 9 kilns!"}
        assert "cluster" not in ctx.dataset(kilns).manifest  # no router takes its adapter for a cluster's


def test_groups_are_refused_where_they_cannot_be(context: Callable[..., FakeContext]) -> None:
    with pytest.raises(InvalidInput, match=r"no session of .* has a config"):
        buy(context({0: TEN}), group_by="config")
    with pytest.raises(ValidationError, match="gap: group_by all takes the sessions of all clusters"):
        buy(context({0: TEN}), group_by="all", gap=GAP)
    with pytest.raises(ValidationError, match="keep_equal: needs require_gain false"):
        buy(context({0: TEN}), keep_equal=True)


def test_a_session_that_taught_nothing_is_the_logged_answer_twice_as_in_the_reference(
    context: Callable[..., FakeContext],
) -> None:
    """s_2 has an empty rule list, and every revision of s_3 is what was logged."""
    ctx = context({0: TEN})
    ctx.saved_rules[RULES] = [replace(rule, rule="") if rule.session_id == "s_2" else rule for rule in ctx.saved_rules[RULES]]

    def say(one: Asked) -> object:
        return "Take s_3." if one.json_schema is None and one.item.startswith("s_3/") else better(one)

    teacher = ScriptedTeacher(say, rehearsal=False)
    [kept] = buy(ctx, teacher=teacher, require_gain=False, keep_equal=True).clusters
    pairs = {row.source: row for row in rows(ctx, kept.pairs)}
    assert {name for name, row in pairs.items() if row.output == row.rejected} == {"s_2", "s_3"}
    assert pairs["s_2"].output == "Take s_2."
    assert not any(one.item.startswith("s_2/") for one in teacher.asked)  # nothing is bought for it
    checked("pairs", pairs.values(), pairs=True)
    assert "s_2" not in {row.source for row in rows(ctx, kept.critic)}

    [dropped] = buy(ctx, say, require_gain=False).clusters
    assert dropped.dropped == {"no active rule from feedback": 1, EQUAL: 1}


def test_lineage_and_licence_are_in_the_version(context: Callable[..., FakeContext]) -> None:
    ctx = context({0: TEN}, gap={0: "primary"})
    [cluster] = buy(ctx, gap=GAP).clusters
    version = ctx.dataset(cluster.pairs or "")
    assert version.parents == [GAP, CLUSTERS, RULES, "upload:log"]
    about = {name: version.manifest[name] for name in ("kind", "what", "judge_model", "require_gain", "rules", "decision")}
    assert about == {
        "kind": "pairs",
        "what": "pairs",
        "judge_model": "scripted-1",
        "require_gain": True,
        "rules": [RULES],
        "decision": "primary",
    }
    assert {one.origin for one in rows(ctx, cluster.pairs)} == {"upload"}
    assert all(one.private for one in rows(ctx, cluster.pairs))


def test_a_recorded_run_keeps_its_id_by_which_it_is_erased(context: Callable[..., FakeContext]) -> None:
    runs = [session(f"s_{number}", source="run", run_id=f"run_{number}", system="You are a joiner.") for number in range(10)]
    teacher = ScriptedTeacher(better, rehearsal=False)
    ctx = context({0: runs})
    [cluster] = buy(ctx, teacher=teacher).clusters
    row = next(one for one in rows(ctx, cluster.pairs) if one.source == "run_0")
    assert (row.origin, row.group) == ("recorded", "s_0")
    assert [(one.role, one.content) for one in row.messages[:2]] == [
        ("system", "You are a joiner."),
        ("user", "How do I build s_0?"),
    ]
    assert {one.item.partition("/")[0] for one in teacher.asked} == {f"run_{number}" for number in range(10)}
    assert any("<question>\nYou are a joiner.\n\nHow do I build s_0?" in one.prompt for one in teacher.asked)


@pytest.mark.parametrize("private", [True, False])
def test_personal_data_that_somebody_typed_gets_into_no_dataset(context: Callable[..., FakeContext], private: bool) -> None:
    typed = [
        session("s_2", query="How do I build s_2? I am ada.lovelace@example.com", private=private),
        session("s_3", feedback="Feedback 1: call me at +49 170 1234567", private=private),
    ]
    ctx = context({0: [*TEN[:2], *typed, *TEN[4:]]})
    teacher = ScriptedTeacher(better, rehearsal=False)
    [cluster] = buy(ctx, teacher=teacher).clusters
    assert cluster.dropped == ({"personal data: email": 1, "personal data: phone": 1} if private else {})
    assert cluster.critic_rows == (8 if private else 10)
    assert any(one.item.startswith(("s_2/", "s_3/")) for one in teacher.asked) is not private


def test_what_was_made_up_may_go_anywhere(context: Callable[..., FakeContext]) -> None:
    teacher = ScriptedTeacher(better, rehearsal=False)
    ctx = context({0: [session(one.session_id, private=one.session_id == "s_0") for one in TEN]})
    [cluster] = buy(ctx, teacher=teacher).clusters
    assert {one.item.partition("/")[0] for one in teacher.asked if one.recorded} == {"s_0"}
    assert {one.source for one in rows(ctx, cluster.pairs) if one.private} == {"s_0"}


@pytest.mark.parametrize(
    ("decision", "pairs", "critic", "says"),
    [
        ("primary", True, True, None),
        ("reflective", False, True, "its gap is high"),
        ("undecided", False, True, "its gap is undecided"),
        ("unknown", False, False, "its gap is unknown"),
    ],
)
def test_the_gap_says_what_is_made(
    context: Callable[..., FakeContext], decision: str, pairs: bool, critic: bool, says: str | None
) -> None:
    others = [session(f"t_{number}") for number in range(5)]
    ctx = context({0: TEN, 1: others}, gap={0: decision, 1: "primary"})
    teacher = ScriptedTeacher(better, rehearsal=False)
    first, second = buy(ctx, teacher=teacher, gap=GAP).clusters
    assert ((first.pairs is not None), (first.critic is not None)) == (pairs, critic)
    assert (says is None) == (first.refused is None)
    assert says is None or (first.refused or "").startswith(f"pairs: {says}")
    assert any(one.item.startswith("s_") for one in teacher.asked) is pairs
    assert second.pairs is not None


def test_a_gap_of_other_clusters_is_refused(context: Callable[..., FakeContext]) -> None:
    ctx = context({0: TEN}, gap={0: "primary"})
    ctx.configs[GAP]["clusters"] = f"job:{uuid4()}"
    with pytest.raises(InvalidInput, match="measured the clusters of") as refused:
        buy(ctx, gap=GAP)
    assert refused.value.errors[0]["field"] == "gap"


def test_too_few_pairs_are_refused_with_the_number_missing(context: Callable[..., FakeContext]) -> None:
    def say(one: Asked) -> object:
        return better(one) if one.item[2] in "0123" else one.prompt if one.json_schema is None else {"reason": "", "score": 5}

    ctx = context({0: TEN, 1: [session("small")]}, small=[1])
    first, second = buy(ctx, say, min_pairs=6).clusters
    assert (first.pairs, first.refused) == (None, "pairs: 2 missing: 4 rows, min_pairs is 6")
    assert (first.pairs_train, first.pairs_heldout, first.dropped) == (2, 2, {NO_GAIN: 6})
    assert first.critic is not None
    assert second.decision == "fallback"
    assert second.refused == "pairs: the cluster is too small for an adapter; critic: the cluster is too small for an adapter"
    assert "wood-c0-pairs" not in ctx.datasets


def test_pairs_none_of_which_is_held_out_are_refused(context: Callable[..., FakeContext]) -> None:
    def say(one: Asked) -> object:
        return better(one) if one.item[2] in "2345" else one.prompt if one.json_schema is None else {"reason": "", "score": 5}

    [cluster] = buy(context({0: TEN}), say, min_pairs=4).clusters
    assert cluster.refused == "pairs: 1 missing: none of 4 rows is in the split heldout with a prompt of its own"


def test_a_job_that_makes_nothing_fails_and_says_why(context: Callable[..., FakeContext]) -> None:
    with pytest.raises(GoldsmithError, match=r"no cluster gave a dataset \(c0: pairs: 1 missing: 10 rows, min_pairs is 11"):
        buy(context({0: TEN}), min_pairs=11)


def test_where_nothing_is_to_be_made_nothing_fails(context: Callable[..., FakeContext]) -> None:
    ctx = context({0: TEN, 1: [session("small")]}, gap={0: "unknown", 1: "fallback"}, small=[1])
    teacher = ScriptedTeacher(better)
    result = buy(ctx, teacher=teacher, gap=GAP)
    assert [(one.pairs, one.critic, one.decision) for one in result.clusters] == [
        (None, None, "unknown"),
        (None, None, "fallback"),
    ]
    assert (teacher.asked, result.label) == ([], "")


def test_what_cannot_be_used_is_counted(context: Callable[..., FakeContext]) -> None:
    odd = [
        session("s_5", answer=" "),
        session("s_6", answer="ERROR: timeout"),
        session("s_7", feedback=None),
        session("s_8", query="x" * 100_001),
    ]
    ctx = context({0: [*TEN[:5], *odd, session("s_9"), session("t_gone"), session("t_mute")]})
    ctx.saved_sessions[RULES] = [one for one in ctx.saved_sessions[RULES] if one.session_id != "t_gone"]
    ctx.saved_rules[RULES] = [one for one in ctx.saved_rules[RULES] if one.session_id != "t_mute"]
    teacher = ScriptedTeacher(better, rehearsal=False)
    result = buy(ctx, teacher=teacher, contexts=["feedback"], samples=1)
    [cluster] = result.clusters
    assert cluster.dropped == {
        "the logged answer is empty or an error": 2,
        "nobody said anything in words": 1,
        "longer than 100,000 characters": 1,
        "its session is gone or in quarantine": 1,
        "no active rule from feedback": 1,
    }
    assert (cluster.pairs_train + cluster.pairs_heldout, cluster.critic_rows) == (6, 7)
    assert {one.item.partition("/")[0] for one in teacher.asked} == {"s_0", "s_1", "s_2", "s_3", "s_4", "s_9"}


def test_revised_answers_that_are_none_are_counted(context: Callable[..., FakeContext]) -> None:
    said = ["", "Error: no model", answer("Take oak for", "max_tokens"), None, "Take oak."]

    def say(one: Asked) -> object:
        return said[one.ordinal] if one.json_schema is None else better(one)

    result = buy(context({0: TEN}), say, samples=5, contexts=["rules"])
    counts = result.candidates
    assert (counts.asked, counts.usable, counts.empty, counts.error, counts.cut, counts.unanswered) == (50, 10, 10, 10, 10, 10)


def candidate(text: str, *scores: int) -> Candidate:
    return Candidate(text, "rules", 0, Grade(list(scores)))


@pytest.mark.parametrize(
    ("candidates", "logged", "gain", "chosen", "why"),
    [
        ([("a", 7), ("b", 9), ("c", 9)], 5, True, "b", None),
        ([("a", 5)], 5, True, None, NO_GAIN),
        ([("a", 5)], 5, False, "a", None),
        ([("a", 2)], 9, False, "a", None),
        ([("old\n answer ", 9)], 5, True, None, EQUAL),
        ([("old answer", 9)], 5, False, None, EQUAL),
        ([], 5, True, None, NO_CANDIDATE),
        ([("a", None), ("b", 6)], 5, True, "b", None),
        ([("a", None)], 5, True, None, NO_GRADE),
        ([("a", None)], 5, False, "a", None),
        ([("a", 6)], None, True, None, NO_GAIN),
        ([("a", 6)], None, False, "a", None),
        ([("  ", 9), ("error: timeout", 8), ("a", 6)], 5, True, "a", None),
        ([(" ", 9)], 5, False, None, NO_CANDIDATE),
    ],
)
def test_the_best_candidate(
    candidates: list[tuple[str, int | None]], logged: int | None, gain: bool, chosen: str | None, why: str | None
) -> None:
    every = [candidate(text, *([] if score is None else [score])) for text, score in candidates]
    grade = Grade([] if logged is None else [logged])
    best, reason = choose(every, "old answer", grade, require_gain=gain)
    assert (best and best.text, reason) == (chosen, why)


def test_a_logged_answer_that_cannot_be_beaten_costs_one_grade(context: Callable[..., FakeContext]) -> None:
    ctx = context({0: TEN})
    teacher = ScriptedTeacher(lambda one: {"reason": "", "score": 10}, rehearsal=False)
    [cluster] = buy(ctx, teacher=teacher).clusters
    assert len(teacher.asked) == 10
    assert cluster.dropped == {"the logged answer has the highest grade": 10}
    assert (cluster.pairs, cluster.critic) == (None, "dataset:wood-c0-critic@1")


def test_grades_outside_the_scale_and_bad_ones_are_counted(context: Callable[..., FakeContext]) -> None:
    def say(one: Asked) -> object:
        if one.json_schema is None:
            return better(one)
        if "oak" not in one.prompt:
            return {"reason": "", "score": 0}
        return "?" if "<rejected>" not in one.prompt else {"reason": "", "score": 37}

    result = buy(context({0: TEN}), say, samples=1, contexts=["rules"], judge_samples=2)
    assert (result.bad_json, result.clamped, result.grades) == (20, 40, 40)
    assert result.clusters[0].gain == 9.0


def test_another_judge_grades(context: Callable[..., FakeContext]) -> None:
    ctx = context({0: TEN})
    opened: list[tuple[str, str | None, bool]] = []
    teachers = {"writer": ScriptedTeacher(better, rehearsal=False), "critic": ScriptedTeacher(better, rehearsal=False)}

    def open_(provider: str, *, model: str | None, budget_usd: float, recorded: bool) -> ScriptedTeacher:
        opened.append((provider, model, recorded))
        return teachers[model or ""]

    config = {"clusters": CLUSTERS, "name": "wood", "teacher": "bedrock", "model": "writer", "budget_usd": 1.0}
    ctx.teacher_factory = open_
    judged = {"judge": "openai-compatible", "judge_model": "critic"}
    result = asyncio.run(run(PairsConfig.model_validate(config | judged), ctx))
    assert opened == [("bedrock", "writer", True), ("openai-compatible", "critic", True)]
    assert {one.json_schema is None for one in teachers["writer"].asked} == {True}
    assert {one.json_schema is None for one in teachers["critic"].asked} == {False}
    assert result.spent_usd == pytest.approx(sum(len(one.asked) for one in teachers.values()) / 1000)


def test_the_budget_ends_and_whole_clusters_are_kept(context: Callable[..., FakeContext]) -> None:
    others = [session(f"t_{number}") for number in range(10)]
    ctx = context({0: TEN, 1: others})
    teacher = ScriptedTeacher(better, rehearsal=False, stop_after=10 * (1 + 3 + 3) + 5)
    result = buy(ctx, teacher=teacher, contexts=["rules"], concurrency=1)
    first, second = result.clusters
    assert result.stopped_by == "budget"
    assert first.pairs is not None
    assert second.pairs is None
    assert second.refused == "pairs: 5 missing: 0 rows, min_pairs is 5 (the budget ended first)"
    assert second.dropped == {"the budget ended": 10}
    assert second.critic is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"contexts": []}, "contexts"),
        ({"contexts": ["rules", "rules"]}, "each of feedback and rules once"),
        ({"contexts": ["logs"]}, "contexts"),
        ({"samples": 0}, "samples"),
        ({"name": "x" * 33}, "name"),
        ({"min_pairs": 1}, "min_pairs"),
        ({"budget_usd": 0}, "budget_usd"),
    ],
)
def test_a_wrong_config_is_refused_by_its_field(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        PairsConfig.model_validate({"clusters": CLUSTERS, "name": "wood", "teacher": "rehearsal", "budget_usd": 1.0} | change)


def test_the_report_holds_no_text(context: Callable[..., FakeContext]) -> None:
    ctx = context({0: TEN})
    result = buy(ctx)
    text = ctx.artifact(result.report).read_text()
    assert len(json.loads(text)["clusters"][0]["sessions"]) == 10
    assert not any(word in text for word in ("oak", "build", "Name the"))


# -- with the rehearsal teacher on the wire, and the ledger


@pytest.fixture
def server() -> Iterator[RehearsalServer]:
    with RehearsalServer() as server:
        yield server


@pytest.fixture
def live(
    context: Callable[..., FakeContext], database: Database, server: RehearsalServer, job_factory: Callable[..., UUID]
) -> Callable[..., FakeContext]:
    def make(job_id: UUID | None = None, **settings: Any) -> FakeContext:
        ctx = context({0: TEN})
        ctx.job_id = job_id or job_factory(kind="pairs")

        def teacher(provider: str, *, model: str | None, budget_usd: float, recorded: bool) -> Any:
            known = Settings(_env_file=None, rehearsal_url=server.url, **settings)
            given = {"provider": provider, "model": model, "budget_usd": budget_usd, "recorded": recorded}
            return open_teacher(database, settings=known, job_id=ctx.job_id, attempt=1, **given)

        ctx.teacher_factory = teacher
        return ctx

    return make


def bought(ctx: FakeContext, **more: Any) -> PairsResult:
    config = {"clusters": CLUSTERS, "name": "wood", "teacher": "rehearsal", "budget_usd": 5.0, "samples": 2, **more}
    return asyncio.run(run(PairsConfig.model_validate(config), ctx))


def test_the_rehearsal_writes_pairs_and_a_second_run_pays_nothing(
    live: Callable[..., FakeContext], server: RehearsalServer
) -> None:
    ctx = live()
    first = bought(ctx)
    [cluster] = first.clusters
    assert cluster.pairs_train + cluster.pairs_heldout == 10
    assert (cluster.gain or 0) > 0
    assert (first.label, rows(ctx, cluster.pairs)[0].rehearsal) == ("REHEARSAL", True)
    asked = len(server.requests)
    assert Counter("json_schema" in json.dumps(one) for one in server.requests)[False] == 10 * 2 * 2  # distinct samples
    assert all(one["top_p"] == 0.9 for one in server.requests if "output_config" not in one)
    again = bought(live(ctx.job_id))
    assert len(server.requests) == asked
    assert again.spent_usd == first.spent_usd > 0
    assert again.clusters[0].gain == cluster.gain


def test_a_cancelled_job_goes_on_where_it_was(
    live: Callable[..., FakeContext], server: RehearsalServer, conn: Connection
) -> None:
    ctx = live()
    ctx.cancel_after(4)
    with pytest.raises(JobCancelled):
        bought(ctx, concurrency=2)
    assert len(server.requests) > 0
    bought(live(ctx.job_id))
    bodies = [json.dumps(one, sort_keys=True) for one in server.requests]
    revisions = Counter(one for one in bodies if "output_config" not in one)
    assert set(revisions.values()) == {2}  # two samples of each prompt, none of them bought twice
    assert max(Counter(one for one in bodies if "output_config" in one).values()) == 1
    row = conn.execute("SELECT reserved_usd FROM budgets WHERE scope = %s", (f"job:{ctx.job_id}",)).fetchone()
    assert row is not None
    assert row["reserved_usd"] == 0


def test_a_small_budget_is_never_overrun(live: Callable[..., FakeContext], server: RehearsalServer) -> None:
    result = bought(live(), budget_usd=0.03, max_tokens=64)
    assert result.stopped_by == "budget"
    assert (result.clusters[0].refused or "").endswith("(the budget ended first)")
    assert server.report()["usd"] <= 0.03


def test_sessions_of_people_stay_in_the_union(live: Callable[..., FakeContext]) -> None:
    with pytest.raises(InvalidInput, match="GOLDSMITH_ALLOW_PROVIDERS"):
        bought(live(anthropic_api_key="k"), teacher="anthropic")
