"""Brings a database to this code's schema, and says whether it is there."""

from __future__ import annotations

from pathlib import Path

import alembic.command
from alembic.config import Config
from alembic.script import ScriptDirectory

from goldsmith.db import connect

ROOT = Path(__file__).parent.parent


def _config(url: str) -> Config:
    config = Config(str(ROOT / "alembic.ini"))
    config.cmd_opts = type("Options", (), {"x": [f"url={url}"]})()
    return config


def upgrade(url: str, revision: str = "head") -> None:
    alembic.command.upgrade(_config(url), revision)


def head() -> str:
    """This code's one head."""
    return str(ScriptDirectory.from_config(_config("")).get_current_head())


def current(url: str) -> str | None:
    """The database's revision, or None before the first migration."""
    with connect(url) as conn:
        row = conn.execute("SELECT to_regclass('alembic_version') AS there").fetchone()
        if row is None or row["there"] is None:
            return None
        version = conn.execute("SELECT version_num FROM alembic_version").fetchone()
        return version["version_num"] if version else None


def knows(revision: str) -> bool:
    """Whether this code's history has the revision; one that it lacks was made by newer code."""
    return any(script.revision == revision for script in ScriptDirectory.from_config(_config("")).walk_revisions())
