from __future__ import annotations

import pytest

from goldsmith.devserver.personal import personal_data


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("schick es an mia.maus@example.org", "e-mail address"),
        ("mia (at) example (punkt) de", "e-mail address"),
        ("ruf an: 0171 00 00 000", "phone number"),
        ("my number is 555-123-4567", "phone number"),
        ("０１７１ ２３４５６７８", "phone number"),
        ("+49 (30) 123 456", "phone number"),
        ("das Konto ist DE12 5001 0517 0648 4898 90", "IBAN"),
        ("look at www.mia-maus.de", "web address"),
        ("folgt @mia_maus", "handle"),
    ],
)
def test_personal_data_is_found_and_named(text: str, found: str) -> None:
    assert personal_data(text) == found


@pytest.mark.parametrize(
    "text", ["1000 Luftballons und 2000 Sterne", "10000000 stars", "um 12:30 Uhr", "ein Bus. Der fährt", "3 at 4", "50 % rot"]
)
def test_numbers_of_a_picture_are_not_personal(text: str) -> None:
    assert personal_data(text) is None


@pytest.mark.parametrize("char", ["a", "0", "-", "a-", "0 ", " ", "@", "a.", "DE12 "])
def test_a_long_monotonous_text_is_checked_in_reasonable_time(char: str) -> None:
    # The suite's time limit is the judge: with an unbounded repetition this takes hours.
    personal_data(char * (100_000 // len(char)))
