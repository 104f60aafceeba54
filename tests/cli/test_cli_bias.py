from __future__ import annotations

from typing import Any

import pytest

from goldsmith.cli.bias import _audit, _fidelity

INTERVAL = {"value": 0.3, "low": 0.1, "high": 0.5}


def test_an_audit_shows_each_measure_the_verdict_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    measure: dict[str, Any] = {"name": "strange", "better": "lower", "verdict": "worse", "base": None}
    measure |= {"adapter": INTERVAL, "difference": INTERVAL}
    one = {"adapter": "adapter:lora@1", "passed": False, "why": "worse in [strange]", "measures": [measure]}
    _audit({"audited": [one], "label": "REHEARSAL", "report": "job:x/report.html"})
    said = capsys.readouterr().out
    assert "adapter:lora@1: not passed REHEARSAL" in said
    assert "0.3 [0.1, 0.5]" in said
    assert "worse in [strange]" in said
    assert "report: job:x/report.html" in said


def test_a_fidelity_job_without_a_verdict_shows_its_examination(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = dict.fromkeys(("judged", "drawn", "devices", "wins", "ties", "losses", "spent_usd"), 0)
    exam = {"right": 3, "pairs": 20, "needed": 0.8}
    words = {"adapter": "adapter:lora@1", "against": "base", "verdict": "not judged", "label": "", "why": "it failed"}
    _fidelity({**numbers, **words, "exam": exam, "win_rate": None, "follows_position": INTERVAL, "left_out": {"canvas": 2}})
    said = capsys.readouterr().out
    assert "3 of 20 planted pairs right, 80% asked for" in said
    assert "not judged" in said
    assert "2: canvas" in said
