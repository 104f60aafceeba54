"""chrF and BLEU are sacrebleu's."""

from __future__ import annotations

import pytest

from goldsmith.kinds.evaluate.bleu import bleu
from goldsmith.kinds.evaluate.chrf import chrf


@pytest.mark.parametrize(
    ("candidate", "references", "score"),
    [  # sacrebleu 2.6.0, CHRF().sentence_score, divided by 100
        ("a red fox stands in the snow", ["a red fox sits in deep snow"], 0.451465),
        ("Ein Fuchs läuft über die Brücke.", ["Der Fuchs lief über eine alte Brücke."], 0.41466),
        ("Paris", ["Paris is the capital", "paris"], 0.543333),
        ("ok", ["completely different"], 0.032051),
        ("", ["x"], 0.0),
        ("abc", ["abc"], 1.0),
    ],
)
def test_chrf_gives_the_numbers_of_sacrebleu(candidate: str, references: list[str], score: float) -> None:
    assert chrf(references, candidate) == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize(
    ("candidate", "references", "score"),
    [  # sacrebleu 2.6.0, BLEU(effective_order=True).sentence_score, divided by 100
        ("a red fox stands in the snow", ["a red fox sits in deep snow"], 0.277762),
        ("Ein Fuchs läuft über die Brücke.", ["Der Fuchs lief über eine alte Brücke."], 0.135404),
        ("It costs 3.50, right?", ["It costs 3.50, doesn't it?"], 0.454802),
        ("Paris", ["Paris is the capital", "paris"], 1.0),
        ("4", ["4"], 1.0),
        ("ok", ["completely different"], 0.0),
        ("", ["x"], 0.0),
    ],
)
def test_bleu_gives_the_numbers_of_sacrebleu(candidate: str, references: list[str], score: float) -> None:
    assert bleu(references, candidate) == pytest.approx(score, abs=1e-6)


def test_a_script_without_spaces_is_cut_into_characters() -> None:
    assert bleu(["狐狸站在雪中"], "狐狸站在桥上") == pytest.approx((4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
