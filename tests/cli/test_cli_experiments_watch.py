"""`goldsmith experiments watch`."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from rich.console import Console
from typer.testing import Result

from goldsmith.cli import experiment_watch
from goldsmith.cli.experiment_screen import screen
from goldsmith.cli.experiment_watch import is_over
from tests.client.server import Api
from tests.web import reports
from tests.web.started import started


def drawn(report: reports.Report, width: int = 160) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as found:
        console.print(screen(report))
    return found.get()


def test_it_shows_what_the_page_shows() -> None:
    text = drawn(reports.rolled_back("failed"))
    for said in (
        "clay-lora  rolled back",
        "last decision: rollback",
        "✗ BREACH",
        "a rise of 10.3 points",
        "? Not computed",
        "! Contamination: 4.1 %",
        "+2.7 points [-1.4, +6.1]",
        "adapter:workshop@3",
        "probe failed: the serving route still answers",
        "step 2 of 3",
        "99.3 %",
        "Guardrails · ✗ BREACH: Safety blocks (lora) · ! Watch: Errors (lora), Contamination",
        "? Not computed: Mode collapse (lora) · ✓ OK: 2",
        "2,033  lora  -2.3 points",
        "latency p95    2,100 ms",
    ):
        assert said in text, said


@pytest.mark.parametrize("moment", [reports.empty, reports.running, reports.three_arms])
@pytest.mark.parametrize("width", [60, 200])
def test_no_line_is_wider_than_the_terminal(moment: reports.Make, width: int) -> None:
    assert max(map(len, drawn(moment(), width).splitlines())) <= width


def test_what_is_below_the_edge_of_the_terminal_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=80, height=24, color_system=None)
    monkeypatch.setattr(experiment_watch, "console", console)
    with console.capture() as found:
        console.print(experiment_watch._fitted(screen(reports.running())), end="")
    lines = found.get().splitlines()
    assert len(lines) == 24
    assert lines[-1].startswith("… ")
    assert "more lines" in lines[-1]
    assert any("Guardrails · " in line for line in lines)
    assert any("+2.4 points" in line for line in lines), "the effect"


def test_nothing_received_is_no_zero() -> None:
    text = drawn(reports.empty())
    assert "Nothing was looked at yet" in text
    assert "0.0 %" not in text


def test_it_says_when_a_model_is_missing_or_nobody_knows() -> None:
    report = reports.running()
    report["experiment"]["arms"][1] |= {"gated": "model_missing", "model_trouble": "Ollama does not answer"}
    text = drawn(report)
    assert "! Base answers in place of lora: model missing" in text
    assert text.count("! Whether the model of lora is there is not known: Ollama does not answer") == 1


def test_words_of_others_command_no_terminal() -> None:
    report = reports.running()
    report["decisions"][0] |= {"reason": "[red]\x1b]0;title\x07\x1b[2J", "actor": "\x9b31m[bold]"}
    text = drawn(report)
    assert not {"\x1b", "\x07", "\x9b"} & set(text)
    assert "[red]" in text


@pytest.mark.parametrize(
    ("report", "over"), [(reports.running(), False), (reports.breached(), False), (reports.rolled_back("failed"), False), (reports.rolled_back(), True)]
)  # fmt: skip
def test_it_is_over_when_the_probe_has_proved_the_end(report: reports.Report, over: bool) -> None:
    assert is_over(report) is over


def test_without_a_terminal_it_is_shown_once(api: Api, goldsmith: Callable[..., Result]) -> None:
    experiment = started(api)
    shown = goldsmith("experiments", "watch", experiment)
    assert shown.exit_code == 0, shown.output
    assert "clay-lora  running" in shown.output
    assert json.loads(goldsmith("experiments", "watch", experiment, "--json").output)["experiment"]["id"] == experiment
    missing = goldsmith("experiments", "watch", reports.ID)
    assert (missing.exit_code, "there is no experiment" in missing.output) == (2, True)


def test_on_a_terminal_ctrl_c_leaves_it_as_it_was(api: Api) -> None:
    experiment = started(api)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "goldsmith", "experiments", "watch", experiment]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True)
    os.close(theirs)
    said = b""
    try:
        while b"running" not in said:
            said += os.read(ours, 65536)
        assert b"\x1b[?1049h" in said, "on a screen of its own"
        process.send_signal(signal.SIGINT)
        try:
            while more := os.read(ours, 65536):
                said += more
        except OSError:  # the end of a pty on Linux
            pass
        assert process.wait(120) == 0
    finally:
        process.kill()
        os.close(ours)
    left = said.partition(b"\x1b[?1049l")[2]
    assert b"clay-lora" in left, "and the last numbers stay"
    assert b"Traceback" not in said
