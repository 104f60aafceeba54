from __future__ import annotations

from typing import Any

from goldsmith.cli.gold import _text

FOUND: dict[str, Any] = {
    "teacher": "rehearsal rehearsal-1",
    "label": "REHEARSAL",
    "funnel": {"imported": 80, "allowed": 40, "bought": 20, "passed": 0},
    "dropped": {"K4_meta": 20},
    "repaired": 0,
    "cost": {"spent_usd": 0.5, "saved_by_reuse_usd": 0.25, "usd_per_row": 0.5, "stopped_by": "budget"},
    "coverage": {"Yoruba": {"loom": 4, "photo": 0}, "Gamelan": {"loom": 1, "photo": 2}},
}


def test_the_report_shows_what_became_of_the_rows() -> None:
    text = _text(FOUND)
    bars = {line.split()[0]: line.count("█") for line in text.splitlines()[2:6]}
    assert bars == {"imported": 40, "allowed": 20, "bought": 10, "passed": 0}
    assert "   20  K4_meta" in text
    assert "saved by reuse: 0.2500 USD" in text
    assert "stopped by: budget" in text
    yoruba = next(line for line in text.splitlines() if line.startswith("Yoruba"))
    assert yoruba.split() == ["Yoruba", "████", "4", "0"]


def test_the_report_says_why_the_cache_was_used_or_not_and_what_money_bought_nothing() -> None:
    more = {
        "cache": "not used: the shared prefix has 300 tokens; below 1024 the provider caches nothing",
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reserved_by": "a token for every byte: the provider does not count",
        "warnings": ["2 questions were paid and brought no answer"],
    }
    text = _text({**FOUND, "cost": {**FOUND["cost"], **more}})
    assert "cache: not used: the shared prefix has 300 tokens; below 1024" in text
    assert "worst cases: a token for every byte" in text
    assert "warning: 2 questions were paid" in text
