from __future__ import annotations

from goldsmith.cli.gold import _text

FOUND = {
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
