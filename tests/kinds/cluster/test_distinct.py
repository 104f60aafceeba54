from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from numpy.typing import NDArray

from goldsmith.kinds.cluster.distinct import distinct_rules
from goldsmith.kinds.cluster.sessions import Taught
from goldsmith.kinds.cluster.summary import input_patterns
from goldsmith.rules import Rule
from goldsmith.sessions import Session
from goldsmith.student import Encoder, load_encoder

SOURCE = "job:rules"


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load_encoder("minilm", cache=Path("nowhere"))


def taught(
    session_id: str, *rules: str, first: int = 0, source: str = SOURCE, query: str = "a fox", device: str | None = None
) -> Taught:
    session = Session(0, session_id, "run", query, "an answer", None, "turns", device_id=device)
    evidence = {"signal": "favorite" if session_id == "s1" else "turns"}
    return Taught(
        session, source, [Rule(first + i, session_id, "oil", "en", "feedback", rule, evidence) for i, rule in enumerate(rules)]
    )


def of(members: list[Taught], encoder: Encoder | None = None) -> list[tuple[str, int]]:
    return [(rule.rule, rule.support) for rule in distinct_rules(0, members, vectors(members, encoder), SOURCE)]


def vectors(members: list[Taught], encoder: Encoder | None = None) -> dict[str, NDArray[numpy.float32]]:
    """Without an encoder all rules point the same way: then the words alone decide."""
    texts = sorted({rule.rule.strip() for one in members for rule in one.rules})
    rows = encoder.encode(texts) if encoder else numpy.ones((len(texts), 1), dtype=numpy.float32)
    return dict(zip(texts, rows, strict=True))


def test_a_rule_in_other_letters_is_the_same_and_counts_sessions_once(minilm: Encoder) -> None:
    members = [
        taught("s2", "Name the wood.", "name the  WOOD", first=1),
        taught("s1", "Name the wood."),
        taught("s3", "Be brief!"),
    ]
    first, second = distinct_rules(4, members, vectors(members, minilm), SOURCE)
    assert (first.rule, first.label, first.support, first.coverage) == ("Name the wood.", 4, 2, pytest.approx(2 / 3))
    assert (first.session_ids, first.signals, first.configs) == (["s1", "s2"], ["favorite", "turns"], ["oil", "oil"])
    assert first.rule_ordinals == [0, 1, 2]
    assert (second.rule, second.ordinal, second.support) == ("Be brief!", 1, 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Name the building materials of each wall.", "Name all building materials of every wall."),
        ("Keep the answer short and clear.", "Please keep the answer short and clear."),
        ("Nenne das Material jeder Wand.", "Nenne bitte das Material von jeder Wand."),
    ],
)
def test_rules_that_mean_the_same_in_nearly_the_same_words_are_one(minilm: Encoder, one: str, other: str) -> None:
    assert of([taught("s1", one), taught("s2", one), taught("s3", other)], minilm) == [(one, 3)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Use red in every picture.", "Do not use red in every picture."),
        ("Write at most 5 sentences.", "Write at most 3 sentences."),
        ("Nenne die Farbe des Himmels.", "Nenne nicht die Farbe des Himmels."),
        ("Name the wood of each table.", "Be polite to the reader."),
    ],
)
def test_rules_that_differ_in_what_counts_stay_apart(minilm: Encoder, one: str, other: str) -> None:
    members = [taught("s1", one), taught("s2", other)]
    assert len(of(members, minilm)) == 2
    assert len(of(members)) == 2  # however near their vectors


def test_what_is_worded_alike_but_means_something_else_stays_apart() -> None:
    members = [taught("s1", "Name the wood of each table."), taught("s2", "Name the food of each table.")]
    assert len(of(members)) == 1
    apart = dict(zip(sorted(vectors(members)), numpy.eye(2, dtype=numpy.float32), strict=True))
    assert len(distinct_rules(0, members, apart, SOURCE)) == 2


def test_the_rules_of_another_job_support_but_lend_no_ordinals() -> None:
    members = [taught("s1", "Name the wood.", first=7), taught("s2", "Name the wood.", first=3, source="job:older")]
    [rule] = distinct_rules(0, members, vectors(members), SOURCE)
    assert (rule.support, rule.rule_ordinals) == (2, [7])


def test_an_input_pattern_names_words_of_several_people_that_others_do_not_use() -> None:
    animals = [taught(f"a{i}", query=f"a small fox near the river {i}", device=f"d{i}") for i in range(4)]
    houses = [taught(f"h{i}", query="a tall castle near the sea", device="one-child") for i in range(4)]
    more = [taught(f"m{i}", query="a tower near the wood") for i in range(4)]
    assert input_patterns([animals, houses, more]) == ["fox, river, small", None, "tower, wood"]
    assert input_patterns([animals]) == [None]
