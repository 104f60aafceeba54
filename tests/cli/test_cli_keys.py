from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from goldsmith.cli.output import FAILED, OK, WRONG_INPUT
from goldsmith.client import ApiError, Client
from goldsmith.db import Connection
from goldsmith.settings import get_settings
from tests.client.server import Api
from tests.conftest import free_port

Goldsmith = Callable[..., Result]


@pytest.fixture
def here(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server, but its database."""
    monkeypatch.delenv("GOLDSMITH_URL", raising=False)
    monkeypatch.setenv("GOLDSMITH_DATABASE_URL", database_url)
    get_settings.cache_clear()


def actions(conn: Connection) -> list[tuple[str, str, str]]:
    return [(row["actor"], row["action"], row["subject"]) for row in conn.execute("SELECT * FROM audit_log ORDER BY id")]


def test_the_first_key_is_made_without_a_server(here: None, goldsmith: Goldsmith, conn: Connection) -> None:
    made = goldsmith("keys", "create", "tablet", "--scope", "jobs:read", "--scope", "jobs:write", "--jobs-per-hour", "100")
    assert made.exit_code == OK, made.output
    key = made.stdout.split()[-1]
    assert key.startswith("gs_")
    row = conn.execute("SELECT name, scopes, jobs_per_hour FROM api_keys").fetchone()
    assert row == {"name": "tablet", "scopes": ["jobs:read", "jobs:write"], "jobs_per_hour": 100}
    listed = goldsmith("keys", "list")
    assert "tablet" in listed.stdout
    assert f"{key[:9]}…" in listed.stdout
    assert key not in listed.stdout
    assert goldsmith("keys", "revoke", "tablet").exit_code == OK
    assert json.loads(goldsmith("keys", "list", "--json").stdout)[0]["revoked_at"] is not None
    assert [entry[1:] for entry in actions(conn)] == [("key.create", "tablet"), ("key.revoke", "tablet")]
    assert actions(conn)[0][0].startswith("cli:")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("create", "x", "--scope", "root"), "jobs:read"),
        (("create", "local", "--scope", "admin"), "choose another"),
        (("create", "x", "--scope", "admin", "--jobs-per-hour", "0"), "jobs_per_hour"),
    ],
)
def test_what_is_wrong_is_said(here: None, goldsmith: Goldsmith, arguments: tuple[str, ...], says: str) -> None:
    result = goldsmith("keys", *arguments)
    assert (result.exit_code, says in result.stderr) == (WRONG_INPUT, True), result.output


def test_a_name_that_is_not_there_and_a_database_that_is_not(
    here: None, goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = goldsmith("keys", "revoke", "nobody")
    assert (nobody.exit_code, "nobody" in nobody.stderr) == (FAILED, True)
    monkeypatch.setenv("GOLDSMITH_DATABASE_URL", f"postgresql://127.0.0.1:{free_port()}/none")
    get_settings.cache_clear()
    away = goldsmith("keys", "list")
    assert (away.exit_code, "GOLDSMITH_DATABASE_URL" in away.stderr) == (FAILED, True)


def test_with_a_url_that_server_is_asked(api: Api, goldsmith: Goldsmith, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLDSMITH_URL", api.url)
    boss = json.loads(goldsmith("keys", "create", "boss", "--scope", "admin", "--json").stdout)
    refused = goldsmith("keys", "list")
    assert (refused.exit_code, "goldsmith keys create" in refused.stderr) == (WRONG_INPUT, True)
    monkeypatch.setenv("GOLDSMITH_API_KEY", boss["key"])
    get_settings.cache_clear()
    assert goldsmith("keys", "create", "tablet", "--scope", "jobs:read").exit_code == OK
    assert [key["name"] for key in json.loads(goldsmith("keys", "list", "--json").stdout)] == ["tablet", "boss"]
    assert goldsmith("keys", "revoke", "tablet").exit_code == OK


def test_the_sdk_makes_and_revokes_keys_and_reads_who_did(api: Api) -> None:
    with Client(api.url) as client:
        boss = client.create_key({"name": "boss", "scopes": ["admin"]})["key"]
    with Client(api.url, api_key=boss) as client:
        tablet = client.create_key({"name": "tablet", "scopes": ["jobs:read"]})["key"]
        with Client(api.url, api_key=tablet) as reader:
            assert list(reader.list()) == []
            with pytest.raises(ApiError, match="needs the scope admin"):
                reader.keys()
            client.revoke_key("tablet")
            with pytest.raises(ApiError) as refused:
                list(reader.list())
            assert refused.value.status == 401
        assert [(entry["actor"], entry["action"], entry["subject"]) for entry in client.audit(limit=2)] == [
            ("boss", "key.revoke", "tablet"),
            ("boss", "key.create", "tablet"),
            ("local", "key.create", "boss"),
        ]


def test_a_keys_budget_is_changed(here: None, goldsmith: Goldsmith, conn: Connection) -> None:
    goldsmith("keys", "create", "tablet", "--scope", "jobs:write", "--budget-usd", "5")
    changed = goldsmith("keys", "budget", "tablet", "--budget-usd-per-day", "0.5")
    assert "no limit in all, 0.50 USD in a UTC day" in changed.stdout
    assert goldsmith("keys", "budget", "tablet", "--budget-usd", "-1").exit_code == WRONG_INPUT
