"""chrF is sacrebleu's."""

from __future__ import annotations

import pytest

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
def test_it_gives_the_numbers_of_sacrebleu(candidate: str, references: list[str], score: float) -> None:
    assert chrf(references, candidate) == pytest.approx(score, abs=1e-6)
