from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from goldsmith.cli.app import app
from tests.devserver.stand_in import CASES, DATA


def check(name: str, *more: str, text: str | None = None) -> tuple[int, str]:
    case = CASES[name]
    given = ["--checkout", str(DATA), "--config", case["config_id"], "--language", case["language"]]
    result = CliRunner().invoke(
        app, ["contexts", "check", str(DATA / "requests" / f"{name}.json"), *given, "--text", text or case["text"], *more]
    )
    return result.exit_code, result.output


def test_the_same_prompt_is_said_to_be_the_same(tmp_path: Path) -> None:
    assert check("plain_uk")[0] == 0
    assert "the same" in check("plain_uk")[1]
    (tmp_path / "typed.txt").write_bytes(CASES["wiki_de"]["text"].encode())
    code, output = check("wiki_de", "--json", text=f"@{tmp_path / 'typed.txt'}")
    assert (code, json.loads(output)["same"]) == (0, True)


def test_another_one_is_shown_where_it_differs_and_fails() -> None:
    code, output = check("wiki_en", "--no-wiki")
    assert code == 1
    assert "LOOKING" in output


def test_an_unknown_config_is_answered_with_the_known_ones() -> None:
    result = CliRunner().invoke(
        app,
        [
            "contexts",
            "check",
            str(DATA / "requests" / "plain_uk.json"),
            "--checkout",
            str(DATA),
            "--config",
            "x",
            "--text",
            "y",
        ],
    )
    assert result.exit_code == 2
