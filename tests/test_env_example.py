from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from goldsmith.settings import Settings

TEXT = (Path(__file__).parent.parent / ".env.example").read_text(encoding="utf-8")
LINES = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", TEXT, re.MULTILINE))
COMPOSE_ONLY = {"POSTGRES_PASSWORD", "IMPORT_FOLDER", "TORCH_PIP_ARGS"}
AWS = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_REGION",
    "AWS_PROFILE",
}
"""Read by the AWS client itself."""


def variable(name: str) -> str:
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"GOLDSMITH_{name.upper()}"


def test_every_setting_and_no_other_has_its_line():
    assert set(LINES) - COMPOSE_ONLY - AWS == {variable(name) for name in Settings.model_fields}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_shown_value_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def value(**environment: str) -> Any:
        for field in Settings.model_fields:
            monkeypatch.delenv(variable(field), raising=False)
        for key, text in environment.items():
            monkeypatch.setenv(key, text)
        return getattr(Settings(_env_file=None), name)

    shown = LINES[variable(name)]
    default = value()
    if shown:
        assert value(**{variable(name): shown}) == default
    else:
        assert default in (None, [])


def test_a_copy_changes_nothing_until_a_line_is_uncommented():
    assert [line for line in TEXT.splitlines() if line.strip() and not line.startswith("#")] == []


def test_no_line_holds_a_secret():
    assert all(not LINES[name] for name in LINES if re.search("(PASSWORD|_KEY|_URL)$", name))
