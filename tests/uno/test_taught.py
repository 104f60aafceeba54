from __future__ import annotations

from goldsmith.uno.taught import rules_text


def test_rules_are_one_text_without_numbers() -> None:
    assert rules_text([" Name the wood.\n", "[Rules] stays as it is."]) == "Name the wood.\n[Rules] stays as it is."
    assert rules_text([]) == ""
