from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from goldsmith.cli.bias import _audit, _fidelity, _report
from goldsmith.client import Client
from goldsmith.kinds.bias_audit.schema import Language
from tests.kinds.bias_audit.test_bias_audit import audited, exoticising, world

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


def test_an_audit_of_configs_that_name_no_tradition_says_what_was_asked_instead(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"audited": [], "label": "", "report": "job:x/report.html", "filled_up": True}
    _audit({**told, "left_out": {"loom": "names no tradition of the table"}})
    said = " ".join(capsys.readouterr().out.split())
    assert "contexts of ours were asked as well. Left out: loom: names no tradition of the table" in said


def test_the_report_is_told_in_the_readers_language(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ctx = world(tmp_path, exoticising)
    numbers = audited(ctx).numbers

    titles: dict[Language, str] = {"de": "Prüfung auf Vorurteile", "en": "Bias audit of"}

    class Kept(Client):
        def download(self, ref: str, to: Path) -> Path:
            return Path(shutil.copy(ctx.artifact(ref), to))

    with Kept("http://127.0.0.1:1") as client:
        _report(client, numbers, "de", None)
        assert "# Prüfung auf Vorurteile: adapter:lora@1" in capsys.readouterr().out
        for ours, title in titles.items():
            _report(client, numbers, ours, tmp_path / "report.html")
            assert f"<h1>{title}" in (tmp_path / "report.html").read_text()


def test_a_fidelity_job_without_a_verdict_shows_its_examination(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = dict.fromkeys(("judged", "drawn", "devices", "wins", "ties", "losses", "spent_usd"), 0)
    exam = {"right": 3, "pairs": 20, "needed": 0.8}
    words = {"adapter": "adapter:lora@1", "against": "base", "verdict": "not judged", "label": "", "why": "it failed"}
    _fidelity({**numbers, **words, "exam": exam, "win_rate": None, "follows_position": INTERVAL, "left_out": {"canvas": 2}})
    said = capsys.readouterr().out
    assert "3 of 20 planted pairs right, 80% asked for" in said
    assert "not judged" in said
    assert "2: canvas" in said
