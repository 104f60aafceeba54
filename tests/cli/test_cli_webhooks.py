"""`goldsmith webhooks`: add, list, remove."""

from __future__ import annotations

import json
from collections.abc import Callable

from typer.testing import Result

from tests.client.server import Api

Goldsmith = Callable[..., Result]


def test_add_list_remove(api: Api, goldsmith: Goldsmith) -> None:
    made = goldsmith("webhooks", "add", "https://8.8.8.8/hook", "-e", "job.failed", "-k", "train", "-k", "gold", "--json")
    assert made.exit_code == 0, made.output
    hook = json.loads(made.output)
    assert (hook["events"], hook["kinds"]) == (["job.failed"], ["train", "gold"])
    shown = goldsmith("webhooks", "list")
    assert "https://8.8.8.8/hook" in shown.output
    assert "active" in shown.output
    assert hook["secret"] not in goldsmith("webhooks", "list", "--json").output
    assert goldsmith("webhooks", "remove", hook["id"]).exit_code == 0
    assert json.loads(goldsmith("webhooks", "list", "--json").output) == []


def test_the_secret_is_shown_once(api: Api, goldsmith: Goldsmith) -> None:
    made = goldsmith("webhooks", "add", "https://8.8.8.8/hook")
    assert "whsec_" in made.output
    assert "not shown again" in made.output
    assert "whsec_" not in goldsmith("webhooks", "list").output


def test_a_refusal_is_said_plainly(api: Api, goldsmith: Goldsmith) -> None:
    refused = goldsmith("webhooks", "add", "http://127.0.0.1/hook")
    assert refused.exit_code == 2
    assert "GOLDSMITH_WEBHOOK_PRIVATE" in refused.output
    assert goldsmith("webhooks", "remove", "01a1fd50-f46f-7abe-b232-40b27846ce94").exit_code == 2
