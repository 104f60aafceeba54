from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from goldsmith.cli import output
from goldsmith.cli.app import app
from goldsmith.settings import get_settings
from tests.client.server import api
from tests.conftest import free_port

__all__ = ["api"]

PORTS = ("PORT", "FLOWER_PORT", "SERVE_PORT", "REHEARSAL_PORT", "POSTGRES_PORT", "VALKEY_PORT")


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A state folder and ports of its own for each test; returns them as environment variables."""
    monkeypatch.chdir(tmp_path)  # away from a developer's .env
    for name in ("GOLDSMITH_API_KEY", "GOLDSMITH_DATABASE_URL", "GOLDSMITH_BROKER_URL", "GOLDSMITH_ALLOW_PROVIDERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    own = {f"GOLDSMITH_{name}": str(free_port()) for name in PORTS} | {"GOLDSMITH_STATE_DIR": str(tmp_path / "state")}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield own
    get_settings.cache_clear()


@pytest.fixture
def goldsmith(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`goldsmith("jobs", "list")`, in this process, as wide as a script sees it."""
    for one in (output.console, output.errors):  # else as wide as COLUMNS said when the first test imported it
        monkeypatch.setattr(one, "_width", 200)

    def call(*arguments: str, **more: Any) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"}, **more)

    return call
